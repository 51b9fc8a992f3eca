//! Points that are hidden until they are indexed: which, until when, and that none is lost.

use std::path::Path;
use std::sync::Arc;

use super::Shard;
use super::tests::{options, pool};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, Distance, OptimizerConfig, VectorParams};
use crate::file::SimDisk;
use crate::operation::{Operation, PointWrite, Selection, UpdateMode};
use crate::payload::RawPayload;
use crate::point_id::PointId;
use crate::query::WithVectors;
use crate::vector::{NamedVectors, Vector};

/// With 64 dimensions and a threshold of 16 kB.
const VISIBLE: u64 = 64;

fn config(threads: Option<usize>) -> CollectionConfig {
    CollectionConfig {
        vectors: [(String::new(), VectorParams::new(64, Distance::Euclid))].into(),
        optimizers: OptimizerConfig {
            indexing_threshold_kb: 16,
            prevent_unoptimized: true,
            max_optimization_threads: threads,
            ..OptimizerConfig::default()
        },
        ..CollectionConfig::default()
    }
}

fn shard(threads: Option<usize>) -> (Arc<SimDisk>, Shard) {
    let disk = Arc::new(SimDisk::new());
    let shard =
        Shard::create(disk.clone(), Path::new("/shard"), options(), config(threads)).expect("a shard");
    (disk, shard)
}

fn upsert(shard: &Shard, ids: std::ops::Range<u64>, mark: f32) {
    let point = |n: u64| PointWrite {
        id: PointId::Num(n),
        vectors: NamedVectors::from_iter([(String::new(), Vector::Dense(vec![mark + n as f32; 64]))]),
        payload: RawPayload::empty(),
    };
    let points = ids.map(point).collect();
    shard.write(Operation::Upsert { points, mode: UpdateMode::Upsert, condition: None }).expect("a write");
}

fn optimize(shard: &Shard) {
    let pool = pool();
    while shard.optimize(&pool, &Cancel::new()).expect("an optimization") || !shard.is_settled() {}
}

/// What readers see: these ids, the rest being hidden.
fn check(shard: &Shard, seen: std::ops::Range<u64>, hidden: u64) {
    let view = shard.view();
    let ids = view.scroll(None, None, usize::MAX, &Cancel::new()).expect("a scroll").0;
    assert_eq!(ids, seen.clone().map(PointId::Num).collect::<Vec<_>>());
    assert_eq!((view.points(), shard.deferred()), (seen.end - seen.start, hidden));
    assert_eq!(view.count(None, &Cancel::new()).expect("a count").0, view.points());
    assert_eq!(shard.stats().points, view.points());
}

fn mark_of(shard: &Shard, id: u64) -> Option<f32> {
    let all = shard.view().retrieve(&[PointId::Num(id)], false, &WithVectors::All).expect("a read");
    let vector = all.first()?.vectors.get("")?.as_dense()?[0];
    Some(vector - id as f32)
}

#[test]
fn what_is_beyond_the_threshold_is_hidden_until_it_is_indexed() {
    let (_, shard) = shard(None);
    upsert(&shard, 0..VISIBLE, 0.0);
    check(&shard, 0..VISIBLE, 0);
    upsert(&shard, VISIBLE..2000, 0.0);
    check(&shard, 0..VISIBLE, 2000 - VISIBLE);
    optimize(&shard);
    check(&shard, 0..2000, 0);
}

#[test]
fn without_the_optimizer_and_after_a_start_the_oldest_points_are_visible() {
    let (disk, shard) = shard(Some(0));
    upsert(&shard, 0..40, 0.0);
    upsert(&shard, 40..2000, 0.0);
    check(&shard, 0..VISIBLE, 2000 - VISIBLE);
    optimize(&shard);
    check(&shard, 0..VISIBLE, 2000 - VISIBLE);
    drop(shard);
    let shard = Shard::open(disk, Path::new("/shard"), options()).expect("a shard");
    check(&shard, 0..VISIBLE, 2000 - VISIBLE);
    shard.update_config(config(None)).expect("a configuration");
    optimize(&shard);
    check(&shard, 0..2000, 0);
}

#[test]
fn a_point_that_was_visible_stays_visible_while_it_changes() {
    let (_, shard) = shard(None);
    upsert(&shard, 0..1000, 0.0);
    optimize(&shard);
    upsert(&shard, 1000..2000, 0.0);
    check(&shard, 0..1000 + VISIBLE, 1000 - VISIBLE);
    // Of an indexed point the old state is seen, of a visible one that is not indexed the new.
    upsert(&shard, 5..6, 0.5);
    upsert(&shard, 1005..1006, 0.5);
    check(&shard, 0..1000 + VISIBLE, 1001 - VISIBLE);
    assert_eq!(
        (mark_of(&shard, 5), mark_of(&shard, 1005), mark_of(&shard, 1500)),
        (Some(0.0), Some(0.5), None)
    );
    // Deleted, neither state is seen; and what is hidden can be deleted too.
    shard
        .write(Operation::Delete(Selection::Ids(vec![PointId::Num(5), PointId::Num(1500)])))
        .expect("a write");
    assert_eq!((mark_of(&shard, 5), shard.view().points()), (None, 999 + VISIBLE));
    optimize(&shard);
    assert_eq!((shard.view().points(), shard.deferred()), (1998, 0));
    assert_eq!((mark_of(&shard, 5), mark_of(&shard, 1005), mark_of(&shard, 1500)), (None, Some(0.5), None));
}
