//! The configuration of a collection as the engine uses it. Serialised into the collection's own files;
//! the wire has twins of these types in `node/api`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::distance;
use crate::text::TextParams;
use crate::vector::named;

/// How two vectors are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Distance {
    /// Vectors are normalised when they are written; then the dot product. Higher is nearer.
    Cosine,
    /// The same of vectors that are kept as they are sent, for numbers that can't say what has length one. Higher is nearer.
    CosineAsSent,
    /// Dot product. Higher is nearer.
    Dot,
    /// Square root of the sum of squares. Lower is nearer.
    Euclid,
    /// Sum of absolute differences. Lower is nearer.
    Manhattan,
}

impl Distance {
    /// Whether a higher score is nearer.
    pub fn higher_is_nearer(self) -> bool {
        matches!(self, Distance::Cosine | Distance::CosineAsSent | Distance::Dot)
    }
}

/// HNSW parameters, each in force unless a vector overrides it (Malkov, Yashunin 2018).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HnswConfig {
    /// Links of a node on the upper levels; level 0 has twice as many. 0: no graph.
    pub m: usize,
    /// Candidates kept while a node is inserted.
    pub ef_construct: usize,
    /// In kilobytes of vectors: below it a search scans instead of walking the graph.
    pub full_scan_threshold_kb: usize,
    /// Threads of one build; 0: as many as the machine has to give.
    pub max_indexing_threads: usize,
    /// Links stay in the mapped file instead of RAM.
    pub on_disk: bool,
    /// Links added for each indexed payload value; recorded and echoed. Filters don't need it here.
    pub payload_m: Option<usize>,
    /// Codes beside the links; recorded and echoed.
    pub inline_storage: Option<bool>,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self {
            m: 16,
            ef_construct: 100,
            full_scan_threshold_kb: 10_000,
            max_indexing_threads: 0,
            on_disk: false,
            payload_m: None,
            inline_storage: None,
        }
    }
}

/// What a vector changes of the collection's [`HnswConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HnswDiff {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub m: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ef_construct: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold_kb: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_indexing_threads: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_m: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_storage: Option<bool>,
}

impl HnswDiff {
    /// `base` with this diff laid over it.
    pub fn over(&self, base: HnswConfig) -> HnswConfig {
        HnswConfig {
            m: self.m.unwrap_or(base.m),
            ef_construct: self.ef_construct.unwrap_or(base.ef_construct),
            full_scan_threshold_kb: self.full_scan_threshold_kb.unwrap_or(base.full_scan_threshold_kb),
            max_indexing_threads: self.max_indexing_threads.unwrap_or(base.max_indexing_threads),
            on_disk: self.on_disk.unwrap_or(base.on_disk),
            payload_m: self.payload_m.or(base.payload_m),
            inline_storage: self.inline_storage.or(base.inline_storage),
        }
    }
}

/// Which codes of a vector stay in RAM. All kinds are searched alike; those that ask for fewer than eight bits a
/// dimension keep sketches of one bit in RAM and leave the one-byte codes in the mapped file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Quantization {
    /// One byte a dimension.
    Scalar {
        /// Share of the values that the range covers, e.g. 0.99; the rest is clipped.
        quantile: Option<f32>,
        /// Codes stay in RAM even when the vectors are on disk.
        always_ram: Option<bool>,
    },
    Product {
        compression: Compression,
        always_ram: Option<bool>,
    },
    Binary {
        encoding: Option<BinaryEncoding>,
        /// Recorded and echoed: queries are compared with four bits a dimension.
        query_encoding: Option<BinaryQueryEncoding>,
        always_ram: Option<bool>,
    },
    Turbo {
        bits: Option<TurboBits>,
        always_ram: Option<bool>,
    },
}

/// How much smaller than four bytes a dimension codes are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    X4,
    X8,
    X16,
    X32,
    X64,
}

/// Bits a dimension of binary codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinaryEncoding {
    OneBit,
    TwoBits,
    OneAndHalfBits,
}

/// Bits a dimension of a query that is compared with binary codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinaryQueryEncoding {
    Default,
    Binary,
    Scalar4Bits,
    Scalar8Bits,
}

/// Bits a dimension of turbo codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TurboBits {
    Bits1,
    Bits1_5,
    Bits2,
    Bits4,
}

impl Quantization {
    /// Whether what stays in RAM does so even when the vectors are on disk.
    pub fn always_ram(&self) -> bool {
        match *self {
            Quantization::Scalar { always_ram, .. }
            | Quantization::Product { always_ram, .. }
            | Quantization::Binary { always_ram, .. }
            | Quantization::Turbo { always_ram, .. } => always_ram == Some(true),
        }
    }

    /// Whether fewer than eight bits a dimension are asked for.
    pub fn keeps_sketches_only(&self) -> bool {
        match self {
            Quantization::Scalar { .. } => false,
            Quantization::Product { compression, .. } => *compression != Compression::X4,
            Quantization::Binary { .. } | Quantization::Turbo { .. } => true,
        }
    }
}

/// What a vector's quantization says beside the collection's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum QuantizationDiff {
    /// This vector is not quantized whatever the collection says.
    Disabled,
    /// This one instead of the collection's.
    Set(Quantization),
}

/// One named vector of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorParams {
    /// Number of dimensions, 1 to 65,536.
    pub size: usize,
    pub distance: Distance,
    pub hnsw: Option<HnswDiff>,
    pub quantization: Option<QuantizationDiff>,
    /// Raw vectors stay in the mapped file; `None`: as the node's default says.
    pub on_disk: Option<bool>,
    /// Points have several vectors of this name, compared by MaxSim.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multivector: bool,
    #[serde(default, skip_serializing_if = "Datatype::is_float32")]
    pub datatype: Datatype,
}

impl VectorParams {
    /// One vector a point, with nothing but what has to be said.
    pub fn new(size: usize, distance: Distance) -> Self {
        Self {
            size,
            distance,
            hnsw: None,
            quantization: None,
            on_disk: None,
            multivector: false,
            datatype: Datatype::Float32,
        }
    }

    /// Makes of a vector that was sent what is stored, and what queries are compared as.
    pub fn prepare(&self, vector: &mut [f32]) {
        if self.distance == Distance::Cosine {
            distance::normalize(vector);
        }
        self.datatype.round(vector);
    }
}

/// How exactly the numbers of a vector are kept. All are stored as `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datatype {
    #[default]
    Float32,
    /// What half precision (IEEE 754 binary16) can say.
    Float16,
    /// Whole numbers from 0 to 255.
    Uint8,
}

impl Datatype {
    fn is_float32(&self) -> bool {
        *self == Datatype::Float32
    }

    /// Replaces numbers by what the type can say: the nearest of half precision, at most its largest one; whole numbers
    /// towards zero, those out of range by the end that they are beyond.
    pub fn round(self, numbers: &mut [f32]) {
        match self {
            Datatype::Float32 => {}
            Datatype::Float16 => numbers.iter_mut().for_each(|x| *x = half(*x)),
            Datatype::Uint8 => numbers.iter_mut().for_each(|x| *x = f32::from(*x as u8)),
        }
    }
}

/// The largest number of half precision, its smallest one with all bits, and how many of the smallest make 1.
const HALF_MAX: f32 = 65_504.0;
const HALF_NORMAL_MIN: f32 = 1.0 / 16_384.0;
const HALF_STEPS: f32 = 16_777_216.0;

/// The nearest number of half precision; of two the even one.
fn half(x: f32) -> f32 {
    if x.abs() < HALF_NORMAL_MIN {
        return (x * HALF_STEPS).round_ties_even() / HALF_STEPS;
    }
    // Thirteen of the 23 bits go; half of them, and the last that stays, decide about it.
    let bits = x.clamp(-HALF_MAX, HALF_MAX).to_bits();
    f32::from_bits((bits + 0xfff + (bits >> 13 & 1)) & !0x1fff)
}

/// When segments are sealed, indexed, merged and vacuumed. Sizes in kilobytes of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerConfig {
    pub deleted_threshold: f64,
    pub vacuum_min_vector_number: usize,
    pub default_segment_number: usize,
    pub max_segment_size_kb: Option<usize>,
    pub memmap_threshold_kb: Option<usize>,
    /// A segment with more than this gets a graph; 0: never.
    pub indexing_threshold_kb: usize,
    pub flush_interval_sec: u64,
    /// `Some(0)` switches the optimizer off.
    pub max_optimization_threads: Option<usize>,
    /// Points beyond the indexing threshold are hidden until they are indexed.
    #[serde(default)]
    pub prevent_unoptimized: bool,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            deleted_threshold: 0.2,
            vacuum_min_vector_number: 1000,
            default_segment_number: 0,
            max_segment_size_kb: None,
            memmap_threshold_kb: None,
            indexing_threshold_kb: 10_000,
            flush_interval_sec: 5,
            max_optimization_threads: None,
            prevent_unoptimized: false,
        }
    }
}

/// What is done to the weights of a sparse query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Modifier {
    #[default]
    None,
    /// Each is multiplied by the inverse document frequency of its dimension.
    Idf,
}

/// One named sparse vector of a collection. The dot product compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparseParams {
    pub modifier: Modifier,
    /// Among fewer points each is compared by itself; `None`: the default. Never changes an answer.
    pub full_scan_threshold: Option<usize>,
}

/// What a shard needs to know of its collection. Payload indexes are not here: they travel through the
/// log and live in the manifest, so that they are exactly as old as the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CollectionConfig {
    /// By name; `""` is the unnamed vector.
    pub vectors: BTreeMap<String, VectorParams>,
    /// By name; none of them is among `vectors`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sparse_vectors: BTreeMap<String, SparseParams>,
    pub hnsw: HnswConfig,
    pub optimizers: OptimizerConfig,
    pub quantization: Option<Quantization>,
    pub on_disk_payload: bool,
}

impl CollectionConfig {
    /// Whether there is a vector of that name, of whatever kind.
    pub fn has_vector(&self, name: &str) -> bool {
        named(&self.vectors, name).is_some() || named(&self.sparse_vectors, name).is_some()
    }

    /// The HNSW parameters in force for one vector.
    pub fn hnsw_of(&self, params: &VectorParams) -> HnswConfig {
        params.hnsw.unwrap_or_default().over(self.hnsw)
    }

    /// The quantization in force for one vector.
    pub fn quantization_of(&self, params: &VectorParams) -> Option<Quantization> {
        match params.quantization {
            Some(QuantizationDiff::Disabled) => None,
            Some(QuantizationDiff::Set(q)) => Some(q),
            None => self.quantization,
        }
    }
}

/// The type of a payload index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FieldType {
    Keyword,
    Integer,
    Float,
    Bool,
    Datetime,
    Uuid,
    Geo,
    Text,
}

/// Where the data of an index is to be kept. Kept and shown; files are always mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    Cold,
    Cached,
    Pinned,
}

/// A payload index as it was asked for. The options change speed and memory, never an answer, but for
/// `lookup` and `range`, which say what an integer index serves, and `text`, which says what a text is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldSchema {
    pub kind: FieldType,
    /// Only for integers: serves match conditions.
    pub lookup: Option<bool>,
    /// Only for integers: serves range conditions and order_by.
    pub range: Option<bool>,
    pub is_tenant: Option<bool>,
    pub is_principal: Option<bool>,
    pub on_disk: Option<bool>,
    pub enable_hnsw: Option<bool>,
    /// Only for keywords: asks for what every keyword index serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Only for texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Box<TextParams>>,
    /// Whether the client gave a params object (echoed as `params`) or only the type's name.
    pub with_params: bool,
}

impl FieldSchema {
    /// The index of a type with no options.
    pub fn plain(kind: FieldType) -> Self {
        Self {
            kind,
            lookup: None,
            range: None,
            is_tenant: None,
            is_principal: None,
            on_disk: None,
            enable_hnsw: None,
            prefix: None,
            memory: None,
            text: None,
            with_params: false,
        }
    }

    /// Whether points can be counted by their values.
    pub fn has_facets(&self) -> bool {
        match self.kind {
            FieldType::Integer => self.lookup != Some(false),
            FieldType::Keyword | FieldType::Uuid | FieldType::Bool => true,
            FieldType::Float | FieldType::Datetime | FieldType::Geo | FieldType::Text => false,
        }
    }

    /// How the texts of a text index are cut.
    pub fn text_params(&self) -> Cow<'_, TextParams> {
        self.text.as_deref().map_or_else(|| Cow::Owned(TextParams::default()), Cow::Borrowed)
    }

    /// Whether points of one value are to lie together.
    pub fn keeps_tenants_together(&self) -> bool {
        self.is_tenant == Some(true) && matches!(self.kind, FieldType::Keyword | FieldType::Uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_their_type_can_say() {
        let check = |datatype: Datatype, x: f32, expected: f32| {
            let mut numbers = [x];
            datatype.round(&mut numbers);
            assert_eq!(numbers[0].to_bits(), expected.to_bits(), "{x} as {datatype:?}: {}", numbers[0]);
            datatype.round(&mut numbers);
            assert_eq!(numbers[0].to_bits(), expected.to_bits(), "again");
        };
        check(Datatype::Float32, 0.1, 0.1);
        for (x, expected) in [
            (0.1, 0.099_975_586),
            (-1.0, -1.0),
            (-0.0, -0.0),
            (1.0 + 1.0 / 2048.0, 1.0),
            (1.0 + 3.0 / 2048.0, 1.0 + 4.0 / 2048.0),
            (65_519.0, 65_504.0),
            (-1e9, -65_504.0),
            (3e-8, 2.0f32.powi(-24)),
            (2e-8, 0.0),
            (1e-5, 168.0 / 16_777_216.0),
        ] {
            check(Datatype::Float16, x, expected);
        }
        for (x, expected) in [(1.9, 1.0), (254.99, 254.0), (-3.0, 0.0), (300.0, 255.0)] {
            check(Datatype::Uint8, x, expected);
        }
    }

    /// Quantization as versions wrote it that knew one kind, and as it is written now.
    #[test]
    fn quantization_is_read_as_it_was_written() {
        let scalar = Quantization::Scalar { quantile: Some(0.5), always_ram: None };
        let old = r#"{"Scalar":{"quantile":0.5,"always_ram":null}}"#;
        assert_eq!(serde_json::from_str::<Quantization>(old).expect("an older file"), scalar);
        assert_eq!(serde_json::to_string(&scalar).expect("it prints"), old);
        for kind in [
            Quantization::Product { compression: Compression::X64, always_ram: Some(true) },
            Quantization::Binary {
                encoding: Some(BinaryEncoding::OneAndHalfBits),
                query_encoding: Some(BinaryQueryEncoding::Scalar8Bits),
                always_ram: None,
            },
            Quantization::Turbo { bits: Some(TurboBits::Bits1_5), always_ram: Some(false) },
        ] {
            let text = serde_json::to_string(&kind).expect("it prints");
            assert_eq!(serde_json::from_str::<Quantization>(&text).expect("it reads"), kind);
        }
    }
}
