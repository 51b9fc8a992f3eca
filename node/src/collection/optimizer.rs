//! Calls the optimizer of every shard that has changed, a few at a time, for as long as the node runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use quiver_engine::Cancel;
use quiver_engine::shard::Shard;

use super::Collection;
use super::optimizations::{Done, remember};
use super::registry::Registry;
use crate::clock;

/// How often shards are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Runs until the node stops.
pub async fn run(registry: Arc<Registry>) {
    let shutdown = registry.node.shutdown.clone();
    let cancel = Cancel::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = shutdown.begun() => {
                cancel.cancel();
                return;
            }
            _ = tick.tick() => {}
        }
        for collection in registry.names().collections.values() {
            for (id, shard) in collection.local_shards() {
                look(&registry, collection, id, shard, &cancel);
            }
        }
    }
}

/// After an error the next look comes after twice the time that the last one took to come, up to this: what failed
/// for lack of space would only fill the volume again.
const AGAIN_MAX: Duration = Duration::from_secs(8);

/// What is known of a shard's optimizer.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    running: bool,
    /// When the step began that is running.
    pub begun: Option<Timestamp>,
    /// The last steps that were done.
    pub done: VecDeque<Done>,
    /// After so many changes nothing was left to do.
    settled_at: Option<u64>,
    failed: Option<Failed>,
}

/// The last look ended with an error.
#[derive(Clone, Debug)]
struct Failed {
    text: String,
    waited: Duration,
    again: Instant,
}

impl Looked {
    /// Whether a shard that was changed so many times is to be looked at. Not only writes change it: a snapshot seals what
    /// is in memory, and that may be worth a merge.
    fn is_due(&self, changes: u64, now: Instant) -> bool {
        let waits = self.failed.as_ref().is_some_and(|f| now < f.again);
        !self.running && !waits && self.settled_at != Some(changes)
    }

    /// With other settings what failed may not fail. What was done stays known.
    pub fn try_again(&mut self) {
        self.failed = None;
    }

    /// The look ended with an error. True if that is news.
    fn fail(&mut self, text: String, now: Instant) -> bool {
        let waited = self.failed.as_ref().map_or(EVERY, |f| (f.waited * 2).min(AGAIN_MAX));
        let news = self.failed.as_ref().is_none_or(|f| f.text != text);
        self.failed = Some(Failed { text, waited, again: now + waited });
        news
    }
}

fn look(registry: &Registry, collection: &Arc<Collection>, id: u32, shard: Arc<Shard>, cancel: &Cancel) {
    let changes = shard.changes();
    {
        let mut optimized = collection.optimized.lock();
        let looked = optimized.entry(id).or_default();
        if !looked.is_due(changes, clock::now()) {
            return;
        }
        looked.running = true;
        looked.begun = Some(clock::timestamp());
    }
    let pool = registry.node.pools.optimize.clone();
    let (collection, cancel) = (collection.clone(), cancel.clone());
    let threads = pool.clone();
    pool.spawn(move || {
        let (step, begun) = (shard.outlook().next, clock::timestamp());
        let result = shard.optimize_within(threads.threads(), &collection.graph_threads, &cancel);
        // Nothing was done, nothing was changed since, nothing waits for its turn. Only then it is left alone.
        let settled = matches!(result, Ok(false)) && shard.changes() == changes && shard.is_settled();
        let mut optimized = collection.optimized.lock();
        let looked = optimized.entry(id).or_default();
        looked.running = false;
        looked.begun = None;
        let error = result.as_ref().err().map(ToString::to_string);
        if let (Some(step), true) = (step, !matches!(result, Ok(false)) && !cancel.is_cancelled()) {
            remember(&mut looked.done, Done { step, begun, ended: clock::timestamp(), error });
        }
        looked.settled_at = settled.then_some(changes);
        match result {
            Ok(_) => looked.failed = None,
            Err(_) if cancel.is_cancelled() => {}
            Err(e) => {
                if looked.fail(e.to_string(), clock::now()) {
                    tracing::warn!(collection = collection.name(), shard = id, error = %e, "optimizing failed");
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_less_and_less_often_and_reported_once() {
        let mut now = clock::now();
        let mut looked = Looked::default();
        assert!(looked.is_due(7, now));
        assert!(looked.fail("the disk is full".into(), now), "the first time it is news");
        let mut waited = Vec::new();
        for _ in 0..8 {
            let failed = looked.failed.clone().expect("it failed");
            assert!(!looked.is_due(7, now) && looked.is_due(7, failed.again));
            waited.push(failed.waited.as_millis());
            now = failed.again;
            assert!(!looked.fail("the disk is full".into(), now));
        }
        assert_eq!(waited, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        let mut changed = looked.clone();
        changed.try_again();
        assert!(changed.is_due(7, clock::now()), "the settings are others");
        assert!(looked.fail("a file is damaged".into(), now), "another reason is news");
    }

    #[test]
    fn a_settled_shard_is_left_alone_until_there_is_work() {
        let looked = Looked { settled_at: Some(7), ..Looked::default() };
        assert!(!looked.is_due(7, clock::now()), "nothing has changed");
        assert!(looked.is_due(8, clock::now()), "something was written, or a snapshot sealed what was there");
    }
}
