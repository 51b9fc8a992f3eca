//! The schema in the words of REST: what the operator puts to each node.

use quiver_api::internal::{PayloadIndex, SchemaPolicy, SchemaRequest, SnapshotScheduleState};
use quiver_crds::collection::VectorCollectionSpec;
use quiver_crds::schema::{
    self, BinaryEncoding, Hnsw, Modifier, Optimizers, PayloadIndexType, Quantization, QuantizationType,
    SparseVector, Vector,
};
use serde_json::{Map, Value, json};

use crate::validate::Valid;

/// Adds what is given.
fn put<T: Into<Value>>(map: &mut Map<String, Value>, key: &str, value: Option<T>) {
    if let Some(value) = value {
        map.insert(key.into(), value.into());
    }
}

/// Thousandths as the fraction that people write: 990 is 0.99, not 0.9900000095.
fn fraction(permille: i32) -> f64 {
    f64::from(permille) / 1000.0
}

fn hnsw(hnsw: &Hnsw) -> Option<Value> {
    let mut map = Map::new();
    put(&mut map, "m", hnsw.m);
    put(&mut map, "ef_construct", hnsw.ef_construct);
    put(&mut map, "full_scan_threshold", hnsw.full_scan_threshold_kb);
    put(&mut map, "on_disk", hnsw.on_disk);
    (!map.is_empty()).then_some(Value::Object(map))
}

fn quantization(quantization: &Quantization) -> Option<Value> {
    match quantization.kind {
        QuantizationType::None => None,
        QuantizationType::Scalar => {
            let given = quantization.scalar.clone().unwrap_or_default();
            let mut map = Map::new();
            put(&mut map, "type", Some("int8"));
            put(&mut map, "quantile", given.quantile_permille.map(fraction));
            put(&mut map, "always_ram", given.always_ram);
            Some(json!({ "scalar": map }))
        }
        QuantizationType::Product => {
            let given = quantization.product.as_ref()?;
            let mut map = Map::new();
            put(&mut map, "compression", Some(lowercase(given.compression)));
            put(&mut map, "always_ram", given.always_ram);
            Some(json!({ "product": map }))
        }
        QuantizationType::Binary => {
            let given = quantization.binary.clone().unwrap_or_default();
            let mut map = Map::new();
            let encoding = given.encoding.map(|e| match e {
                BinaryEncoding::OneBit => "one_bit",
                BinaryEncoding::TwoBits => "two_bits",
                BinaryEncoding::OneAndHalfBits => "one_and_half_bits",
            });
            put(&mut map, "encoding", encoding);
            put(&mut map, "query_encoding", given.query_encoding.map(lowercase));
            put(&mut map, "always_ram", given.always_ram);
            Some(json!({ "binary": map }))
        }
        QuantizationType::Turbo => {
            let given = quantization.turbo.clone().unwrap_or_default();
            let mut map = Map::new();
            put(&mut map, "bits", given.bits.map(lowercase));
            put(&mut map, "always_ram", given.always_ram);
            Some(json!({ "turbo": map }))
        }
    }
}

/// REST's name of what differs from the resource's in capitals only.
fn lowercase(name: impl std::fmt::Debug) -> String {
    format!("{name:?}").to_lowercase()
}

fn optimizers(o: &Optimizers) -> Option<Value> {
    let mut map = Map::new();
    put(&mut map, "deleted_threshold", o.deleted_threshold_permille.map(fraction));
    put(&mut map, "vacuum_min_vector_number", o.vacuum_min_vector_number);
    put(&mut map, "default_segment_number", o.default_segment_number);
    put(&mut map, "max_segment_size", o.max_segment_size_kb);
    put(&mut map, "memmap_threshold", o.memmap_threshold_kb);
    put(&mut map, "indexing_threshold", o.indexing_threshold_kb);
    put(&mut map, "flush_interval_sec", o.flush_interval_sec);
    (!map.is_empty()).then_some(Value::Object(map))
}

fn vector(v: &Vector) -> Value {
    let mut map = Map::new();
    put(&mut map, "size", Some(v.size));
    put(&mut map, "distance", Some(format!("{:?}", v.distance)));
    put(&mut map, "on_disk", v.on_disk);
    put(&mut map, "hnsw_config", v.hnsw.as_ref().and_then(hnsw));
    put(&mut map, "quantization_config", v.quantization.as_ref().and_then(quantization));
    Value::Object(map)
}

fn sparse_vector(v: &SparseVector) -> Value {
    let mut map = Map::new();
    let index = v.full_scan_threshold.map(|threshold| json!({ "full_scan_threshold": threshold }));
    put(&mut map, "index", index);
    put(&mut map, "modifier", (v.modifier != Modifier::None).then(|| lowercase(v.modifier)));
    Value::Object(map)
}

/// Body of `PUT /collections/{name}`.
pub fn create_body(spec: &VectorCollectionSpec) -> Value {
    let vectors = match spec.vectors.as_slice() {
        [only] if only.name.is_empty() => vector(only),
        several => Value::Object(several.iter().map(|v| (v.name.clone(), vector(v))).collect()),
    };
    let mut map = Map::new();
    put(&mut map, "vectors", Some(vectors));
    if !spec.sparse_vectors.is_empty() {
        let all = spec.sparse_vectors.iter().map(|v| (v.name.clone(), sparse_vector(v)));
        map.insert("sparse_vectors".into(), Value::Object(all.collect()));
    }
    put(&mut map, "shard_number", Some(spec.shards));
    put(&mut map, "replication_factor", Some(spec.replication.factor));
    put(&mut map, "on_disk_payload", spec.on_disk_payload);
    put(&mut map, "hnsw_config", hnsw(&spec.hnsw));
    put(&mut map, "optimizers_config", optimizers(&spec.optimizers));
    put(&mut map, "quantization_config", quantization(&spec.quantization));
    Value::Object(map)
}

fn index_type(kind: PayloadIndexType) -> &'static str {
    match kind {
        PayloadIndexType::Keyword => "keyword",
        PayloadIndexType::Integer => "integer",
        PayloadIndexType::Float => "float",
        PayloadIndexType::Bool => "bool",
        PayloadIndexType::Datetime => "datetime",
        PayloadIndexType::Uuid => "uuid",
        PayloadIndexType::Geo => "geo",
        PayloadIndexType::Text => "text",
    }
}

/// Payload indexes; without options by the type's name, as most clients write it.
pub fn payload_indexes(spec: &VectorCollectionSpec) -> Vec<PayloadIndex> {
    let index = |i: &schema::PayloadIndex| {
        let mut map = Map::new();
        put(&mut map, "is_tenant", i.is_tenant);
        put(&mut map, "is_principal", i.is_principal);
        put(&mut map, "on_disk", i.on_disk);
        let kind = index_type(i.kind);
        let field_schema = if map.is_empty() {
            Value::from(kind)
        } else {
            map.insert("type".into(), kind.into());
            Value::Object(map)
        };
        PayloadIndex { field_name: i.field.clone(), field_schema }
    };
    spec.payload_indexes.iter().map(index).collect()
}

/// The whole request, as every node gets it.
pub fn request(valid: &Valid, snapshots: SnapshotScheduleState) -> SchemaRequest {
    SchemaRequest {
        collection_name: valid.rest_name.clone(),
        collection_uid: valid.uid.clone(),
        resource: format!("{}/{}", valid.namespace, valid.name),
        generation: valid.generation,
        shards: valid.spec.shards.unsigned_abs(),
        min_in_sync: valid.spec.replication.min_in_sync().unsigned_abs(),
        create: valid.create.clone(),
        payload_indexes: valid.indexes.clone(),
        aliases: valid.spec.aliases.clone(),
        schema_policy: match valid.spec.schema_policy {
            schema::SchemaPolicy::AllowAdditions => SchemaPolicy::AllowAdditions,
            schema::SchemaPolicy::Enforce => SchemaPolicy::Enforce,
        },
        snapshot_schedule: snapshots,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the resource says, and the same in REST's words, which a node understands.
    fn check(resource: Value, rest: Value) {
        let given: Quantization = serde_json::from_value(resource).expect("a resource's quantization");
        let body = quantization(&given).expect("a kind");
        assert_eq!(body, rest);
        let read = serde_json::from_value::<quiver_api::quantization::QuantizationConfig>(body);
        assert_eq!(serde_json::to_value(read.expect("a node reads it")).expect("it prints"), rest);
    }

    #[test]
    fn sparse_vectors_are_put_in_the_words_of_rest() {
        for (resource, rest) in [
            (json!({"name": "a"}), json!({})),
            (json!({"name": "a", "modifier": "Idf"}), json!({"modifier": "idf"})),
            (json!({"name": "a", "fullScanThreshold": 7}), json!({"index": {"full_scan_threshold": 7}})),
        ] {
            let given: SparseVector = serde_json::from_value(resource).expect("a resource's vector");
            let body = sparse_vector(&given);
            assert_eq!(body, rest);
            let read = serde_json::from_value::<quiver_api::sparse::SparseVectorParams>(body);
            assert_eq!(serde_json::to_value(read.expect("a node reads it")).expect("it prints"), rest);
        }
    }

    #[test]
    fn every_kind_of_quantization_is_put_in_the_words_of_rest() {
        check(
            json!({"type": "Scalar", "scalar": {"quantilePermille": 990}}),
            json!({"scalar": {"type": "int8", "quantile": 0.99}}),
        );
        for n in ["4", "8", "16", "32", "64"] {
            check(
                json!({"type": "Product", "product": {"compression": format!("X{n}"), "alwaysRam": true}}),
                json!({"product": {"compression": format!("x{n}"), "always_ram": true}}),
            );
        }
        check(json!({"type": "Binary"}), json!({"binary": {}}));
        for (resource, rest) in
            [("OneBit", "one_bit"), ("TwoBits", "two_bits"), ("OneAndHalfBits", "one_and_half_bits")]
        {
            check(
                json!({"type": "Binary", "binary": {"encoding": resource}}),
                json!({"binary": {"encoding": rest}}),
            );
        }
        for (resource, rest) in [
            ("Default", "default"),
            ("Binary", "binary"),
            ("Scalar4Bits", "scalar4bits"),
            ("Scalar8Bits", "scalar8bits"),
        ] {
            check(
                json!({"type": "Binary", "binary": {"queryEncoding": resource}}),
                json!({"binary": {"query_encoding": rest}}),
            );
        }
        for bits in ["1", "1_5", "2", "4"] {
            check(
                json!({"type": "Turbo", "turbo": {"bits": format!("Bits{bits}"), "alwaysRam": false}}),
                json!({"turbo": {"bits": format!("bits{bits}"), "always_ram": false}}),
            );
        }
    }
}
