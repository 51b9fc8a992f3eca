//! A shard with copies: what is committed is equal on all, what isn't is invisible and can be taken back.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::replicated::{Lead, LogTail, NotCommitted};
use super::{Hashes, Shard, ShardOptions, Watermarks};
use crate::config::{CollectionConfig, Distance, VectorParams};
use crate::error::{Error, Result};
use crate::file::RealDisk;
use crate::filter::{Condition, FieldCondition, FieldTest, Filter};
use crate::json_path::JsonPath;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::WithVectors;
use crate::vector::NamedVectors;
use crate::wal::Record;

fn options() -> ShardOptions {
    ShardOptions { watermarks: Watermarks::OFF, replicated: true, ..ShardOptions::default() }
}

fn create(dir: &Path) -> Shard {
    let vectors = [(String::new(), VectorParams::new(2, Distance::Dot))].into();
    let config = CollectionConfig { vectors, ..CollectionConfig::default() };
    Shard::create(Arc::new(RealDisk), dir, options(), config).expect("a new shard")
}

fn open(dir: &Path) -> Shard {
    Shard::open(Arc::new(RealDisk), dir, options()).expect("the shard opens")
}

fn upsert(ids: std::ops::Range<u64>, value: u64) -> Operation {
    let point = |id: u64| PointWrite {
        id: PointId::Num(id),
        vectors: NamedVectors::unnamed(vec![id as f32, value as f32]),
        payload: RawPayload::from_json_bytes(format!(r#"{{"value":{value}}}"#).as_bytes()),
    };
    Operation::Upsert { points: ids.map(point).collect(), mode: UpdateMode::Upsert, condition: None }
}

fn value_is(value: u64) -> Filter {
    let key = JsonPath::parse("value").expect("a path");
    let test = FieldTest::Integer(value as i64);
    Filter { must: vec![Condition::Field(FieldCondition { key, tests: vec![test] })], ..Filter::default() }
}

fn delete_where(value: u64) -> Operation {
    Operation::Delete(Selection::Filter(value_is(value)))
}

/// What becomes of the next batch.
#[derive(Clone, Copy)]
enum Answer {
    Commits,
    Refuses,
    StaysUnknown,
}

/// Leads, and gives what is committed to one copy.
struct Leader {
    term: u64,
    answer: Mutex<Answer>,
    copy: Option<Arc<Shard>>,
}

impl Lead for Leader {
    fn confirm(&self) -> Result<()> {
        Ok(())
    }

    fn term(&self) -> Result<u64> {
        Ok(self.term)
    }

    fn commit(&self, records: Vec<Record>) -> std::result::Result<(), NotCommitted> {
        match *self.answer.lock() {
            Answer::Refuses => return Err(NotCommitted::Refused("nobody listens".into())),
            Answer::StaysUnknown => return Err(NotCommitted::Unknown("nobody answers".into())),
            Answer::Commits => {}
        }
        if let (Some(copy), Some(first), Some(last)) = (&self.copy, records.first(), records.last()) {
            let followed = copy.follow(first.seq - 1, &records).and_then(|()| copy.apply_to(last.seq));
            followed.map_err(|e| NotCommitted::Unknown(e.to_string()))?;
        }
        Ok(())
    }
}

fn lead(shard: &Shard, term: u64, copy: Option<Arc<Shard>>) -> Arc<Leader> {
    let leader = Arc::new(Leader { term, answer: Mutex::new(Answer::Commits), copy });
    shard.set_lead(Some(leader.clone()));
    leader
}

/// Ids of all points with their payloads.
fn content(shard: &Shard) -> Vec<(PointId, String)> {
    let view = shard.view();
    let ids = view.ids_matching(&Filter::default(), &crate::cancel::Cancel::new()).expect("ids");
    let records = view.retrieve(&ids, true, &WithVectors::None).expect("records");
    let text = |payload: &RawPayload| String::from_utf8_lossy(payload.as_json()).into_owned();
    let mut all: Vec<_> = records.iter().map(|r| (r.id, text(&r.payload))).collect();
    all.sort();
    all
}

/// The shard holds these points, and its log goes from what is applied to `last`.
fn check(shard: &Shard, ids: std::ops::Range<u64>, applied: u64, last: u64) {
    let found: Vec<PointId> = content(shard).into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, ids.map(PointId::Num).collect::<Vec<_>>());
    let LogTail { applied: (seq, _), last: end, .. } = shard.log_tail();
    assert_eq!((seq, end), (applied, last));
}

#[test]
fn a_copy_that_follows_has_what_is_committed() {
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (first, second) = (create(a.path()), Arc::new(create(b.path())));
    lead(&first, 3, Some(second.clone()));
    for round in 0..20 {
        first.write(upsert(round * 7..round * 7 + 30, round % 4)).expect("committed");
        if round % 3 == 2 {
            first.write(delete_where((round + 1) % 4)).expect("committed");
            second.flush().expect("sealed");
        }
        assert_eq!(content(&first), content(&second));
    }
    assert_eq!(first.log_tail().applied, second.log_tail().applied);
    drop(second.clone());
    let tail = first.log_tail();
    drop(first);
    let again = open(a.path());
    assert_eq!(again.log_tail().last, tail.last);
    again.apply_to(tail.last).expect("applied");
    assert_eq!(content(&again), content(&second));
}

#[test]
fn what_is_not_committed_is_invisible_and_may_be_decided_later() {
    let dir = tempfile::tempdir().expect("a folder");
    let shard = create(dir.path());
    let leader = lead(&shard, 1, None);
    shard.write(upsert(0..3, 1)).expect("committed");
    *leader.answer.lock() = Answer::StaysUnknown;
    assert!(matches!(shard.write(upsert(3..5, 1)), Err(Error::Unknown(_))));
    check(&shard, 0..3, 1, 2);
    drop(shard);
    // Neither a start nor a checkpoint makes it visible.
    let shard = open(dir.path());
    check(&shard, 0..0, 0, 2);
    shard.apply_to(1).expect("applied");
    shard.flush().expect("sealed");
    check(&shard, 0..3, 1, 2);
    drop(shard);
    let shard = open(dir.path());
    check(&shard, 0..3, 1, 2);
    assert_eq!(shard.log_tail().runs, [(2, 1)]);
    shard.apply_to(2).expect("applied");
    check(&shard, 0..5, 2, 2);
}

#[test]
fn a_batch_that_nobody_else_took_is_taken_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let shard = create(dir.path());
    assert!(matches!(shard.write(upsert(0..1, 1)), Err(Error::Unavailable(_))), "nobody leads");
    let leader = lead(&shard, 1, None);
    shard.write(upsert(0..3, 1)).expect("committed");
    *leader.answer.lock() = Answer::Refuses;
    assert!(matches!(shard.write(upsert(3..5, 1)), Err(Error::Unavailable(_))));
    check(&shard, 0..3, 1, 1);
    *leader.answer.lock() = Answer::Commits;
    shard.write(upsert(3..9, 2)).expect("committed");
    check(&shard, 0..9, 2, 2);
    drop(shard);
    let shard = open(dir.path());
    shard.apply_to(2).expect("applied");
    check(&shard, 0..9, 2, 2);
}

#[test]
fn another_leaders_entries_replace_what_was_not_committed() {
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (old, new) = (Arc::new(create(a.path())), create(b.path()));
    let leader = lead(&old, 1, None);
    old.write(upsert(0..3, 1)).expect("committed");
    new.follow(0, &old.records_from(1, usize::MAX).expect("read")).expect("followed");
    *leader.answer.lock() = Answer::StaysUnknown;
    assert!(matches!(old.write(upsert(3..6, 1)), Err(Error::Unknown(_))));
    new.apply_to(1).expect("applied");
    old.set_lead(None);
    lead(&new, 2, Some(old.clone()));
    new.write(upsert(7..9, 5)).expect("committed");
    new.write(delete_where(5)).expect("committed");
    [&*old, &new].into_iter().for_each(|shard| check(shard, 0..3, 3, 3));
}

#[test]
fn entries_that_do_not_fit_are_refused() {
    let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (first, second) = (create(a.path()), create(b.path()));
    lead(&first, 5, None);
    for i in 0..4 {
        first.write(upsert(i..i + 1, i)).expect("committed");
    }
    let records = first.records_from(1, usize::MAX).expect("read");
    second.follow(0, &records[..2]).expect("followed");
    second.apply_to(1).expect("applied");
    let mut lower = records[2].clone();
    lower.term = 4;
    let mut broken = records[2].clone();
    broken.body.truncate(3);
    for (after, bad) in
        [(3, &records[3..]), (0, &records[..1]), (2, &records[3..]), (2, &[lower][..]), (2, &[broken][..])]
    {
        assert!(second.follow(after, bad).is_err(), "behind {after}");
        check(&second, 0..1, 1, 2);
    }
    second.follow(2, &records[2..]).expect("followed");
    second.apply_to(4).expect("applied");
    check(&second, 0..4, 4, 4);
}

#[test]
fn a_part_that_may_be_frozen_is_not_written_by_whoever_wrote_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = Hashes { first: 0, last: u64::MAX };
    let config = CollectionConfig {
        vectors: [(String::new(), VectorParams::new(2, Distance::Dot))].into(),
        ..CollectionConfig::default()
    };
    let bound = ShardOptions { range: Some(all), ..options() };
    let shard = Shard::create(Arc::new(RealDisk), dir.path(), bound, config).expect("a new shard");
    let leader = lead(&shard, 1, None);
    let (keep, give) = (Hashes { last: u64::MAX / 2, ..all }, Hashes { first: u64::MAX / 2 + 1, ..all });
    *leader.answer.lock() = Answer::StaysUnknown;
    assert!(matches!(shard.write(Operation::Freeze { keep, give }), Err(Error::Unknown(_))));
    *leader.answer.lock() = Answer::Commits;
    let high = (0..).find(|id| give.has(PointId::Num(*id))).expect("a point of that part");
    assert!(matches!(shard.write(upsert(high..high + 1, 1)), Err(Error::Moved(_))));
    assert_eq!(shard.bounds().frozen, None, "nobody has committed it");
    shard.apply_to(1).expect("it is committed after all");
    assert_eq!(shard.bounds().frozen.map(|f| (f.seq, f.term)), Some((1, 1)));
}
