//! Keys of shards, as requests name them, and what a collection keeps of them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::collections::FieldSchema;
use crate::validate::Invalid;

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum ShardKey")]
pub enum ShardKey {
    Keyword(String),
    Number(u64),
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardKey::Keyword(text) => write!(f, "\"{text}\""),
            ShardKey::Number(n) => n.fmt(f),
        }
    }
}

/// Which shards a request goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum ShardKeySelector")]
pub enum ShardKeySelector {
    One(ShardKey),
    Several(Vec<ShardKey>),
    WithFallback { target: ShardKey, fallback: ShardKey },
}

impl ShardKeySelector {
    /// The key that is looked for first; none if none is named.
    pub fn first(&self) -> Option<&ShardKey> {
        match self {
            ShardKeySelector::One(key) | ShardKeySelector::WithFallback { target: key, .. } => Some(key),
            ShardKeySelector::Several(keys) => keys.first(),
        }
    }
}

/// The shards of one key, in the order of their ranges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShards {
    pub key: ShardKey,
    pub shards: Vec<u32>,
}

/// What a collection that is sharded by keys keeps of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keyed {
    pub keys: Vec<KeyShards>,
    /// Number of the next shard: none is used twice.
    pub next_shard: u32,
    /// Payload indexes, for shards that are still to come.
    pub indexes: BTreeMap<String, FieldSchema>,
}

/// Body of PUT `C/shards`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct CreateShardKey {
    pub shard_key: ShardKey,
    pub shards_number: Option<u32>,
    pub replication_factor: Option<u32>,
    /// Ids of the peers that may hold the shards.
    pub placement: Option<Vec<u64>>,
    pub initial_state: Option<ReplicaState>,
}

/// What a copy of a shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicaState {
    Active,
    Dead,
    Partial,
    Initializing,
    Listener,
    PartialSnapshot,
    Recovery,
    Resharding,
    ReshardingScaleDown,
    ActiveRead,
    ManualRecovery,
}

impl CreateShardKey {
    /// What is out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::new();
        invalid.at_least("shards_number", self.shards_number.map(|n| n as usize), 1);
        invalid.at_least("replication_factor", self.replication_factor.map(|n| n as usize), 1);
        invalid.done()
    }
}

/// Body of POST `C/shards/delete`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct DropShardKey {
    pub shard_key: ShardKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<Option<&str>, &str>) {
        match (serde_json::from_str::<ShardKeySelector>(json), expected) {
            (Ok(got), Ok(key)) => {
                assert_eq!(got.first().map(ToString::to_string).as_deref(), key, "{json}")
            }
            (Err(e), Err(text)) => assert!(e.to_string().starts_with(text), "{json}: {e}"),
            (got, _) => panic!("{json}: {got:?}"),
        }
    }

    #[test]
    fn every_form_of_selector() {
        check("\"eu\"", Ok(Some("\"eu\"")));
        check("7", Ok(Some("7")));
        check("[7, \"eu\"]", Ok(Some("7")));
        check("[]", Ok(None));
        check(r#"{"target":"eu","fallback":"us"}"#, Ok(Some("\"eu\"")));
        let none = "data did not match any variant of untagged enum ShardKeySelector";
        for wrong in ["true", "1.5", "-1", "{}", "[true]"] {
            check(wrong, Err(none));
        }
    }
}
