//! What a VectorCollection shows at a glance: a bounded summary that changes only when something changed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Status of a VectorCollection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VectorCollectionStatus {
    #[serde(default)]
    pub observed_generation: i64,
    /// Pods that exist.
    #[serde(default)]
    pub nodes: i32,
    #[serde(default)]
    pub ready_nodes: i32,
    /// Ready and wanted nodes, e.g. 3/3.
    #[serde(default)]
    pub node_summary: String,
    /// Label selector of the pods, for the scale subresource.
    #[serde(default)]
    pub selector: String,
    /// Versions of the engine that run.
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub shards: ShardCounts,
    /// Available shards and all, e.g. 6/6.
    #[serde(default)]
    pub shard_summary: String,
    /// The first that are wrong; the rest is only counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub unhealthy_shards: Vec<UnhealthyShard>,
    /// To three digits, so that status doesn't change with every write.
    #[serde(default)]
    pub points: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<LastSnapshot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_snapshot_time: Option<Time>,
    /// The moment of the schedule that was served last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    #[serde(default)]
    pub endpoints: Endpoints,
    /// The shards were made once: records that are missing later are never made again as empty ones.
    #[serde(default)]
    pub bootstrapped: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Shards by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardCounts {
    #[serde(default)]
    pub total: i32,
    #[serde(default)]
    pub available: i32,
    /// With fewer copies in sync than `replication.factor`.
    #[serde(default)]
    pub degraded: i32,
}

/// A shard that doesn't serve, or lacks copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyShard {
    pub shard: i32,
    pub reason: String,
}

/// The newest complete snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastSnapshot {
    pub name: String,
    pub completed_at: Time,
    pub size_bytes: i64,
}

/// Where the collection is reached from inside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    #[serde(default)]
    pub rest: String,
    #[serde(default)]
    pub headless: String,
}
