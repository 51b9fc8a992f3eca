//! A manifest as its users see it: edits that were published, edits that were not, damage between them.

use super::*;
use crate::file::RealDisk;

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn segment(id: u64) -> SegmentEntry {
    let file = FileEntry { name: format!("seg-{id}.raw"), size_bytes: 4096 * id, crc32c: id as u32 };
    SegmentEntry { id, points: 10, files: vec![file], deleted: None }
}

#[test]
fn published_edits_are_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut manifest = Manifest::create(disk(), dir.path(), ManifestState::default()).unwrap();
    assert!(Manifest::create(disk(), dir.path(), ManifestState::default()).is_err());
    for id in 1..=20 {
        let edit = ManifestEdit {
            applied: Some((id * 10, 1)),
            next_segment_id: Some(id + 1),
            put: vec![segment(id)],
            remove: if id > 3 { vec![id - 3] } else { vec![] },
            ..ManifestEdit::default()
        };
        manifest.publish(edit).unwrap();
        let state = manifest.state().clone();
        drop(manifest);
        manifest = Manifest::open(disk(), dir.path()).unwrap();
        assert_eq!(*manifest.state(), state);
    }
    assert_eq!(manifest.state().segments.iter().map(|s| s.id).collect::<Vec<_>>(), [18, 19, 20]);
    assert_eq!(manifest.state().applied_seq, 200);
    let names = RealDisk.list(dir.path()).unwrap();
    assert_eq!(names, ["CURRENT", "FORMAT", "MANIFEST-1"], "clean reopening rewrites nothing");
}

#[test]
fn a_long_manifest_is_replaced_by_a_short_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut manifest = Manifest::create(disk(), dir.path(), ManifestState::default()).unwrap();
    let segments: Vec<_> = (0..3000).map(segment).collect();
    for _ in 0..6 {
        manifest.publish(ManifestEdit { put: segments.clone(), ..ManifestEdit::default() }).unwrap();
    }
    assert!(manifest.number > 1);
    assert!(manifest.end < 2_000_000);
    let reopened = Manifest::open(disk(), dir.path()).unwrap();
    assert_eq!(reopened.state().segments.len(), 3000);
    assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 3);
}

#[test]
fn a_newer_format_is_refused_with_a_clear_text() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Manifest::create(disk(), dir.path(), ManifestState::default()).unwrap();
    let newer = Format { reader_min: 2, writer: 3 };
    atomic::write_json(&RealDisk, &dir.path().join(FORMAT_FILE), &newer).unwrap();
    let text = Manifest::open(disk(), dir.path()).err().unwrap().to_string();
    assert!(text.contains("needs a reader of format 2"), "{text}");
}

#[test]
fn damage_to_a_published_edit_is_an_error_and_a_torn_one_is_dropped() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut manifest = Manifest::create(disk(), dir.path(), ManifestState::default()).unwrap();
    for id in 1..=3 {
        manifest.publish(ManifestEdit { put: vec![segment(id)], ..ManifestEdit::default() }).unwrap();
    }
    let bytes = read_all(&*manifest.file, "MANIFEST-1").unwrap();
    let (end, last_mark) = (manifest.end as usize, manifest.end as usize - MARK_BYTES);
    let intact = Read::run(&bytes, 1).unwrap();
    assert!(intact.clean);
    for at in 0..last_mark {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(Read::run(&flipped, 1).is_err(), "byte {at}");
    }
    for at in last_mark..end {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let read = Read::run(&flipped, 1).unwrap();
        assert!(!read.clean && read.state == intact.state, "byte {at}");
    }
    // As a power loss may leave it: any part of an edit that was being written.
    let mut record = Vec::new();
    let edit = serde_json::to_vec(&ManifestEdit { remove: vec![1], ..ManifestEdit::default() }).unwrap();
    push_record(&mut record, KIND_EDIT, &edit, intact.crc);
    for len in 1..record.len() {
        let mut torn = bytes.clone();
        torn[end..end + len].copy_from_slice(&record[..len]);
        let read = Read::run(&torn, 1).unwrap();
        let taken = len >= record.len() - 7 && read.state.segments.len() == 2;
        assert!(!read.clean && (taken || read.state == intact.state), "{len} bytes");
    }
}
