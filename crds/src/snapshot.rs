//! `VectorSnapshot`: one snapshot, to be taken or taken. The manifest in the bucket is the truth; this is its index.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::s3::Destination;

/// A snapshot of a collection.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "quiver.dev",
    version = "v1alpha1",
    kind = "VectorSnapshot",
    namespaced,
    status = "VectorSnapshotStatus",
    derive = "PartialEq",
    shortname = "vsnap",
    category = "vectors",
    selectable = ".spec.collectionRef.name",
    doc = "One snapshot of a VectorCollection, made by its schedule or by `kubectl create`.",
    label("app.kubernetes.io/part-of", "quiver"),
    validation = Rule::new("self.metadata.name.size() <= 100")
        .message("the name of a VectorSnapshot may have at most 100 characters: it becomes part of object keys"),
    printcolumn(name = "Collection", type_ = "string", json_path = ".spec.collectionRef.name"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Points", type_ = "integer", json_path = ".status.points"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Uploaded", type_ = "string", json_path = ".status.uploaded", description = "What the bucket did not have yet"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(name = "Origin", type_ = "string", json_path = ".spec.origin", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.collectionRef == oldSelf.collectionRef && self.origin == oldSelf.origin && self.deadlineSeconds == oldSelf.deadlineSeconds && has(self.destination) == has(oldSelf.destination) && (!has(self.destination) || self.destination == oldSelf.destination)")
        .message("a VectorSnapshot can't be changed, only its deletionPolicy: create another one")
)]
pub struct VectorSnapshotSpec {
    pub collection_ref: CollectionRef,
    /// Where it goes; the collection's own destination if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    #[serde(default)]
    pub origin: Origin,
    /// Fails if it isn't complete by then.
    #[serde(default = "deadline")]
    #[schemars(range(min = 60, max = 604_800))]
    pub deadline_seconds: i64,
    #[serde(default)]
    pub deletion_policy: SnapshotDeletionPolicy,
}

fn deadline() -> i64 {
    7200
}

/// Names the VectorCollection, of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionRef {
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Refuse any other VectorCollection of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
}

/// Who asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Origin {
    /// A person or another program.
    #[default]
    Manual,
    /// The schedule of the VectorCollection; retention may remove it.
    Schedule,
}

/// What becomes of the objects in the bucket when the VectorSnapshot is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SnapshotDeletionPolicy {
    /// They are removed too, unless another snapshot needs them.
    #[default]
    Delete,
    /// They stay.
    Retain,
}

/// How far a snapshot is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VectorSnapshotStatus {
    #[serde(default)]
    pub observed_generation: i64,
    /// Pending, Uploading, Complete or Failed: the conditions in one word.
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Where it went: kept so that it can be restored and removed after the collection is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Destination>,
    /// Uid of the collection that it was taken of.
    #[serde(default)]
    pub collection_uid: String,
    /// Key of the manifest in the bucket; set when the snapshot is complete.
    #[serde(default)]
    pub manifest_key: String,
    #[serde(default)]
    pub size_bytes: i64,
    /// What this snapshot had to send; the rest was there already.
    #[serde(default)]
    pub uploaded_bytes: i64,
    /// The same two for people.
    #[serde(default)]
    pub size: String,
    #[serde(default)]
    pub uploaded: String,
    #[serde(default)]
    pub points: i64,
    #[serde(default)]
    pub engine_version: String,
    /// How often it was begun.
    #[serde(default)]
    pub attempts: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["shard".into()]))]
    pub shards: Vec<SnapshotShard>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// One shard of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotShard {
    pub shard: i32,
    pub pod: String,
    pub term: i64,
    /// The shard as it was at this sequence number; another shard's may be of another moment.
    pub seq_no: i64,
    pub points: i64,
    pub bytes: i64,
}
