//! `VectorShard`: the replication record of one shard, which decides who holds copies and who leads.
//!
//! The record is `spec`, because losing it loses data; `status` holds only what can be observed again. Every
//! change is a compare-and-swap: the rules below make the API server refuse what would lose a write, even when
//! the writer's view is old (docs/architecture.md, "Kubernetes is the consensus engine").

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::s3::S3Location;

/// Who holds the copies of one shard, and who leads.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "quiver.dev",
    version = "v1alpha1",
    kind = "VectorShard",
    namespaced,
    status = "VectorShardStatus",
    derive = "PartialEq",
    shortname = "vs",
    category = "vectors",
    selectable = ".spec.collection",
    doc = "One shard of a VectorCollection: who holds its copies and who leads. Written by the operator and the nodes; don't edit it.",
    label("app.kubernetes.io/part-of", "quiver"),
    printcolumn(name = "Collection", type_ = "string", json_path = ".spec.collection"),
    printcolumn(name = "Shard", type_ = "integer", json_path = ".spec.shard"),
    printcolumn(
        name = "Pod",
        type_ = "string",
        json_path = ".status.pod",
        description = "Where the leading copy is"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Copies",
        type_ = "string",
        json_path = ".status.copies",
        description = "In sync, of all that are listed or wanted"
    ),
    printcolumn(
        name = "Points",
        type_ = "integer",
        json_path = ".status.points",
        description = "To three digits; metrics are exact"
    ),
    printcolumn(name = "Term", type_ = "integer", json_path = ".spec.term", priority = 1),
    printcolumn(name = "Config", type_ = "integer", json_path = ".spec.configVersion", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.collection == oldSelf.collection && self.collectionUid == oldSelf.collectionUid && self.shard == oldSelf.shard")
        .message("a shard belongs to one collection for ever: collection, collectionUid and shard can't change"),
    validation = Rule::new("self.range == oldSelf.range || (has(oldSelf.split) && !has(self.split) && self.range.first == oldSelf.split.keep.first && self.range.last == oldSelf.split.keep.last)")
        .message("the range of a shard can only become the part that its split keeps"),
    validation = Rule::new("!has(oldSelf.split) || (has(self.split) && self.split == oldSelf.split) || self.range.first == oldSelf.split.keep.first && self.range.last == oldSelf.split.keep.last")
        .message("a split that was asked for is finished, not changed or called off: its log may say so already"),
    validation = Rule::new("!has(self.split) || (self.split.keep.first == self.range.first && self.split.give.last == self.range.last && self.split.keep.last < self.split.give.first && self.split.child != self.shard)")
        .message("the parts of a split are the beginning and the end of the range, and go to two shards"),
    validation = Rule::new("has(self.restore) == has(oldSelf.restore) && (!has(self.restore) || self.restore == oldSelf.restore)")
        .message("restore can't change: where a shard comes from is decided when it is made"),
    validation = Rule::new("self.range.first <= self.range.last")
        .message("range.first must not be above range.last"),
    validation = Rule::new("self.copies.exists(c, c.id == self.primary && c.inSync)")
        .message("the primary must be one of the copies that are in sync"),
    validation = Rule::new("self.copies.all(c, self.copies.exists_one(o, o.pod == c.pod))")
        .message("two copies of a shard can't be on one pod"),
    validation = Rule::new("self.primaryBoot != '' || self.copies.filter(c, c.inSync).size() == 1")
        .message("a shard that nobody has led yet has exactly one copy in sync"),
    validation = Rule::new("oldSelf.primaryBoot == '' || self.primaryBoot != ''")
        .message("primaryBoot can't become empty again: a node would be free to start the shard without its data"),
    validation = Rule::new("self == oldSelf || self.configVersion == oldSelf.configVersion + 1")
        .message("somebody else changed this record first: read it again (each change raises configVersion by one)"),
    validation = Rule::new("self.primary == oldSelf.primary ? (self.term == oldSelf.term || self.term == oldSelf.term + 1) : self.term == oldSelf.term + 1")
        .message("a new primary raises the term by exactly one, and the same primary by at most one"),
    validation = Rule::new("self.primaryBoot == oldSelf.primaryBoot || self.term == oldSelf.term + 1")
        .message("another process may lead only in another term"),
    validation = Rule::new("self.primary == oldSelf.primary || oldSelf.copies.exists(c, c.id == self.primary && c.inSync) || (has(self.acceptDataLossAtTerm) && self.acceptDataLossAtTerm == self.term)")
        .message("only a copy that was in sync may become primary; to promote another and lose what it lacks, set acceptDataLossAtTerm to the new term"),
    validation = Rule::new("self.copies.all(c, !c.inSync || oldSelf.copies.exists(o, o.id == c.id)) || (has(self.acceptDataLossAtTerm) && self.acceptDataLossAtTerm == self.term)")
        .message("a copy is listed first and becomes in sync later"),
    validation = Rule::new("oldSelf.copies.all(o, !o.inSync || self.copies.exists(c, c.id == o.id)) || (has(self.acceptDataLossAtTerm) && self.acceptDataLossAtTerm == self.term)")
        .message("a copy that is in sync can't vanish from the list: set its inSync to false first"),
    validation = Rule::new("self.term == oldSelf.term || self.copies.all(c, !c.inSync || oldSelf.copies.exists(o, o.id == c.id && o.inSync)) || (has(self.acceptDataLossAtTerm) && self.acceptDataLossAtTerm == self.term)")
        .message("no copy becomes in sync in the write that changes the term")
)]
pub struct VectorShardSpec {
    /// `metadata.name` of the VectorCollection.
    #[schemars(length(min = 1, max = 63))]
    pub collection: String,
    /// Uid of the VectorCollection: one that is made anew never takes over shards of its predecessor.
    #[schemars(length(min = 1, max = 64))]
    pub collection_uid: String,
    /// Number of the shard, from 0.
    #[schemars(range(min = 0, max = 4095))]
    pub shard: i32,
    /// Rises by one whenever a primary takes over or starts again.
    #[schemars(range(min = 1))]
    pub term: i64,
    /// Rises by one with every change of this record.
    #[schemars(range(min = 1))]
    pub config_version: i64,
    /// The hashes of point ids that the shard owns.
    pub range: HashRange,
    /// Id of the copy that leads.
    #[schemars(length(min = 1, max = 64))]
    pub primary: String,
    /// The life of the process that leads in this term. Empty only until the shard is led for the first time.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub primary_boot: String,
    #[schemars(length(min = 1, max = 10))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub copies: Vec<Copy>,
    /// The first copy is fetched from a snapshot instead of starting empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
    /// Set by a person: in this term a copy may lead that isn't in sync, and what it lacks is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub accept_data_loss_at_term: Option<i64>,
    /// A part of the range is on its way to another shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// How a shard is split: asked for by the operator, taken out by the node that leads when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// Number of the shard that gets `give`.
    #[schemars(range(min = 0, max = 4095))]
    pub child: i32,
    pub keep: HashRange,
    pub give: HashRange,
}

/// A closed range of the 64-bit hash of point ids, as hexadecimal text: Kubernetes has no unsigned 64-bit numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HashRange {
    #[schemars(length(min = 16, max = 16), regex(pattern = "^[0-9a-f]{16}$"))]
    pub first: String,
    #[schemars(length(min = 16, max = 16), regex(pattern = "^[0-9a-f]{16}$"))]
    pub last: String,
}

impl HashRange {
    /// From numbers.
    pub fn new(first: u64, last: u64) -> Self {
        Self { first: format!("{first:016x}"), last: format!("{last:016x}") }
    }

    /// As numbers; `None` if the text isn't hexadecimal, which the API server refuses.
    pub fn bounds(&self) -> Option<(u64, u64)> {
        Some((u64::from_str_radix(&self.first, 16).ok()?, u64::from_str_radix(&self.last, 16).ok()?))
    }
}

/// One copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Copy {
    /// Minted when the copy is placed, and written beside its data: an emptied volume is another copy.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The pod whose volume holds it.
    #[schemars(length(min = 1, max = 63))]
    pub pod: String,
    pub in_sync: bool,
    /// Why a copy that isn't in sync is listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
}

/// What a copy is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Purpose {
    Recovering,
    Moving,
    Leaving,
}

/// The snapshot that a shard starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    pub s3: S3Location,
    /// Key of the snapshot's manifest in the bucket.
    #[schemars(length(min = 1, max = 512))]
    pub manifest_key: String,
}

/// What was seen of a shard; nothing decides by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VectorShardStatus {
    /// Pod of the primary copy.
    #[serde(default)]
    pub pod: String,
    /// State that the primary's node reports, or Unreachable.
    #[serde(default)]
    pub state: String,
    /// Copies in sync, of all that are listed or wanted, e.g. 2/2.
    #[serde(default)]
    pub copies: String,
    /// What is wrong, if something is.
    #[serde(default)]
    pub message: String,
    /// To three digits, so that status doesn't change with every write.
    #[serde(default)]
    pub points: i64,
    /// Bytes in files, to two digits.
    #[serde(default)]
    pub bytes: i64,
    /// The shard was led once: it has data that a record made anew would lose.
    #[serde(default)]
    pub bootstrapped: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
