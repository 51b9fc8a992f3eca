//! Reads all sealed files again, slowly, for as long as the node runs: what a disk lost is found before it is needed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use quiver_engine::shard::Shard;

use super::Collection;
use super::registry::Registry;
use crate::pool::Deadline;

/// Read in each step.
const STEP_BYTES: u64 = 5 << 20;
/// From one step to the next. A terabyte takes two and a half days.
const STEP_EVERY: Duration = Duration::from_secs(1);
/// From the end of one round through all shards to the start of the next.
const ROUND_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Runs until the node stops.
pub async fn run(registry: Arc<Registry>) {
    let shutdown = registry.node.shutdown.clone();
    tokio::select! {
        () = shutdown.begun() => {}
        () = rounds(&registry) => {}
    }
}

async fn rounds(registry: &Registry) {
    loop {
        for (collection, id, shard) in shards(registry) {
            let Some(damaged) = pass(registry, &shard).await else { continue };
            if !damaged.is_empty() {
                tracing::error!(collection, shard = id, ?damaged, "files are damaged");
            }
        }
        tokio::time::sleep(ROUND_EVERY).await;
    }
}

/// The shards as they are now; those that come later are found by the next round. Not held: a shard that is dropped
/// must give its space back.
fn shards(registry: &Registry) -> Vec<(String, u32, Weak<Shard>)> {
    let names = registry.names();
    let of = |(name, collection): (&String, &Arc<Collection>)| {
        let name = name.clone();
        let weak = move |(id, shard): (u32, Arc<Shard>)| (name.clone(), id, Arc::downgrade(&shard));
        collection.local_shards().into_iter().map(weak)
    };
    names.collections.iter().flat_map(of).collect()
}

/// One pass over a shard's files: what is damaged, or nothing if the shard is gone.
async fn pass(registry: &Registry, shard: &Weak<Shard>) -> Option<Vec<String>> {
    loop {
        tokio::time::sleep(STEP_EVERY).await;
        let shard = shard.upgrade()?;
        let step = move |cancel: &_| shard.scrub(STEP_BYTES, cancel).map(|end| end.then(|| shard.damage()));
        let pool = &registry.node.pools.optimize;
        // Whatever keeps a step from being done now, the next one tries again.
        if let Ok(Ok(Some(damaged))) = pool.run("Scrub", Deadline::after(Duration::MAX), step).await {
            return Some(damaged);
        }
    }
}
