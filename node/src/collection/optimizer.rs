//! Calls the optimizer of every shard that has changed, a few at a time, for as long as the node runs.

use std::sync::Arc;
use std::time::Duration;

use quiver_engine::Cancel;
use quiver_engine::shard::Shard;

use super::Collection;
use super::registry::Registry;

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

/// A shard being optimized has this as its last seq.
const RUNNING: u64 = u64::MAX;

fn look(registry: &Registry, collection: &Arc<Collection>, id: u32, shard: Arc<Shard>, cancel: &Cancel) {
    let seq = shard.view().seq();
    let before = {
        let mut optimized = collection.optimized.lock();
        let entry = optimized.entry(id).or_insert(RUNNING - 1);
        if *entry == RUNNING || *entry == seq {
            return;
        }
        std::mem::replace(entry, RUNNING)
    };
    let _ = before;
    let pool = registry.node.pools.optimize.clone();
    let (collection, cancel) = (collection.clone(), cancel.clone());
    let threads = pool.clone();
    pool.spawn(move || {
        // Settled: nothing is left to do, and nothing was written since. Only then it is left alone.
        let settled = match shard.optimize(threads.threads(), &cancel) {
            Ok(goes_on) => !goes_on && shard.view().seq() == seq,
            Err(e) => {
                if !cancel.is_cancelled() {
                    tracing::warn!(collection = collection.name(), shard = id, error = %e, "optimizing failed");
                }
                false
            }
        };
        // No write came meanwhile: the log notes that it is durable, so that damage is known from a torn end.
        if settled && let Err(e) = shard.mark_idle() {
            tracing::warn!(collection = collection.name(), shard = id, error = %e, "marking the log failed");
        }
        let mut optimized = collection.optimized.lock();
        optimized.insert(id, if settled { seq } else { RUNNING - 1 });
    });
}
