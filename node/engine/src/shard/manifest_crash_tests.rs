//! Power loss at every call of the manifest, every call failing, damage: a published edit is found, whole.

use super::*;
use crate::file::sim::{Cut, Fault};
use crate::file::{FileEntry, SimDisk};

const DIR: &str = "/shard";

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn edit(n: u64) -> ManifestEdit {
    let file = FileEntry { name: format!("f{n}"), size_bytes: n, crc32c: n as u32 };
    let long = vec![file; (n % 5) as usize + 1];
    let put = vec![SegmentEntry { id: n, points: n as u32, files: long, deleted: None }];
    let remove = n.checked_sub(6).into_iter().collect();
    ManifestEdit { applied: Some((n, 1)), put, remove, ..ManifestEdit::default() }
}

/// The state after `n` edits.
fn state(n: u64) -> ManifestState {
    let mut state = ManifestState::default();
    (1..=n).for_each(|i| state.apply(edit(i)));
    state
}

/// One step: publishes the next edit, or reopens or compacts instead.
fn step(disk: &SimDisk, manifest: &mut Option<Manifest>, i: u64) -> Result<()> {
    match manifest {
        None if i == 0 => {
            *manifest = Some(Manifest::create(Arc::new(disk.clone()), dir(), ManifestState::default())?);
        }
        None => *manifest = Some(Manifest::open(Arc::new(disk.clone()), dir())?),
        Some(_) if i % 11 == 10 => *manifest = None,
        Some(open) if i % 13 == 3 => open.replace(open.state().clone())?,
        Some(open) => {
            let n = open.state().applied_seq + 1;
            open.publish(edit(n))?;
        }
    }
    Ok(())
}

/// Opens an image: everything published is there, and nothing that was never attempted, and again after the next loss.
fn recover(image: &SimDisk, acked: u64, attempted: u64, what: &str) -> std::result::Result<(), String> {
    let open = |disk: &SimDisk| Manifest::open(Arc::new(disk.clone()), dir());
    let found = open(image).map_err(|e| format!("{what}: {e}"))?.state().clone();
    let n = found.applied_seq;
    if n < acked || n > attempted || found != state(n) {
        return Err(format!("{what}: found {n}, published {acked}, attempted {attempted}"));
    }
    let again = open(&image.after_power_loss(Cut::DropAll, 0)).map_err(|e| format!("{what}, again: {e}"))?;
    if *again.state() != found { Err(format!("{what}: lost by the next power loss")) } else { Ok(()) }
}

/// Runs the script on a recording disk; counts crash states and those where something was lost.
fn crash_everywhere(steps: u64, seeds: u64, honest: bool) -> (u64, Vec<String>) {
    let disk = SimDisk::new();
    disk.set_sync(honest);
    disk.record();
    let mut manifest = None;
    // (calls, published, attempted), `None` before the manifest exists.
    let mut known: Vec<(u64, Option<u64>, u64)> = vec![(0, None, 0)];
    for i in 0..steps {
        let acked = known[known.len() - 1].1;
        known.push((disk.calls(), acked, acked.map_or(0, |n| n + 1)));
        step(&disk, &mut manifest, i).expect("no fault, no error");
        let now = manifest.as_ref().map(|m| m.state().applied_seq).or(acked);
        known.push((disk.calls(), now, now.unwrap_or(0)));
    }
    let (mut states, mut lost) = (0, Vec::new());
    disk.history().for_each_crash(|point| {
        let i = known.partition_point(|k| k.0 <= point.call as u64);
        let (_, acked, attempted) = known[i - 1];
        for cut in Cut::ALL {
            for seed in 0..seeds {
                let image = point.image(cut, seed);
                states += 1;
                if acked.is_none() && !Manifest::exists(&image, dir()) {
                    Manifest::create(Arc::new(image), dir(), ManifestState::default())
                        .expect("leftovers are no obstacle");
                    continue;
                }
                let what = format!("call {}, {cut:?}, seed {seed}", point.call);
                lost.extend(recover(&image, acked.unwrap_or(0), attempted, &what).err());
            }
        }
    });
    (states, lost)
}

#[test]
fn no_power_loss_loses_a_published_edit() {
    let (states, lost) =
        crash_everywhere(80, if std::env::var_os("QUIVER_FULL").is_some() { 40 } else { 8 }, true);
    assert!(lost.is_empty(), "{} of {states}, first: {}", lost.len(), lost[0]);
    println!("{states} power losses");
    assert!(states > 5000);
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let (states, lost) = crash_everywhere(40, 2, false);
    assert!(lost.len() > 100, "only {} of {states}", lost.len());
}

#[test]
fn every_failing_call_is_an_error_and_reopening_is_consistent() {
    for fault in [Fault::Io, Fault::NoSpace, Fault::ShortWrite] {
        (0..250).for_each(|n| failing(n, fault));
    }
}

/// Runs the script with one failing call; after an error other than a full disk, as after a restart.
fn failing(n: u64, fault: Fault) {
    let what = format!("{fault:?} at {n}");
    let disk = SimDisk::new();
    disk.fail_at(n, fault, false);
    let (mut manifest, mut acked, mut attempted) = (None, 0, 0);
    for i in 0..60 {
        attempted = manifest.as_ref().map_or(attempted, |m: &Manifest| m.state().applied_seq + 1);
        match step(&disk, &mut manifest, i) {
            Ok(()) => acked = manifest.as_ref().map_or(acked, |m| m.state().applied_seq),
            Err(_) if i == 0 => return,
            Err(e) if e.is_no_space() => {}
            Err(Error::Corrupt { file, what: why }) => panic!("{what}: {file}: {why}"),
            Err(_) => manifest = None,
        }
    }
    assert!(acked > 30, "{what}");
    for seed in 0..5 {
        for cut in Cut::ALL {
            recover(&disk.after_power_loss(cut, seed), acked, attempted, &what)
                .unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

#[test]
fn damage_is_detected_or_harmless() {
    let disk = SimDisk::new();
    let mut manifest = None;
    (0..60).for_each(|i| step(&disk, &mut manifest, i).expect("no fault, no error"));
    let mut manifest: Manifest = manifest.expect("open");
    (60..70).for_each(|n| manifest.publish(edit(n)).expect("no fault, no error"));
    let published = manifest.state().clone();
    let full = std::env::var_os("QUIVER_FULL").is_some();
    let (mut detected, mut rolled_back) = (0, 0);
    for (path, len) in disk.files() {
        // Nothing lies in most of the space that is reserved for edits.
        for bit in (0..len.min(manifest.end + 512) * 8).step_by(if full { 1 } else { 7 }) {
            let copy = disk.fork();
            copy.flip(&path, bit);
            match Manifest::open(Arc::new(copy), dir()) {
                Err(Error::Corrupt { .. }) => detected += 1,
                Err(e) => panic!("bit {bit} of {}: {e}", path.display()),
                Ok(found) => assert_eq!(*found.state(), published, "bit {bit} of {}", path.display()),
            }
        }
        for cut in (0..len).step_by(if full { 1 } else { 17 }) {
            let copy = disk.fork();
            copy.cut(&path, cut);
            let found = Manifest::open(Arc::new(copy), dir());
            rolled_back += u32::from(found.is_ok_and(|m| *m.state() != published));
        }
    }
    println!("{detected} flipped bits detected");
    // Only a cut exactly between two records can't be told from that of a full disk.
    assert!(detected > 5_000 && rolled_back <= 60, "{detected}, {rolled_back}");
}
