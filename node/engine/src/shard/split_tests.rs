//! A shard that gives a half of its points away: nothing is lost or there twice, whatever happens on the way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::manifest::Manifest;
use super::{Hashes, Shard, ShardOptions, Watermarks};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance, VectorParams};
use crate::error::{Error, Result};
use crate::file::sim::Cut;
use crate::file::{Disk, RealDisk, SimDisk};
use crate::filter::Filter;
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::vector::NamedVectors;
use crate::wal::{WalIdentity, WalOptions};

const ALL: Hashes = Hashes { first: 0, last: u64::MAX };
const LOW: Hashes = Hashes { first: 0, last: u64::MAX / 2 };
const HIGH: Hashes = Hashes { first: u64::MAX / 2 + 1, last: u64::MAX };

fn options(range: Hashes) -> ShardOptions {
    ShardOptions {
        range: Some(range),
        watermarks: Watermarks::OFF,
        identity: WalIdentity { collection_uid: [3; 16], copy_id: [4; 16] },
        wal: WalOptions { file_bytes: 24 << 10, batch_bytes_max: 1 << 20 },
        ..ShardOptions::default()
    }
}

fn create(disk: Arc<dyn Disk>, dir: &Path) -> Result<Shard> {
    let vectors = [(String::new(), VectorParams::new(2, Distance::Dot))].into();
    let config = CollectionConfig { vectors, ..CollectionConfig::default() };
    Shard::create(disk, dir, options(ALL), config)
}

/// Those of the ids whose hashes are in a range.
fn of(ids: std::ops::Range<u64>, range: Hashes) -> Vec<u64> {
    ids.filter(|id| range.has(PointId::Num(*id))).collect()
}

fn upsert(ids: &[u64]) -> Operation {
    let point = |id: &u64| PointWrite {
        id: PointId::Num(*id),
        vectors: NamedVectors::unnamed(vec![*id as f32, 1.0]),
        payload: RawPayload::from_json_bytes(b"{\"a\":1}"),
    };
    Operation::Upsert { points: ids.iter().map(point).collect(), mode: UpdateMode::Upsert, condition: None }
}

fn freeze() -> Operation {
    Operation::Freeze { keep: LOW, give: HIGH }
}

fn content(shard: &Shard) -> Vec<u64> {
    let found = shard.view().scroll(None, None, usize::MAX, &Cancel::new()).expect("read").0;
    let number = |id: PointId| match id {
        PointId::Num(n) => n,
        PointId::Uuid(_) => panic!("only numbers were written"),
    };
    found.into_iter().map(number).collect()
}

fn is_moved(result: Result<crate::operation::Applied>) -> bool {
    matches!(result, Err(Error::Moved(_)))
}

/// Makes the new shard as a copy's node does.
fn fork(disk: &Arc<dyn Disk>, shard: &Shard, links: &Path, dir: &Path) -> Result<Shard> {
    shard.snapshot_to(links)?;
    Shard::fork_from(disk.clone(), links, dir, options(HIGH))
}

#[test]
fn a_part_that_is_frozen_is_read_and_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(Arc::new(RealDisk), folder.path()).expect("made");
    shard.write(upsert(&of(0..100, ALL))).expect("written");
    shard.write(freeze()).expect("frozen");
    assert_eq!(shard.write(freeze()).expect("frozen before").seq, 0);
    shard.write_for(Some(ALL), upsert(&of(100..200, LOW))).expect("the other part is written");
    let field = JsonPath::parse("a").expect("a path");
    for refused in [
        upsert(&of(0..200, HIGH)),
        upsert(&[of(0..9, HIGH)[0], of(0..9, LOW)[0]]),
        Operation::Delete(Selection::Ids(of(0..9, HIGH).into_iter().map(PointId::Num).collect())),
        Operation::ClearPayload(Selection::Filter(Filter::default())),
        Operation::DropIndex { field },
    ] {
        assert!(is_moved(shard.write(refused.clone())), "{refused:?}");
    }
    let expected: Vec<u64> = (0..100).chain(of(100..200, LOW)).collect();
    assert_eq!(content(&shard), expected);
    assert!(shard.owns(ALL) && !shard.owns(LOW));
    drop(shard);
    let shard = Shard::open(Arc::new(RealDisk), folder.path(), options(ALL)).expect("opened");
    assert!(is_moved(shard.write(upsert(&of(0..9, HIGH)))), "a start forgets nothing");
    shard.flush().expect("sealed");
    drop(shard);
    let shard = Shard::open(Arc::new(RealDisk), folder.path(), options(ALL)).expect("opened");
    assert!(is_moved(shard.write(upsert(&of(0..9, HIGH)))), "nor does a log that begins later");
    assert!(shard.write(Operation::Keep(HIGH)).is_err(), "it keeps the part that it said");
}

#[test]
fn a_shard_that_keeps_a_half_answers_for_that_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = create(Arc::new(RealDisk), folder.path()).expect("made");
    assert!(shard.write(Operation::Keep(LOW)).is_err(), "what wasn't frozen isn't given up");
    shard.write(upsert(&of(0..100, ALL))).expect("written");
    shard.flush().expect("sealed");
    shard.write(upsert(&of(100..200, ALL))).expect("written");
    shard.write(freeze()).expect("frozen");
    shard.write(Operation::Keep(LOW)).expect("kept");
    let check = |shard: &Shard, what: &str| {
        assert_eq!(content(shard), of(0..200, LOW), "{what}");
        assert_eq!(shard.view().points(), of(0..200, LOW).len() as u64, "{what}");
        assert!(shard.owns(LOW) && !shard.owns(ALL), "{what}");
        assert!(shard.check_owns(ALL).is_err(), "{what}");
    };
    check(&shard, "at once");
    assert!(is_moved(
        shard.write_for(Some(ALL), Operation::ClearPayload(Selection::Filter(Filter::default())))
    ));
    assert!(is_moved(shard.write(upsert(&of(0..9, HIGH)))));
    shard.write_for(Some(LOW), upsert(&of(0..9, LOW))).expect("its own points are written");
    assert_eq!(shard.write(Operation::Keep(LOW)).expect("kept before").seq, 0);
    assert_eq!(shard.write(freeze()).expect("done before").seq, 0);
    drop(shard);
    let shard = Shard::open(Arc::new(RealDisk), folder.path(), options(ALL)).expect("opened");
    check(&shard, "from the log");
    shard.flush().expect("sealed");
    drop(shard);
    let shard = Shard::open(Arc::new(RealDisk), folder.path(), options(ALL)).expect("opened");
    check(&shard, "from the manifest");
    // A snapshot restored elsewhere is bound to what that place says.
    let (links, dir) = (folder.path().join("links"), folder.path().join("restored"));
    shard.snapshot_to(&links).expect("taken");
    let restored = Shard::restore_from(Arc::new(RealDisk), &links, &dir, options(ALL)).expect("restored");
    restored.write(upsert(&of(0..9, HIGH))).expect("written");
}

#[test]
fn the_new_shard_is_the_same_wherever_and_whenever_it_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let shard = create(disk.clone(), &folder.path().join("shard")).expect("made");
    shard.write(upsert(&of(0..100, ALL))).expect("written");
    let early = folder.path().join("early");
    shard.snapshot_to(&early).expect("taken");
    let other = folder.path().join("other");
    assert!(
        Shard::fork_from(disk.clone(), &early, &other, options(HIGH)).is_err(),
        "nothing was frozen then"
    );
    let at = shard.write(freeze()).expect("frozen").seq;
    let path = |name: &str| folder.path().join(name);
    let first = fork(&disk, &shard, &path("links-1"), &path("first")).expect("made");
    shard.write(upsert(&of(100..300, LOW))).expect("written");
    let second = fork(&disk, &shard, &path("links-2"), &path("second")).expect("made");
    let of_another = Shard::fork_from(disk.clone(), &path("links-1"), &path("third"), options(LOW));
    assert!(of_another.is_err(), "only what was frozen is given");
    for made in [&first, &second] {
        assert_eq!(content(made), of(0..100, HIGH));
        assert_eq!(made.log_tail().last, at, "the copies' logs end at the same place");
        assert!(made.owns(HIGH));
    }
    shard.write(Operation::Keep(LOW)).expect("kept");
    let next = first.write(upsert(&of(300..310, HIGH))).expect("written").seq;
    assert_eq!(second.write(upsert(&of(300..310, HIGH))).expect("written").seq, next);
    assert_eq!(content(&first), content(&second));
    assert_eq!(content(&shard), of(0..300, LOW));
}

/// What the run had been told by the time of a call.
struct Told {
    call: u64,
    written: Vec<u64>,
}

const DIR: &str = "/data/shard";
const LINKS: &str = "/data/links";
const CHILD: &str = "/data/child";

/// Goes on with the split from what is there, as a node does after a start.
fn go_on(disk: &SimDisk, shard: &Shard) -> Result<Option<Shard>> {
    let sim: Arc<dyn Disk> = Arc::new(disk.clone());
    let (links, dir) = (Path::new(LINKS), Path::new(CHILD));
    if shard.bounds().range == Some(ALL) {
        shard.write(freeze())?;
    }
    let made = Manifest::exists(disk, dir);
    if shard.bounds().frozen.is_some() {
        if !made {
            for left in [links, dir].into_iter().filter(|left| disk.exists(left)) {
                disk.remove_dir_all(left).map_err(Error::io("clear"))?;
            }
            drop(fork(&sim, shard, links, dir)?);
            disk.sync_dir(Path::new("/data")).map_err(Error::io("sync"))?;
        }
        shard.write(Operation::Keep(LOW))?;
    } else if !made {
        return Ok(None);
    }
    Shard::open(sim, dir, options(HIGH)).map(Some)
}

#[test]
fn a_split_that_loses_power_anywhere_is_finished_and_loses_nothing() {
    let disk = SimDisk::new();
    disk.record();
    let mut told = Vec::new();
    let shard = create(Arc::new(disk.clone()), Path::new(DIR)).expect("made");
    disk.sync_dir(Path::new("/data")).expect("synced");
    let begun = disk.calls();
    let write = |told: &mut Vec<Told>, ids: Vec<u64>| {
        shard.write(upsert(&ids)).expect("written");
        told.push(Told { call: disk.calls(), written: ids });
    };
    write(&mut told, of(0..40, ALL));
    shard.flush().expect("sealed");
    write(&mut told, of(40..60, ALL));
    shard.write(freeze()).expect("frozen");
    write(&mut told, of(60..90, LOW));
    let child = go_on(&disk, &shard).expect("no fault, no error").expect("made");
    write(&mut told, of(90..120, LOW));
    child.write(upsert(&of(90..120, HIGH))).expect("written");
    told.push(Told { call: disk.calls(), written: of(90..120, HIGH) });
    shard.flush().expect("sealed");
    child.flush().expect("sealed");
    let mut states = 0;
    disk.history().for_each_crash(|point| {
        let call = point.call as u64;
        if call < begun {
            return;
        }
        for cut in Cut::ALL {
            let what = format!("call {call}, {cut:?}");
            let image = point.image(cut, call);
            let shard = Shard::open(Arc::new(image.clone()), Path::new(DIR), options(ALL));
            let shard = shard.unwrap_or_else(|e| panic!("{what}: {e}"));
            let child = go_on(&image, &shard).unwrap_or_else(|e| panic!("{what}: {e}"));
            let child =
                child.unwrap_or_else(|| panic!("{what}: the part was given up before it was kept elsewhere"));
            let (low, high) = (content(&shard), content(&child));
            let all: BTreeSet<u64> = low.iter().chain(&high).copied().collect();
            assert_eq!(all.len(), low.len() + high.len(), "{what}: a point is there twice");
            let is_in = |range: Hashes, ids: &[u64]| ids.iter().all(|id| range.has(PointId::Num(*id)));
            assert!(is_in(LOW, &low) && is_in(HIGH, &high), "{what}");
            let acknowledged = told.iter().filter(|t| t.call <= call).flat_map(|t| &t.written);
            let lost: Vec<&u64> = acknowledged.filter(|id| !all.contains(id)).collect();
            assert!(lost.is_empty(), "{what}: {lost:?} are lost");
            states += 1;
        }
    });
    assert!(states > 200, "only {states} crash states");
}
