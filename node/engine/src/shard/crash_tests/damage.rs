//! Flipped bits and cut files: detected, refused or harmless, never a wrong answer.

use std::path::{Path, PathBuf};

use super::script::{Model, Random, Run, Script};
use super::{DIR, compare, full, open};
use crate::error::Error;
use crate::file::sim::Cut;
use crate::file::{Disk, SimDisk};

/// A shard with everything: segments with and without graph, codes, indexes, deletions, a log behind them.
fn rich(script: &Script) -> SimDisk {
    let mut run = Run::new(script, SimDisk::new());
    run.create().expect("no fault");
    script.steps.iter().for_each(|s| run.step(s).expect("no fault"));
    // The log says that it is whole.
    run.shard().mark_idle().expect("no fault");
    run.shard = None;
    run.disk.after_power_loss(Cut::KeepAll, 0)
}

/// Whether damage was detected. A panic, or an answer that differs, fails the test.
fn judge(disk: &SimDisk, model: &Model, what: &str) -> bool {
    let read = || match open(disk) {
        Err(Error::Corrupt { .. } | Error::BadInput(_)) => true,
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::Unsupported => true,
        Err(e) => panic!("{what}: {e}"),
        Ok(shard) => match compare(&shard, model) {
            Ok(()) => false,
            Err(e) if e.contains(DETECTED) || e.contains("not match its checksum") => true,
            Err(e) => panic!("{what}: {e}"),
        },
    };
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    judged.unwrap_or_else(|_| panic!("{what}: panicked"))
}

/// How a damaged block shows in an error's text.
const DETECTED: &str = "checksum";

fn files(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    disk.files().into_iter().filter(|(path, len)| path.starts_with(Path::new(DIR)) && *len > 0).collect()
}

#[test]
fn flipped_bits_are_detected_or_harmless() {
    let flips = if full() { 40_000 } else { 20_000 };
    let (mut detected, mut harmless) = (0, 0);
    for seed in [21, 22, 23, 24] {
        let script = Script::new(seed, 110);
        let disk = rich(&script);
        let model = script.models.last().expect("one");
        assert!(!judge(&disk.fork(), model, "intact"));
        let files = files(&disk);
        let mut random = Random(seed);
        for n in 0..flips / 4 {
            // Every file as often as every other: the small ones say the most.
            let (path, len) = &files[n as usize % files.len()];
            let bit = random.below(len * 8);
            let copy = disk.fork();
            copy.flip(path, bit);
            match judge(&copy, model, &format!("seed {seed}, bit {bit} of {}", path.display())) {
                true => detected += 1,
                false => harmless += 1,
            }
        }
    }
    println!("{} flipped bits: {detected} detected, {harmless} harmless", detected + harmless);
    assert!(detected > harmless);
}

#[test]
fn missing_and_cut_files_are_detected_or_harmless() {
    let script = Script::new(25, 110);
    let disk = rich(&script);
    let model = script.models.last().expect("one");
    let mut random = Random(25);
    let (mut detected, mut harmless) = (0, 0);
    // That the newest file of the log is gone shows only if the manifest is ahead of the others.
    let last_of_log =
        files(&disk).into_iter().map(|f| f.0).rfind(|p| p.starts_with(Path::new(DIR).join("wal")));
    for (path, len) in files(&disk) {
        let copy = disk.fork();
        copy.remove_file(&path).expect("it is there");
        if path.ends_with("CURRENT") {
            // Without it there is no shard: the node's records say that there should be one.
            assert!(open(&copy).is_err());
        } else if Some(&path) != last_of_log.as_ref() {
            assert!(judge(&copy, model, &format!("{} removed", path.display())), "{}", path.display());
        }
        for n in 0..if full() { 100 } else { 40 } {
            let cut = if n == 0 { 0 } else { random.below(len) };
            let copy = disk.fork();
            copy.cut(&path, cut);
            match judge(&copy, model, &format!("{} cut to {cut}", path.display())) {
                true => detected += 1,
                false => harmless += 1,
            }
        }
    }
    println!("{detected} cut files detected, {harmless} harmless");
    assert!(detected > harmless);
}
