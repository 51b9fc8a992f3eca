//! Search parameters: how well and how fast.

use serde::{Deserialize, Serialize};

use crate::sparse::Idf;
use crate::validate::Invalid;

/// How well and how fast, never what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
}

/// How quantized codes are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
