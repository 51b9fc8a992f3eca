//! What the nodes are told of the collection: the body of `PUT /collections/{name}`, indexes and aliases.

use quiver_api::internal::{PayloadIndex, SchemaPolicy, SchemaRequest, SnapshotScheduleState};
use quiver_crds::VectorCollectionSpec;
use quiver_crds::schema::{
    Distance, Hnsw, Optimizers, PayloadIndex as Index, PayloadIndexType, Quantization, QuantizationType,
    SchemaPolicy as Policy, Vector,
};
use serde_json::{Map, Value, json};

use crate::validate::Valid;

/// The whole schema.
pub fn schema(v: &Valid, schedule: SnapshotScheduleState) -> SchemaRequest {
    SchemaRequest {
        collection_name: v.spec.rest_name(&v.name).into(),
        collection_uid: v.uid.clone(),
        resource: format!("{}/{}", v.namespace, v.name),
        generation: v.generation,
        shards: u32::try_from(v.spec.shards).expect("the API server refuses negative numbers of shards"),
        create: create(&v.spec),
        payload_indexes: payload_indexes(&v.spec),
        aliases: v.spec.aliases.clone(),
        schema_policy: match v.spec.schema_policy {
            Policy::AllowAdditions => SchemaPolicy::AllowAdditions,
            Policy::Enforce => SchemaPolicy::Enforce,
        },
        snapshot_schedule: schedule,
    }
}

/// Body of `PUT /collections/{name}`.
pub fn create(spec: &VectorCollectionSpec) -> Value {
    let vectors = match spec.vectors.as_slice() {
        [only] if only.name.is_empty() => vector(only),
        several => Value::Object(several.iter().map(|one| (one.name.clone(), vector(one))).collect()),
    };
    let mut body = Map::new();
    body.insert("vectors".into(), vectors);
    body.insert("shard_number".into(), spec.shards.into());
    body.insert("replication_factor".into(), spec.replication.factor.into());
    put(&mut body, "on_disk_payload", spec.on_disk_payload);
    put(&mut body, "hnsw_config", hnsw(&spec.hnsw));
    put(&mut body, "optimizers_config", optimizers(&spec.optimizers));
    put(&mut body, "quantization_config", quantization(&spec.quantization));
    Value::Object(body)
}

fn put<T: Into<Value>>(into: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        into.insert(key.into(), value.into());
    }
}

/// `None` instead of an empty object, so that the node's defaults stay the node's.
fn filled(map: Map<String, Value>) -> Option<Value> {
    if map.is_empty() { None } else { Some(Value::Object(map)) }
}

fn vector(vector: &Vector) -> Value {
    let distance = match vector.distance {
        Distance::Cosine => "Cosine",
        Distance::Dot => "Dot",
        Distance::Euclid => "Euclid",
        Distance::Manhattan => "Manhattan",
    };
    let mut body = Map::new();
    body.insert("size".into(), vector.size.into());
    body.insert("distance".into(), distance.into());
    put(&mut body, "on_disk", vector.on_disk);
    put(&mut body, "hnsw_config", vector.hnsw.as_ref().and_then(hnsw));
    put(&mut body, "quantization_config", vector.quantization.as_ref().and_then(quantization));
    Value::Object(body)
}

fn hnsw(hnsw: &Hnsw) -> Option<Value> {
    let mut body = Map::new();
    put(&mut body, "m", hnsw.m);
    put(&mut body, "ef_construct", hnsw.ef_construct);
    put(&mut body, "full_scan_threshold", hnsw.full_scan_threshold_kb);
    put(&mut body, "on_disk", hnsw.on_disk);
    filled(body)
}

fn quantization(quantization: &Quantization) -> Option<Value> {
    if quantization.kind == QuantizationType::None {
        return None;
    }
    let mut body = Map::new();
    body.insert("type".into(), "int8".into());
    if let Some(scalar) = &quantization.scalar {
        put(&mut body, "quantile", scalar.quantile_permille.map(|p| f64::from(p) / 1000.0));
        put(&mut body, "always_ram", scalar.always_ram);
    }
    Some(json!({ "scalar": body }))
}

fn optimizers(optimizers: &Optimizers) -> Option<Value> {
    let mut body = Map::new();
    put(&mut body, "indexing_threshold", optimizers.indexing_threshold_kb);
    put(&mut body, "memmap_threshold", optimizers.memmap_threshold_kb);
    put(&mut body, "max_segment_size", optimizers.max_segment_size_kb);
    put(&mut body, "default_segment_number", optimizers.default_segment_number);
    put(&mut body, "deleted_threshold", optimizers.deleted_threshold_permille.map(|p| f64::from(p) / 1000.0));
    put(&mut body, "vacuum_min_vector_number", optimizers.vacuum_min_vector_number);
    put(&mut body, "flush_interval_sec", optimizers.flush_interval_sec);
    filled(body)
}

fn index(index: &Index) -> PayloadIndex {
    let kind = match index.kind {
        PayloadIndexType::Keyword => "keyword",
        PayloadIndexType::Integer => "integer",
        PayloadIndexType::Float => "float",
        PayloadIndexType::Bool => "bool",
        PayloadIndexType::Datetime => "datetime",
        PayloadIndexType::Uuid => "uuid",
    };
    let mut body = Map::new();
    body.insert("type".into(), kind.into());
    put(&mut body, "is_tenant", index.is_tenant);
    put(&mut body, "is_principal", index.is_principal);
    put(&mut body, "on_disk", index.on_disk);
    let field_schema = if body.len() == 1 { Value::from(kind) } else { Value::Object(body) };
    PayloadIndex { field_name: index.field.clone(), field_schema }
}

/// The payload indexes of the resource.
pub fn payload_indexes(spec: &VectorCollectionSpec) -> Vec<PayloadIndex> {
    spec.payload_indexes.iter().map(index).collect()
}
