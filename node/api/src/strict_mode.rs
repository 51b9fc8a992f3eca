//! The limits that a collection may set itself. What is unset is not limited.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::validate::Invalid;

macro_rules! strict_mode {
    ($($field:ident: $kind:ty,)*) => {
        /// Limits that are given; unset ones are absent in answers.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct StrictMode {
            $(#[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$kind>,)*
        }

        impl StrictMode {
            /// Lays `newer` over this one.
            pub fn merge(&mut self, newer: StrictMode) {
                $(if newer.$field.is_some() {
                    self.$field = newer.$field;
                })*
            }
        }
    };
}

strict_mode! {
    enabled: bool,
    max_query_limit: usize,
    max_timeout: usize,
    unindexed_filtering_retrieve: bool,
    unindexed_filtering_update: bool,
    search_max_hnsw_ef: usize,
    search_allow_exact: bool,
    search_max_oversampling: f64,
    upsert_max_batchsize: usize,
    search_max_batchsize: usize,
    max_collection_vector_size_bytes: usize,
    read_rate_limit: usize,
    write_rate_limit: usize,
    max_collection_payload_size_bytes: usize,
    max_points_count: usize,
    filter_max_conditions: usize,
    condition_max_size: usize,
    multivector_config: BTreeMap<String, MaxVectors>,
    sparse_config: BTreeMap<String, MaxLength>,
    max_payload_index_count: usize,
    max_resident_memory_percent: usize,
}

/// Of one multivector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MaxVectors {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vectors: Option<usize>,
}

/// Of one sparse vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MaxLength {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
}

impl StrictMode {
    /// Adds what is out of range, below `path`.
    pub fn validate(&self, path: &str, invalid: &mut Invalid) {
        let positive = [
            ("max_query_limit", self.max_query_limit),
            ("max_timeout", self.max_timeout),
            ("read_rate_limit", self.read_rate_limit),
            ("write_rate_limit", self.write_rate_limit),
            ("max_points_count", self.max_points_count),
        ];
        for (name, value) in positive {
            invalid.at_least(&format!("{path}.{name}"), value, 1);
        }
        for (vector, limits) in self.multivector_config.iter().flatten() {
            invalid.at_least(
                &format!("{path}.multivector_config.{vector}.max_vectors"),
                limits.max_vectors,
                1,
            );
        }
        for (vector, limits) in self.sparse_config.iter().flatten() {
            invalid.at_least(&format!("{path}.sparse_config.{vector}.max_length"), limits.max_length, 1);
        }
        if let Some(percent) = self.max_resident_memory_percent {
            invalid.within(&format!("{path}.max_resident_memory_percent"), percent, 1, 100);
        }
    }
}
