//! Collections, their configuration, payload indexes and aliases.
//!
//! What a client sets is kept as it was set: unset fields are absent in answers, because older clients refuse
//! keys they don't know in types that requests share.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::aliases::{AliasAction, AliasDescription, ChangeAliases};
use crate::quantization::{QuantizationConfig, QuantizationUpdate};
use crate::shard_key::Keyed;
use crate::sparse::{CreateSparseVector, Datatype, SparseVectorParams};
use crate::strict_mode::StrictMode;
use crate::text_index::TextParams;
use crate::validate::{Invalid, number_or_auto};

/// Largest number of dimensions.
pub const VECTOR_SIZE_MAX: usize = 65_536;

/// Longest name of a vector.
const VECTOR_NAME_BYTES_MAX: usize = 200;

/// How vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Distance {
    Cosine,
    Euclid,
    Dot,
    Manhattan,
}

/// One vector of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VectorParams {
    pub size: usize,
    pub distance: Distance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswDiff>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_config: Option<QuantizationConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// Says more than `on_disk`, and wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype: Option<Datatype>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multivector_config: Option<MultiVectorConfig>,
}

/// Points have several vectors of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MultiVectorConfig {
    pub comparator: MultiVectorComparator,
}

/// How multivectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MultiVectorComparator {
    /// For each vector of the query the most similar one of the point, added up.
    MaxSim,
}

/// HNSW settings that are given; the others keep their value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HnswDiff {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub m: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ef_construct: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "full_scan_threshold_kb")]
    pub full_scan_threshold: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_indexing_threads: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_m: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_storage: Option<bool>,
    /// Says more than `on_disk`, and wins over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

impl HnswDiff {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        if let Some(m) = self.m {
            invalid.within(&format!("{path}.m"), m, 0, 10_000);
        }
        invalid.at_least(&format!("{path}.ef_construct"), self.ef_construct, 4);
        invalid.at_least(&format!("{path}.full_scan_threshold"), self.full_scan_threshold, 10);
    }

    /// Lays `newer` over this one.
    pub fn merge(&mut self, newer: &HnswDiff) {
        fn take<T: Copy>(old: &mut Option<T>, new: Option<T>) {
            *old = new.or(*old);
        }
        take(&mut self.m, newer.m);
        take(&mut self.ef_construct, newer.ef_construct);
        take(&mut self.full_scan_threshold, newer.full_scan_threshold);
        take(&mut self.max_indexing_threads, newer.max_indexing_threads);
        take(&mut self.on_disk, newer.on_disk);
        take(&mut self.payload_m, newer.payload_m);
        take(&mut self.inline_storage, newer.inline_storage);
        take(&mut self.memory, newer.memory);
    }
}

/// Optimizer settings that are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OptimizersDiff {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_threshold: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vacuum_min_vector_number: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_segment_number: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_segment_size_kb")]
    pub max_segment_size: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "memmap_threshold_kb")]
    pub memmap_threshold: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "indexing_threshold_kb")]
    pub indexing_threshold: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_interval_sec: Option<u64>,
    /// A number, or `"auto"`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number_or_auto")]
    #[schemars(schema_with = "crate::schema::threads")]
    pub max_optimization_threads: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prevent_unoptimized: Option<bool>,
}

impl OptimizersDiff {
    fn validate(&self, path: &str, invalid: &mut Invalid) {
        if let Some(t) = self.deleted_threshold.filter(|t| !(0.0..=1.0).contains(t)) {
            invalid.add(
                format!("{path}.deleted_threshold"),
                format!("value {t:?} invalid, must be from 0.0 to 1.0"),
            );
        }
        invalid.at_least(&format!("{path}.vacuum_min_vector_number"), self.vacuum_min_vector_number, 100);
        invalid.at_least(&format!("{path}.max_segment_size"), self.max_segment_size, 1);
    }

    /// Lays `newer` over this one.
    pub fn merge(&mut self, newer: &OptimizersDiff) {
        fn take<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
            if new.is_some() {
                old.clone_from(new);
            }
        }
        take(&mut self.deleted_threshold, &newer.deleted_threshold);
        take(&mut self.vacuum_min_vector_number, &newer.vacuum_min_vector_number);
        take(&mut self.default_segment_number, &newer.default_segment_number);
        take(&mut self.max_segment_size, &newer.max_segment_size);
        take(&mut self.memmap_threshold, &newer.memmap_threshold);
        take(&mut self.indexing_threshold, &newer.indexing_threshold);
        take(&mut self.flush_interval_sec, &newer.flush_interval_sec);
        take(&mut self.max_optimization_threads, &newer.max_optimization_threads);
        take(&mut self.prevent_unoptimized, &newer.prevent_unoptimized);
    }
}

/// Log settings that are given; echoed, the log sizes itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WalDiff {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_capacity_mb: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_segments_ahead: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_retain_closed: Option<usize>,
}

/// The unnamed vector alone, or vectors by name.
#[allow(clippy::large_enum_variant)] // One for each collection, never many.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum VectorsConfig {
    Single(VectorParams),
    Multi(BTreeMap<String, VectorParams>),
}

impl Default for VectorsConfig {
    fn default() -> Self {
        VectorsConfig::Multi(BTreeMap::new())
    }
}

impl<'de> Deserialize<'de> for VectorsConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let refused = || de::Error::custom("data did not match any variant of untagged enum VectorsConfig");
        let Value::Object(object) = Value::deserialize(d)? else { return Err(refused()) };
        let single = object.contains_key("size") && object.contains_key("distance");
        let value = Value::Object(object);
        let parsed = if single {
            serde_json::from_value(value).map(VectorsConfig::Single)
        } else {
            serde_json::from_value(value).map(VectorsConfig::Multi)
        };
        parsed.ok().filter(|c| c.iter().all(|(_, p)| p.size > 0)).ok_or_else(refused)
    }
}

impl VectorsConfig {
    /// All vectors by name, `""` being the unnamed one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &VectorParams)> {
        let (single, multi) = match self {
            VectorsConfig::Single(p) => (Some(("", p)), None),
            VectorsConfig::Multi(map) => (None, Some(map.iter().map(|(n, p)| (n.as_str(), p)))),
        };
        single.into_iter().chain(multi.into_iter().flatten())
    }

    /// The one of that name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut VectorParams> {
        match self {
            VectorsConfig::Single(p) => name.is_empty().then_some(p),
            VectorsConfig::Multi(map) => map.get_mut(name),
        }
    }

    /// All of them as a map, for good.
    pub fn as_map_mut(&mut self) -> &mut BTreeMap<String, VectorParams> {
        if let VectorsConfig::Single(p) = self {
            *self = VectorsConfig::Multi([(String::new(), p.clone())].into());
        }
        match self {
            VectorsConfig::Multi(map) => map,
            VectorsConfig::Single(_) => unreachable!("it was made a map above"),
        }
    }
}

/// How points are assigned to shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShardingMethod {
    /// By their ids.
    Auto,
    /// By a key that each request names.
    Custom,
}

/// Body of PUT `C`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateCollection {
    pub vectors: VectorsConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharding_method: Option<ShardingMethod>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_consistency_factor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_fan_out_factor: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_fan_out_delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disk_payload: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadStorage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hnsw_config: Option<HnswDiff>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_config: Option<WalDiff>,
    #[serde(skip_serializing_if = "Option::is_none", alias = "optimizer_config")]
    pub optimizers_config: Option<OptimizersDiff>,
    #[serde(skip_serializing_if = "Option::is_none", alias = "quantization")]
    pub quantization_config: Option<QuantizationConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_mode_config: Option<StrictMode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Vectors whose quantization a change switched off: they don't follow the collection's. Kept, not shown.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(skip)]
    pub unquantized_vectors: BTreeSet<String>,
    /// Its shard keys, if it is sharded by them. Kept, shown elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub keyed: Option<Keyed>,
}

impl CreateCollection {
    /// What is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::new();
        for (name, params) in self.vectors.iter() {
            let path = match &self.vectors {
                VectorsConfig::Single(_) => "vectors".to_owned(),
                VectorsConfig::Multi(_) => format!("vectors.{name}"),
            };
            params.validate(&path, &mut invalid);
            validate_vector_name(name, &path, &mut invalid);
        }
        for name in self.sparse_vectors.iter().flat_map(BTreeMap::keys) {
            validate_vector_name(name, &format!("sparse_vectors.{name}"), &mut invalid);
        }
        let counts = [
            ("shard_number", self.shard_number),
            ("replication_factor", self.replication_factor),
            ("write_consistency_factor", self.write_consistency_factor),
        ];
        for (path, count) in counts {
            invalid.at_least(path, count.map(|c| c as usize), 1);
        }
        if let Some(hnsw) = &self.hnsw_config {
            hnsw.validate("hnsw_config", &mut invalid);
        }
        if let Some(optimizers) = &self.optimizers_config {
            optimizers.validate("optimizers_config", &mut invalid);
        }
        if let Some(quantization) = &self.quantization_config {
            quantization.validate("quantization_config", &mut invalid);
        }
        let payload = self.payload.and_then(|p| p.memory);
        refuse_pinned(payload, "payload", "payload storage", &mut invalid);
        let wal_capacity = self.wal_config.and_then(|w| w.wal_capacity_mb);
        invalid.at_least("wal_config.wal_capacity_mb", wal_capacity, 1);
        if let Some(strict) = &self.strict_mode_config {
            strict.validate("strict_mode_config", &mut invalid);
        }
        invalid.done()
    }
}

/// Adds a name that is too long, at `path`.
pub fn validate_vector_name(name: &str, path: &str, invalid: &mut Invalid) {
    if name.len() > VECTOR_NAME_BYTES_MAX {
        invalid.add(path, "vector name must be at most 200 bytes long");
    }
}

impl VectorParams {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        invalid.within(&format!("{path}.size"), self.size, 1, VECTOR_SIZE_MAX);
        refuse_pinned(self.memory, path, "dense vector storage", invalid);
        if let Some(hnsw) = &self.hnsw_config {
            hnsw.validate(&format!("{path}.hnsw_config"), invalid);
        }
        if let Some(quantization) = &self.quantization_config {
            quantization.validate(&format!("{path}.quantization_config"), invalid);
        }
    }
}

/// Body of PATCH `C`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpdateCollection {
    pub vectors: Option<BTreeMap<String, VectorUpdate>>,
    #[serde(alias = "optimizer_config")]
    pub optimizers_config: Option<OptimizersDiff>,
    pub params: Option<ParamsUpdate>,
    pub hnsw_config: Option<HnswDiff>,
    pub quantization_config: Option<QuantizationUpdate>,
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
    pub strict_mode_config: Option<StrictMode>,
    pub metadata: Option<Map<String, Value>>,
}

impl UpdateCollection {
    /// What is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::new();
        if let Some(hnsw) = &self.hnsw_config {
            hnsw.validate("hnsw_config", &mut invalid);
        }
        if let Some(optimizers) = &self.optimizers_config {
            optimizers.validate("optimizers_config", &mut invalid);
        }
        if let Some(QuantizationUpdate::Set(quantization)) = &self.quantization_config {
            quantization.validate("quantization_config", &mut invalid);
        }
        for (name, update) in self.vectors.iter().flatten() {
            refuse_pinned(update.memory, &format!("vectors.{name}"), "dense vector storage", &mut invalid);
            if let Some(hnsw) = &update.hnsw_config {
                hnsw.validate(&format!("vectors.{name}.hnsw_config"), &mut invalid);
            }
            if let Some(QuantizationUpdate::Set(quantization)) = &update.quantization_config {
                quantization.validate(&format!("vectors.{name}.quantization_config"), &mut invalid);
            }
        }
        if let Some(params) = &self.params {
            let counts = [
                ("params.replication_factor", params.replication_factor),
                ("params.write_consistency_factor", params.write_consistency_factor),
            ];
            for (path, count) in counts {
                invalid.at_least(path, count.map(|c| c as usize), 1);
            }
            let payload = params.payload.and_then(|p| p.memory);
            refuse_pinned(payload, "params.payload", "payload storage", &mut invalid);
        }
        if let Some(strict) = &self.strict_mode_config {
            strict.validate("strict_mode_config", &mut invalid);
        }
        invalid.done()
    }
}

/// What may be changed of one vector.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VectorUpdate {
    pub hnsw_config: Option<HnswDiff>,
    pub quantization_config: Option<QuantizationUpdate>,
    pub on_disk: Option<bool>,
    pub memory: Option<Memory>,
}

/// How payloads are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PayloadStorage {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// What may be changed of a collection's parameters.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ParamsUpdate {
    pub replication_factor: Option<u32>,
    pub write_consistency_factor: Option<u32>,
    pub read_fan_out_factor: Option<u32>,
    pub read_fan_out_delay_ms: Option<u64>,
    pub on_disk_payload: Option<bool>,
    pub payload: Option<PayloadStorage>,
}

/// The type of a payload index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    Keyword,
    Integer,
    Float,
    Geo,
    Text,
    Bool,
    Datetime,
    Uuid,
}

/// A payload index: a type's name, or its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum PayloadFieldSchema")]
pub enum FieldSchema {
    Type(FieldType),
    Params(FieldParams),
}

/// Parameters of a payload index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldParams {
    #[serde(rename = "type")]
    pub kind: FieldType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_tenant: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_principal: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_hnsw: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(flatten)]
    pub text: TextParams,
}

/// Vectors and payloads are read from their files, through the page cache: they can't be held in memory for certain.
fn refuse_pinned(memory: Option<Memory>, path: &str, what: &str, invalid: &mut Invalid) {
    if memory == Some(Memory::Pinned) {
        invalid
            .add(format!("{path}.memory"), format!("`pinned` memory placement is not supported for {what}"));
    }
}

/// Where the data of an index is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    Cold,
    Cached,
    Pinned,
}

/// Body of PUT `C/index`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct CreateIndex {
    pub field_name: String,
    #[serde(default, alias = "field_type", deserialize_with = "of_its_kind")]
    pub field_schema: Option<FieldSchema>,
}

/// A schema without what only indexes of other types have, as with other fields that nobody knows: clients refuse it in answers.
fn of_its_kind<'de, D: Deserializer<'de>>(d: D) -> Result<Option<FieldSchema>, D::Error> {
    let schema = Option::<FieldSchema>::deserialize(d)?;
    Ok(schema.map(|schema| match schema {
        FieldSchema::Params(params) => FieldSchema::Params(params.of_its_kind()),
        name => name,
    }))
}

impl FieldParams {
    fn of_its_kind(self) -> Self {
        use FieldType as T;
        let kind = self.kind;
        let is = |kinds: &[FieldType]| kinds.contains(&kind);
        Self {
            lookup: self.lookup.filter(|_| is(&[T::Integer])),
            range: self.range.filter(|_| is(&[T::Integer])),
            is_tenant: self.is_tenant.filter(|_| is(&[T::Keyword, T::Uuid])),
            is_principal: self.is_principal.filter(|_| is(&[T::Integer, T::Float, T::Datetime])),
            prefix: self.prefix.filter(|_| is(&[T::Keyword])),
            text: if is(&[T::Text]) { self.text } else { TextParams::default() },
            ..self
        }
    }
}

impl CreateIndex {
    /// What is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let Some(FieldSchema::Params(p)) = &self.field_schema else { return Ok(()) };
        let mut invalid = Invalid::new();
        if p.kind == FieldType::Integer && p.lookup == Some(false) && p.range == Some(false) {
            let text = "Validation error: the 'lookup' and 'range' capabilities can't be both disabled [{}]";
            invalid.add("field_schema.lookup", text);
        }
        if p.kind == FieldType::Text {
            p.text.validate("field_schema", &mut invalid);
        }
        invalid.done()
    }
}

/// Body of PUT `C/vectors/{name}`.
#[allow(clippy::large_enum_variant)] // One for each collection, never many.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreateVector {
    Dense(VectorParams),
    Sparse(CreateSparseVector),
}

/// A snapshot in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotDescription {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_time: Option<String>,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_set_is_shown_as_it_was_written() {
        let given = json!({
            "size": 1536, "distance": "Cosine", "hnsw_config": {"m": 16},
            "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}},
            "on_disk": true,
        });
        let read: VectorsConfig = serde_json::from_value(given.clone()).expect("a configuration");
        assert_eq!(serde_json::to_value(&read).expect("it prints"), given);
    }
}
