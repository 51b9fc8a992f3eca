//! Tests of archives, most of them hostile.

#![allow(clippy::disallowed_methods)] // Tests lay out files as somebody else would.

use std::sync::Arc;

use quiver_engine::file::RealDisk;

use super::super::layout::Layout;
use super::super::testing::{lay_out, manifest};
use super::*;

/// An archive with these entries as they are, whatever they are.
fn raw(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written into the field itself: the library refuses hostile names.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if *kind == tar::EntryType::Symlink {
            header.as_mut_bytes()[157..168].copy_from_slice(b"/etc/passwd");
        }
        header.set_cksum();
        tar.append(&header, *content).expect("appended");
    }
    tar.into_inner().expect("finished")
}

fn check_refused(archive: &[u8], expected: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.snapshot");
    std::fs::File::create(&path).and_then(|mut f| f.write_all(archive)).expect("written");
    let dir = folder.path().join("out/inner");
    let error = unpack(&RealDisk, &path, &dir, &Cancel::new()).expect_err("hostile").to_string();
    assert!(error.contains(expected), "{error} does not contain {expected}");
    let outside: Vec<_> =
        std::fs::read_dir(folder.path()).expect("listed").map(|e| e.expect("an entry").file_name()).collect();
    assert!(outside.iter().all(|n| n == "a.snapshot" || n == "out"), "{outside:?}");
}

fn regular<'a>(name: &'a str, content: &'a [u8]) -> (&'a str, tar::EntryType, &'a [u8]) {
    (name, tar::EntryType::Regular, content)
}

#[test]
fn what_is_packed_is_what_is_unpacked() {
    let folder = tempfile::tempdir().expect("a folder");
    let large = vec![5u8; PIECE_BYTES * 2 + 17];
    let files: [(&str, &[u8]); 3] = [("segments/1/v.raw", &large), ("CURRENT", b"x"), ("empty", b"")];
    let source = folder.path().join("in");
    lay_out(&source, &files);
    let archive = folder.path().join("a.snapshot");
    let json = serde_json::to_vec(&manifest(&files)).expect("printed");
    let layout = || Layout::of(&manifest(&files), &json, &source).expect("laid out");
    let mut out = std::fs::File::create(&archive).expect("made");
    layout().reader(Arc::new(RealDisk)).write_to(&mut out).expect("packed");
    let digest = layout().reader(Arc::new(RealDisk)).digest(&Cancel::new()).expect("hashed");
    assert_eq!(super::super::hash::file_digest(&RealDisk, &archive, &Cancel::new()).expect("hashed"), digest);
    assert_eq!(RealDisk.size(&archive).expect("there"), layout().size());
    let whole = std::fs::read(&archive).expect("read");
    for (start, end) in
        [(0, 1), (700, 701), (0, whole.len()), (511, 4096), (PIECE_BYTES, whole.len() - 3), (9, 9)]
    {
        let mut part = Vec::new();
        let reader = layout().part(start as u64..end as u64, Arc::new(RealDisk));
        reader.write_to(&mut part).expect("packed");
        assert!(part == whole[start..end], "{start}..{end}");
    }
    let out = folder.path().join("out");
    assert_eq!(unpack(&RealDisk, &archive, &out, &Cancel::new()).expect("unpacked"), manifest(&files));
    for (name, content) in files {
        let path = out.join("shards/0").join(name);
        let file = RealDisk.open(&path).expect("there");
        let mut bytes = vec![0; file.size().expect("known") as usize];
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert!(bytes == content, "{name}");
    }
}

#[test]
fn hostile_archives_are_refused_and_write_nothing_outside() {
    let json = |files: &[(&str, &[u8])]| serde_json::to_vec(&manifest(files)).expect("printed");
    let unknown = "reached unknown entry";
    check_refused(b"this is no archive at all, but long enough to be looked at as one", unknown);
    check_refused(&raw(&[]), "the archive is empty");
    check_refused(&raw(&[regular("x", b"1")]), unknown);
    let good = json(&[("a", b"123")]);
    let first = regular("manifest.json", &good);
    check_refused(&raw(&[first]), "`shards/0/a` is missing");
    check_refused(&raw(&[first, regular("shards/0/../../../b", b"123")]), unknown);
    check_refused(&raw(&[first, regular("/shards/0/a", b"123")]), unknown);
    check_refused(&raw(&[first, ("shards/0/a", tar::EntryType::Symlink, b"")]), unknown);
    check_refused(&raw(&[first, ("shards/0/a", tar::EntryType::Link, b"")]), unknown);
    check_refused(&raw(&[first, ("shards/0/a", tar::EntryType::Char, b"")]), unknown);
    check_refused(&raw(&[first, ("shards/0/a", tar::EntryType::GNUSparse, b"123")]), unknown);
    check_refused(&raw(&[first, regular("shards/0/a", b"1234")]), "another length");
    check_refused(&raw(&[first, regular("shards/0/a", b"124")]), "Checksum mismatch");
    check_refused(&raw(&[first, regular("shards/0/a", b"123"), regular("more", b"1")]), unknown);
    let cut = raw(&[first, regular("shards/0/a", b"123")]);
    check_refused(&cut[..cut.len() - 1024 - 512 + 2], "");
    for bad in ["../a", "/a", "a/../../b", ".hidden", "a\u{0}"] {
        let manifest = json(&[(bad, b"123")]);
        check_refused(&raw(&[regular("manifest.json", &manifest)]), "can't be a name here");
    }
    let twice = json(&[("a", b"1"), ("a", b"1")]);
    check_refused(&raw(&[regular("manifest.json", &twice)]), "is there twice");
}

#[test]
fn lengths_that_the_archive_cannot_have_are_refused_before_anything_is_made() {
    let mut large = manifest(&[("a", b"1")]);
    large.shards[0].files[0].size_bytes = u64::MAX;
    let json = serde_json::to_vec(&large).expect("printed");
    check_refused(&raw(&[regular("manifest.json", &json)]), "shorter than its files");
    let mut newer = manifest(&[]);
    newer.format_version = 99;
    let json = serde_json::to_vec(&newer).expect("printed");
    check_refused(&raw(&[regular("manifest.json", &json)]), "use a newer one");
}
