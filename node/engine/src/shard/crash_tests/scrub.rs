//! Files are read again: what was damaged meanwhile is named, what is intact is not.

use std::path::Path;

use super::script::{Run, Script, Step};
use super::{DIR, open};
use crate::cancel::Cancel;
use crate::file::SimDisk;
use crate::operation::{Operation, PointWrite, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::WithVectors;
use crate::shard::{Shard, ShardStatus};
use crate::vector::NamedVectors;

/// One pass in steps of one block; gives how many it took.
fn pass(shard: &Shard) -> usize {
    for steps in 1..10_000 {
        if shard.scrub(1, &Cancel::new()).expect("nothing fails") {
            return steps;
        }
    }
    panic!("the pass has no end");
}

fn sealed_files(disk: &SimDisk) -> Vec<String> {
    let segments = Path::new(DIR).join("segments");
    let name = |path: &Path| path.strip_prefix(DIR).ok().map(|p| p.to_string_lossy().into_owned());
    let sealed = disk.files().into_iter().filter(|(path, _)| path.starts_with(&segments));
    sealed.filter_map(|(path, _)| name(&path)).collect()
}

#[test]
fn every_damaged_file_is_named_until_it_is_whole_again() {
    let script = Script::new(21, 110);
    let mut run = Run::new(&script, SimDisk::new());
    run.create().expect("no fault");
    script.steps.iter().for_each(|s| run.step(s).expect("no fault"));
    run.step(&Step::Flush).expect("no fault");
    run.shard = None;
    let disk = run.disk.clone();
    let shard = open(&disk).expect("no fault");
    let files = sealed_files(&disk);
    assert!(pass(&shard) >= files.len(), "a step reads no more than it was told to");
    assert!(shard.damage().is_empty());
    for file in &files {
        let check = |damaged: bool| {
            pass(&shard);
            let found = shard.damage();
            assert_eq!(found.len(), usize::from(damaged), "{file}: {found:?}");
            assert!(found.iter().all(|text| text.starts_with(&format!("{file}: "))), "{file}: {found:?}");
            assert_eq!(shard.stats().status == ShardStatus::Red, damaged);
        };
        // Behind the header, in what the file is for.
        let (path, bit) = (Path::new(DIR).join(file), 4096 * 8 + 3);
        disk.flip(&path, bit);
        check(true);
        disk.flip(&path, bit);
        check(false);
    }
}

#[test]
fn a_file_that_a_merge_replaced_is_not_missed() {
    let script = Script::new(22, 60);
    let mut run = Run::new(&script, SimDisk::new());
    run.create().expect("no fault");
    script.steps.iter().for_each(|s| run.step(s).expect("no fault"));
    let files = sealed_files(&run.disk);
    // The pass has begun, with a list of files of which most are then replaced.
    assert!(!run.shard().scrub(1, &Cancel::new()).expect("nothing fails"));
    run.step(&Step::Configure(true)).expect("no fault");
    for _ in 0..3 {
        run.step(&Step::Optimize).expect("no fault");
        run.step(&Step::Flush).expect("no fault");
    }
    assert!(sealed_files(&run.disk).iter().all(|file| !files.contains(file)), "all were replaced");
    pass(run.shard());
    assert!(run.shard().damage().is_empty());
}

#[test]
fn a_reader_that_meets_damage_notes_it() {
    let script = Script::new(1, 0);
    let mut run = Run::new(&script, SimDisk::new());
    run.create().expect("no fault");
    let ids: Vec<PointId> = (0..20).map(PointId::Num).collect();
    // More than a block, of which a start reads only the last.
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));
    let points = ids.iter().map(|id| PointWrite {
        id: *id,
        vectors: NamedVectors::new(),
        payload: RawPayload::from_json_bytes(text.as_bytes()),
    });
    let write = Operation::Upsert { points: points.collect(), mode: UpdateMode::Upsert, condition: None };
    run.shard().write(write).expect("no fault");
    run.shard().flush().expect("no fault");
    run.shard = None;
    run.disk.flip(&Path::new(DIR).join("segments/0/payload"), 4096 * 8 + 3);
    let shard = open(&run.disk).expect("payloads are verified when they are read");
    assert!(shard.damage().is_empty());
    shard.view().retrieve(&ids[19..], true, &WithVectors::None).expect("this one is intact");
    shard.view().retrieve(&ids[..1], true, &WithVectors::None).expect_err("damaged");
    assert!(shard.damage()[0].starts_with("payload: "), "{:?}", shard.damage());
    assert_eq!(shard.stats().status, ShardStatus::Red);
    pass(&shard);
    assert!(shard.damage()[0].starts_with("segments/0/payload: "), "{:?}", shard.damage());
}
