//! Sparse vectors of a collection, and over which points their statistics are taken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::collections::Memory;
use crate::filter::Filter;

/// One sparse vector of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SparseVectorParams {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<SparseIndexParams>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modifier: Option<Modifier>,
}

/// How its index is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SparseIndexParams {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_scan_threshold: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datatype: Option<Datatype>,
}

/// What is done to the weights of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Modifier {
    None,
    Idf,
}

/// How exactly an index may keep values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Datatype {
    Float32,
    Uint8,
    Float16,
    Turbo4,
}

/// What `C/vectors/{name}` takes for a sparse vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CreateSparseVector {
    pub modifier: Option<Modifier>,
    pub datatype: Option<Datatype>,
}

impl From<CreateSparseVector> for SparseVectorParams {
    fn from(c: CreateSparseVector) -> Self {
        let datatype = c.datatype;
        let index = datatype.map(|_| SparseIndexParams { datatype, ..SparseIndexParams::default() });
        Self { index, modifier: c.modifier }
    }
}

impl SparseVectorParams {
    /// Lays `newer` over this one.
    pub fn merge(&mut self, newer: &SparseVectorParams) {
        self.modifier = newer.modifier.or(self.modifier);
        if let Some(newer) = &newer.index {
            let index = self.index.get_or_insert_default();
            index.full_scan_threshold = newer.full_scan_threshold.or(index.full_scan_threshold);
            index.on_disk = newer.on_disk.or(index.on_disk);
            index.memory = newer.memory.or(index.memory);
            index.datatype = newer.datatype.or(index.datatype);
        }
    }
}

/// Over which points inverse document frequencies are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum IdfParams")]
pub enum Idf {
    Scope(IdfScope),
    /// Those that pass a filter, which is not the search's own.
    Corpus {
        corpus: Filter,
    },
}

/// A scope that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdfScope {
    Global,
}

impl Idf {
    /// The filter, if there is one.
    pub fn corpus(&self) -> Option<&Filter> {
        match self {
            Idf::Scope(IdfScope::Global) => None,
            Idf::Corpus { corpus } => Some(corpus),
        }
    }
}
