//! What a collection stores: vectors, their index and quantization, payload indexes, optimizer settings.
//! Lists of named objects, never maps; no floats; no unsigned numbers: what the API server handles best.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One vector of each point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vector {
    /// Empty for the unnamed vector, which must then be the only one.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub name: String,
    /// Number of dimensions.
    #[schemars(range(min = 1, max = 65_536))]
    pub size: i32,
    pub distance: Distance,
    #[serde(default)]
    pub datatype: Datatype,
    /// The vectors stay in mapped files instead of RAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    /// What differs from the collection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw: Option<Hnsw>,
    /// Instead of the collection's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
}

/// One sparse vector of each point, compared by the dot product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SparseVector {
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    #[serde(default)]
    pub modifier: Modifier,
    /// Among fewer points each is compared by itself; what is left out is the node's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub full_scan_threshold: Option<i32>,
}

/// What is done to the weights of a sparse query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Modifier {
    #[default]
    None,
    /// Each is multiplied by the inverse document frequency of its dimension.
    Idf,
}

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Distance {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

/// How a dimension is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Datatype {
    #[default]
    Float32,
}

/// Parameters of the HNSW graph; what is left out is the node's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hnsw {
    /// Links of a node in the graph; 0: no graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub m: Option<i32>,
    /// Candidates kept while a node is inserted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4, max = 100_000))]
    pub ef_construct: Option<i32>,
    /// In kilobytes of vectors: below it a search scans instead of walking the graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub full_scan_threshold_kb: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
}

/// Small codes beside the vectors, searched first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Scalar') || !has(self.scalar)")
        .message("quantization.scalar belongs to type Scalar: set quantization.type to Scalar, or leave scalar out"),
    validation = Rule::new("(self.type == 'Product') == has(self.product)")
        .message("quantization.product belongs to type Product, which needs it: set both or neither"),
    validation = Rule::new("(self.type == 'Binary') || !has(self.binary)")
        .message("quantization.binary belongs to type Binary: set quantization.type to Binary, or leave binary out"),
    validation = Rule::new("(self.type == 'Turbo') || !has(self.turbo)")
        .message("quantization.turbo belongs to type Turbo: set quantization.type to Turbo, or leave turbo out")
)]
pub struct Quantization {
    #[serde(default, rename = "type")]
    pub kind: QuantizationType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalar: Option<ScalarQuantization>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductQuantization>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<BinaryQuantization>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turbo: Option<TurboQuantization>,
}

/// Kinds of quantization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QuantizationType {
    #[default]
    None,
    /// One byte for each dimension.
    Scalar,
    /// A share of the vectors' size; of fewer than eight bits for each dimension one bit stays in RAM.
    Product,
    /// One bit for each dimension stays in RAM.
    Binary,
    /// One bit for each dimension stays in RAM.
    Turbo,
}

/// One byte for each dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalarQuantization {
    /// Share of the values that the byte's range covers, in thousandths: 990 is the usual 0.99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 500, max = 1000))]
    pub quantile_permille: Option<i32>,
    /// The codes stay in RAM even when the vectors are on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
}

/// Codes of a size that is given as a ratio to the vectors'.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductQuantization {
    pub compression: Compression,
    /// The codes stay in RAM even when the vectors are on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
}

/// How much smaller than the vectors their codes are; above X4 one bit for each dimension stays in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Compression {
    X4,
    X8,
    X16,
    X32,
    X64,
}

/// One bit for each dimension stays in RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BinaryQuantization {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<BinaryEncoding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_encoding: Option<BinaryQueryEncoding>,
    /// The codes stay in RAM even when the vectors are on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
}

/// Bits for each dimension of a stored vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BinaryEncoding {
    OneBit,
    TwoBits,
    OneAndHalfBits,
}

/// Bits for each dimension of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BinaryQueryEncoding {
    Default,
    Binary,
    Scalar4Bits,
    Scalar8Bits,
}

/// One bit for each dimension stays in RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TurboQuantization {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<TurboBits>,
    /// The codes stay in RAM even when the vectors are on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always_ram: Option<bool>,
}

/// Bits for each dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TurboBits {
    Bits1,
    Bits1_5,
    Bits2,
    Bits4,
}

/// When segments are sealed, indexed, merged and vacuumed; what is left out is the node's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Optimizers {
    /// In kilobytes of vectors: a segment with more gets a graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub indexing_threshold_kb: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub memmap_threshold_kb: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_segment_size_kb: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 256))]
    pub default_segment_number: Option<i32>,
    /// Deleted points that a segment may hold before it is rewritten, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub deleted_threshold_permille: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 1_000_000_000))]
    pub vacuum_min_vector_number: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub flush_interval_sec: Option<i32>,
}

/// An index on a field of the payload: filters on it become fast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.isTenant) || !self.isTenant || self.type in ['Keyword', 'Uuid']")
        .message("isTenant needs an index of type Keyword or Uuid"),
    validation = Rule::new("!has(self.isPrincipal) || !self.isPrincipal || self.type in ['Integer', 'Float', 'Datetime']")
        .message("isPrincipal needs an index of type Integer, Float or Datetime")
)]
pub struct PayloadIndex {
    /// Path of the field, e.g. tenant or address.city.
    #[schemars(length(min = 1, max = 200))]
    pub field: String,
    #[serde(rename = "type")]
    pub kind: PayloadIndexType,
    /// The field tells tenants apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_tenant: Option<bool>,
    /// Most searches are restricted by this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_principal: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
}

/// Types of payload indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PayloadIndexType {
    Keyword,
    Integer,
    Float,
    Bool,
    Datetime,
    Uuid,
    Geo,
    Text,
}

/// Who else may change the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchemaPolicy {
    /// Clients may add payload indexes and named vectors, and drop what they added.
    #[default]
    AllowAdditions,
    /// Only this resource.
    Enforce,
}
