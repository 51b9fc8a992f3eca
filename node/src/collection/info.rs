//! What a collection says of itself.

use std::collections::BTreeMap;

use quiver_api::collections::{CreateCollection, FieldSchema, VectorParams};
use quiver_api::shard_call::{ShardAnswer, ShardInfo, ShardRead};
use quiver_engine::config::CollectionConfig;
use serde_json::{Map, Value, json};

use super::convert::{Defaults, collection_config};
use super::{Collection, unexpected};
use crate::error::Result;
use crate::guardrails::{CollectionFacts, VectorFacts};
use crate::pool::Deadline;

/// The counts of all shards together.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub points: u64,
    /// Points that are hidden until they are indexed; nothing where none ever is.
    pub deferred: Option<u64>,
    pub vectors: BTreeMap<String, u64>,
    pub indexed_vectors: u64,
    pub segments: usize,
    pub status: &'static str,
    pub optimizer_error: Option<String>,
    pub queue: usize,
    pub bytes_disk: u64,
    pub bytes_ram: u64,
    pub payload_bytes: u64,
    pub payload_schema: BTreeMap<String, (FieldSchema, usize)>,
    /// A sentence for each damaged file.
    pub damaged: Vec<String>,
}

impl Totals {
    fn add(&mut self, info: ShardInfo) {
        const WORST_LAST: [&str; 4] = ["green", "yellow", "grey", "red"];
        let rank = |s: &str| WORST_LAST.iter().position(|w| *w == s).unwrap_or(0);
        self.status = WORST_LAST[rank(self.status).max(rank(&info.status))];
        self.points += info.points;
        if let Some(deferred) = info.deferred {
            *self.deferred.get_or_insert(0) += deferred;
        }
        for (name, count) in info.vectors {
            *self.vectors.entry(name).or_default() += count;
        }
        self.indexed_vectors += info.indexed_vectors;
        self.segments += info.segments;
        self.optimizer_error = self.optimizer_error.take().or(info.optimizer_error);
        self.queue += info.queue;
        self.bytes_disk += info.bytes_disk;
        self.bytes_ram += info.bytes_ram;
        self.payload_bytes += info.payload_bytes;
        self.damaged.extend(info.damaged);
        for (field, schema, points) in info.payload_schema {
            self.payload_schema.entry(field).or_insert((schema, 0)).1 += points;
        }
    }
}

impl Collection {
    /// The counts of all shards.
    pub async fn totals(&self, deadline: Deadline) -> Result<Totals> {
        let mut totals = Totals { status: "green", ..Totals::default() };
        for answer in self.read_all(&ShardRead::Info, deadline).await? {
            match answer {
                ShardAnswer::Info(info) => totals.add(info),
                other => return Err(unexpected(&other)),
            }
        }
        // Shards that are still to come will have these indexes too.
        if let Some(keyed) = &self.definition.load().settings.keyed {
            for (field, schema) in &keyed.indexes {
                totals.payload_schema.entry(field.clone()).or_insert_with(|| (schema.clone(), 0));
            }
        }
        Ok(totals)
    }

    /// What the guardrails judge.
    pub fn facts(&self, totals: &Totals, last_snapshot_unix: Option<u64>) -> CollectionFacts {
        let definition = self.definition.load();
        let settings = &definition.settings;
        let vectors = settings.vectors.iter().map(|(name, params)| VectorFacts {
            name: name.to_owned(),
            count: totals.vectors.get(name).copied().unwrap_or(0),
            quantized: params.quantization_config.is_some()
                || (settings.quantization_config.is_some() && !settings.unquantized_vectors.contains(name)),
        });
        CollectionFacts {
            name: definition.name.clone(),
            points: totals.points,
            shards: self.routes.load().len() as u64,
            vectors: vectors.collect(),
            indexed_fields: totals.payload_schema.keys().cloned().collect(),
            created_unix: definition.created_unix,
            last_snapshot_unix,
            scheduled: None,
            damaged: totals.damaged.clone(),
        }
    }
}

/// The `result` of GET `C`.
pub fn shown(settings: &CreateCollection, totals: &Totals, defaults: &Defaults) -> Result<Value> {
    let config = collection_config(settings, defaults)?;
    let optimizer_status = match &totals.optimizer_error {
        None => json!("ok"),
        Some(error) => json!({ "error": error }),
    };
    let schema: Map<String, Value> =
        totals.payload_schema.iter().map(|(field, (s, n))| (field.clone(), shown_index(s, *n))).collect();
    let mut shown = json!({
        "status": totals.status,
        "optimizer_status": optimizer_status,
        "indexed_vectors_count": totals.indexed_vectors,
        "points_count": totals.points,
        "segments_count": totals.segments,
        "config": shown_config(settings, &config),
        "payload_schema": schema,
        "update_queue": {"length": totals.queue},
    });
    if let Some(deferred) = totals.deferred {
        shown["update_queue"]["deferred_points"] = deferred.into();
    }
    let warnings = warnings(settings);
    if !warnings.is_empty() {
        shown["warnings"] = warnings.into();
    }
    Ok(shown)
}

/// What inline storage doesn't do as asked for: without a quantization the graph holds codes that nobody chose, and graphs of
/// multivectors hold none.
fn warnings(settings: &CreateCollection) -> Vec<Value> {
    let of_all = settings.hnsw_config.as_ref().and_then(|h| h.inline_storage);
    let warning = |(name, params): (&str, &VectorParams)| {
        let own = params.hnsw_config.as_ref().and_then(|h| h.inline_storage);
        if own.or(of_all) != Some(true) {
            return None;
        }
        let quantized = params.quantization_config.is_some()
            || (settings.quantization_config.is_some() && !settings.unquantized_vectors.contains(name));
        let what = match (quantized, params.multivector_config.is_some()) {
            (_, true) => "has no inline storage in its graph, because it is a multivector",
            (true, false) => return None,
            (false, false) => {
                "has inline storage but no quantization_config: its graph holds the engine's default codes, and scores are exact; \
                 set quantization_config to choose the codes"
            }
        };
        Some(json!({"message": format!("Vector '{name}' {what}")}))
    };
    settings.vectors.iter().filter_map(warning).collect()
}

fn shown_index(schema: &FieldSchema, points: usize) -> Value {
    match schema {
        FieldSchema::Type(kind) => json!({"data_type": kind, "points": points}),
        FieldSchema::Params(p) => json!({"data_type": p.kind, "params": p, "points": points}),
    }
}

/// The configuration as the protocol shows it: what was set, and the values in force where it shows those.
pub fn shown_config(settings: &CreateCollection, config: &CollectionConfig) -> Value {
    let mut params = json!({
        "vectors": settings.vectors,
        "shard_number": settings.shard_number.unwrap_or(1),
        "replication_factor": settings.replication_factor.unwrap_or(1),
        "write_consistency_factor": settings.write_consistency_factor.unwrap_or(1),
        "on_disk_payload": config.on_disk_payload,
    });
    if let Some(sparse) = settings.sparse_vectors.as_ref().filter(|all| !all.is_empty()) {
        params["sparse_vectors"] = json!(sparse);
    }
    if let Some(factor) = settings.read_fan_out_factor {
        params["read_fan_out_factor"] = factor.into();
    }
    if let Some(delay) = settings.read_fan_out_delay_ms {
        params["read_fan_out_delay_ms"] = delay.into();
    }
    if let Some(payload) = settings.payload {
        params["payload"] = json!(payload);
    }
    if let Some(method) = &settings.sharding_method {
        params["sharding_method"] = json!(method);
    }
    let (hnsw, optimizers) = (&config.hnsw, &config.optimizers);
    let mut hnsw_config = json!({
        "m": hnsw.m,
        "ef_construct": hnsw.ef_construct,
        "full_scan_threshold": hnsw.full_scan_threshold_kb,
        "max_indexing_threads": hnsw.max_indexing_threads,
        "on_disk": hnsw.on_disk,
    });
    if let Some(m) = hnsw.payload_m {
        hnsw_config["payload_m"] = m.into();
    }
    if let Some(inline) = hnsw.inline_storage {
        hnsw_config["inline_storage"] = inline.into();
    }
    if let Some(memory) = settings.hnsw_config.and_then(|h| h.memory) {
        hnsw_config["memory"] = json!(memory);
    }
    let mut shown = json!({
        "params": params,
        "hnsw_config": hnsw_config,
        "optimizer_config": {
            "deleted_threshold": optimizers.deleted_threshold,
            "vacuum_min_vector_number": optimizers.vacuum_min_vector_number,
            "default_segment_number": optimizers.default_segment_number,
            "max_segment_size": optimizers.max_segment_size_kb,
            "memmap_threshold": optimizers.memmap_threshold_kb,
            "indexing_threshold": optimizers.indexing_threshold_kb,
            "flush_interval_sec": optimizers.flush_interval_sec,
            "max_optimization_threads": optimizers.max_optimization_threads,
        },
        "wal_config": wal(settings),
        "quantization_config": settings.quantization_config,
    });
    if let Some(prevent) = settings.optimizers_config.as_ref().and_then(|o| o.prevent_unoptimized) {
        shown["optimizer_config"]["prevent_unoptimized"] = prevent.into();
    }
    if let Some(strict) = &settings.strict_mode_config {
        shown["strict_mode_config"] = json!(strict);
    }
    if let Some(metadata) = &settings.metadata {
        shown["metadata"] = metadata.clone().into();
    }
    shown
}

fn wal(settings: &CreateCollection) -> Value {
    let w = settings.wal_config.unwrap_or_default();
    json!({
        "wal_capacity_mb": w.wal_capacity_mb.unwrap_or(32),
        "wal_segments_ahead": w.wal_segments_ahead.unwrap_or(0),
        "wal_retain_closed": w.wal_retain_closed.unwrap_or(1),
    })
}
