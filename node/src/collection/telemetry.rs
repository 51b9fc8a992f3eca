//! What `/telemetry` says of a collection: counts, from level 2 on its settings, from 3 on its shards, from 4 on their segments.

use quiver_api::shard_call::ShardInfo;
use quiver_engine::config::CollectionConfig;
use quiver_engine::shard::{SegmentStats, Shard};
use serde_json::{Map, Value, json};

use super::convert::{Defaults, collection_config};
use super::execute::info;
use super::info::shown_config;
use super::optimizations::uuid_of;
use super::{Collection, Place, Route};
use crate::cluster::managed::peer_id;
use crate::error::Result;
use crate::pool::Deadline;

/// From here on a report shows shards, and segments.
const SHARDS: u64 = 3;
const SEGMENTS: u64 = 4;

impl Collection {
    /// The entry of this collection at a level of at least 1.
    pub async fn telemetry(&self, defaults: &Defaults, level: u64, deadline: Deadline) -> Result<Value> {
        let definition = self.definition.load_full();
        let settings = &definition.settings;
        let config = collection_config(settings, defaults)?;
        let shown = shown_config(settings, &config);
        if level <= 1 {
            let totals = self.totals(deadline).await.unwrap_or_default();
            return Ok(json!({
                "vectors": totals.vectors.values().sum::<u64>(),
                "optimizers_status": status(totals.optimizer_error.as_deref()),
                "params": shown["params"],
            }));
        }
        // Files are mapped when they are asked for: opening a collection is not worth a measurement.
        let mut entry = json!({"id": definition.name, "init_time_ms": 0, "config": shown});
        if level >= SHARDS {
            let routes: Vec<Route> = self.routes.load().iter().cloned().collect();
            let own = peer_id(&self.node.settings.cluster.pod);
            let done: Vec<usize> = {
                let optimized = self.optimized.lock();
                routes.iter().map(|r| optimized.get(&r.shard).map_or(0, |looked| looked.done.len())).collect()
            };
            let look = move |_: &_| -> Vec<Value> {
                routes.iter().zip(done).map(|(r, done)| replicas(r, &config, own, done, level)).collect()
            };
            entry["shards"] = self.node.pools.search.run("Telemetry", deadline, look).await?.into();
            entry["transfers"] = json!([]);
            entry["resharding"] = json!([]);
        }
        Ok(entry)
    }
}

fn status(error: Option<&str>) -> Value {
    error.map_or_else(|| json!("ok"), |error| json!({ "error": error }))
}

/// The copies of a shard.
fn replicas(route: &Route, config: &CollectionConfig, own: u64, done: usize, level: u64) -> Value {
    let (local, peer, state) = match &route.place {
        Place::Local(shard) => (local(route.shard, shard, config, done, level), own, "Active"),
        Place::Remote { pod, .. } => (Value::Null, peer_id(pod), "Active"),
        Place::Missing(_) => (Value::Null, 0, "Dead"),
    };
    let remote =
        if local.is_null() { json!([{"shard_id": route.shard, "peer_id": peer}]) } else { json!([]) };
    let idle =
        json!({"ongoing_create_snapshot_requests": 0, "is_recovering": false, "recovery_timestamp": 0});
    json!({
        "id": route.shard,
        "key": route.key,
        "local": local,
        "remote": remote,
        "replicate_states": Map::from_iter([(peer.to_string(), json!(state))]),
        "partial_snapshot": idle,
    })
}

fn local(id: u32, shard: &Shard, config: &CollectionConfig, done: usize, level: u64) -> Value {
    let info: ShardInfo = info(shard, &shard.view());
    let bytes = info.vectors.iter().map(|(name, count)| {
        let size = config.vectors.get(name).map_or(0, |params| params.size as u64);
        count.saturating_mul(size).saturating_mul(4)
    });
    let mut local = json!({
        "variant_name": "local_shard",
        "status": info.status,
        "total_optimized_points": info.indexed_vectors,
        "vectors_size_bytes": bytes.sum::<u64>(),
        "payloads_size_bytes": info.payload_bytes,
        "num_points": info.points,
        "num_vectors": info.vectors.values().sum::<u64>(),
        "optimizations": {
            "status": status(info.optimizer_error.as_deref()),
            "optimizations": {"count": done},
            "log": [],
        },
        "async_scorer": false,
    });
    if level >= SEGMENTS {
        local["segments"] = shard.segment_stats().iter().map(|s| segment(id, s)).collect();
    }
    local
}

fn segment(shard: u32, s: &SegmentStats) -> Value {
    let is_mutable = s.id == 0;
    json!({
        "info": {
            "uuid": uuid_of(shard, s.id),
            "segment_type": if s.indexed_vectors > 0 { "indexed" } else { "plain" },
            "num_vectors": s.vectors,
            "num_points": s.points,
            "num_indexed_vectors": s.indexed_vectors,
            "num_deleted_vectors": s.deleted,
            "vectors_size_bytes": s.vector_bytes,
            "payloads_size_bytes": s.payload_bytes,
            "ram_usage_bytes": s.bytes_ram,
            "disk_usage_bytes": s.bytes_disk,
            "is_appendable": is_mutable,
            "index_schema": {},
            "vector_data": {},
        },
        "config": {"payload_storage_type": {"type": if is_mutable { "in_ram_mmap" } else { "mmap" }}},
        "vector_index_searches": [],
        "payload_field_indices": [],
    })
}
