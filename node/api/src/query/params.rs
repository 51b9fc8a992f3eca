//! Search parameters: how well and how fast.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sparse::Idf;
use crate::validate::Invalid;

/// How well and how fast, never what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hnsw_ef: Option<usize>,
    #[serde(default)]
    pub exact: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationSearchParams>,
    #[serde(default)]
    pub indexed_only: bool,
    /// Only for sparse vectors whose modifier is idf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idf: Option<Box<Idf>>,
    /// Read and without effect: filtered walks of the graph always look two hops ahead where that pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acorn: Option<Box<Acorn>>,
}

/// How filtered walks of the graph expand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Acorn {
    #[serde(default)]
    pub enable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_selectivity: Option<f64>,
}

/// How quantized codes are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QuantizationSearchParams {
    #[serde(default)]
    pub ignore: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescore: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oversampling: Option<f64>,
}

impl SearchParams {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        invalid.at_least(&format!("{path}params.hnsw_ef"), self.hnsw_ef, 1);
        if let Some(corpus) = self.idf.as_ref().and_then(|idf| idf.corpus()) {
            corpus.validate(&format!("{path}params.idf.corpus"), invalid);
        }
        if let Some(s) =
            self.acorn.as_ref().and_then(|a| a.max_selectivity).filter(|s| !(0.0..=1.0).contains(s))
        {
            invalid.add(
                format!("{path}params.acorn.max_selectivity"),
                format!("value {s:?} invalid, must be from 0.0 to 1.0"),
            );
        }
        if let Some(o) = self.quantization.and_then(|q| q.oversampling).filter(|o| *o < 1.0 || !o.is_finite())
        {
            let shown = if o.fract() == 0.0 { format!("{o:.1}") } else { o.to_string() };
            invalid.add(
                format!("{path}params.quantization.oversampling"),
                format!("value {shown} invalid, must be 1.0 or larger"),
            );
        }
    }
}
