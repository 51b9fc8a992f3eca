//! Limits of a node's memory and disk, above which writes are refused.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::validate::Invalid;

/// What is limited. A limit that is not set limits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaConfig {
    /// Whether the limits hold.
    #[serde(default)]
    pub enabled: bool,
    /// Of the memory that the process may use; 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_resident_memory_percent: Option<u8>,
    /// Of the volume that the data lies on; 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_disk_usage_percent: Option<u8>,
    /// How far below its limit a resource has to fall before writes are taken again; 0 to 100, 5 if unset.
    #[schemars(range(min = 0, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_margin_percent: Option<u8>,
}

impl QuotaConfig {
    /// Whether all numbers are percents.
    ///
    /// # Errors
    /// Every field that is out of its range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::new();
        let fields = [
            ("max_resident_memory_percent", self.max_resident_memory_percent, 1),
            ("max_disk_usage_percent", self.max_disk_usage_percent, 1),
            ("release_margin_percent", self.release_margin_percent, 0),
        ];
        for (name, value, least) in fields {
            if let Some(value) = value {
                invalid.within(name, usize::from(value), least, 100);
            }
        }
        invalid.done()
    }
}

/// What is used now; nothing where it can't be measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_memory_percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_usage_percent: Option<u8>,
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct PeerQuotaUsage {
    /// Whether it refuses writes now.
    pub exceeded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_memory_percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_usage_percent: Option<u8>,
}

/// The limits, and how near the node is to them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QuotaStatus {
    pub config: QuotaConfig,
    pub usage: QuotaUsage,
    /// Of other nodes, by their ids; none are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<BTreeMap<String, PeerQuotaUsage>>,
}
