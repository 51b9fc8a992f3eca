//! `VectorCollection`: what a person writes to get a collection on nodes of its own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::collection_status::VectorCollectionStatus;
use crate::s3::{Destination, SecretKeyRef, SecretRef};
use crate::schema::{Hnsw, Optimizers, PayloadIndex, Quantization, SchemaPolicy, SparseVector, Vector};

/// A collection of vectors and the nodes that serve it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "quiver.dev",
    version = "v1alpha1",
    kind = "VectorCollection",
    namespaced,
    status = "VectorCollectionStatus",
    derive = "PartialEq",
    shortname = "vc",
    category = "vectors",
    doc = "A collection of vectors and the nodes that serve it.",
    label("app.kubernetes.io/part-of", "quiver"),
    scale(spec_replicas_path = ".spec.nodes", status_replicas_path = ".status.nodes", label_selector_path = ".status.selector"),
    validation = Rule::new("self.metadata.name.size() <= 40")
        .message("the name of a VectorCollection may have at most 40 characters: names of pods and Services derive from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name of a VectorCollection may only have lower case letters, digits and dashes, and starts with a letter: Services are named after it"),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodeSummary"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Shards", type_ = "string", json_path = ".status.shardSummary"),
    printcolumn(name = "Points", type_ = "integer", json_path = ".status.points", description = "To three digits; metrics are exact"),
    printcolumn(name = "Last-Snapshot", type_ = "date", json_path = ".status.lastSnapshot.completedAt"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.collectionName) == has(oldSelf.collectionName) && (!has(self.collectionName) || self.collectionName == oldSelf.collectionName)")
        .message("collectionName can't change: clients use it; add an alias instead"),
    validation = Rule::new("self.shards >= oldSelf.shards")
        .message("shards can't become fewer: create another VectorCollection with the number you want and load the data into it"),
    validation = Rule::new("[1, 2, 4, 8, 16, 32, 64, 128, 256].exists(n, self.shards == oldSelf.shards * n) || self.shards < oldSelf.shards")
        .message("shards grow by halving each of them: set two, four, eight, ... times as many as there are"),
    validation = Rule::new("!has(self.replication.minInSync) || self.replication.minInSync <= self.replication.factor")
        .message("replication.minInSync can't be above replication.factor: no write would ever be accepted"),
    validation = Rule::new("self.nodes >= self.replication.factor")
        .message("nodes must be at least replication.factor: two copies of a shard never share a node"),
    validation = Rule::new("self.vectors.size() == 1 || self.vectors.all(v, v.name != '')")
        .message("a vector without a name must be the only one: give each of several vectors a name"),
    validation = Rule::new("!has(self.sparseVectors) || self.sparseVectors.all(s, self.vectors.all(v, v.name != s.name))")
        .message("a dense and a sparse vector have the same name: give each a name of its own"),
    validation = Rule::new("!has(oldSelf.sparseVectors) || oldSelf.sparseVectors.all(o, has(self.sparseVectors) && self.sparseVectors.exists(n, n.name == o.name))")
        .message("a sparse vector can't be removed: its data would be lost; create another VectorCollection instead"),
    validation = Rule::new("oldSelf.vectors.all(o, self.vectors.exists(n, n.name == o.name))")
        .message("a vector can't be removed: its data would be lost; create another VectorCollection instead"),
    validation = Rule::new("oldSelf.vectors.all(o, self.vectors.all(n, n.name != o.name || (n.size == o.size && n.distance == o.distance && n.datatype == o.datatype)))")
        .message("size, distance and datatype of a vector can't change: the stored vectors would have no meaning; add another vector, or create another VectorCollection"),
    validation = Rule::new("oldSelf.payloadIndexes.all(o, self.payloadIndexes.all(n, n.field != o.field || n.type == o.type))")
        .message("the type of a payload index can't change: remove the index, apply, then add it with the new type"),
    validation = Rule::new("has(self.bootstrap) == has(oldSelf.bootstrap) && (!has(self.bootstrap) || self.bootstrap == oldSelf.bootstrap)")
        .message("bootstrap can't change: it is read once, when the collection is made"),
    validation = Rule::new("!(self.paused && self.hibernate)")
        .message("set either paused (the operator leaves everything as it is) or hibernate (the pods go, the data stays), not both")
)]
pub struct VectorCollectionSpec {
    /// Name in REST; `metadata.name` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = "^[^/\\\\<>:\"|?*\\x00-\\x1f]+$"))]
    pub collection_name: Option<String>,
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub vectors: Vec<Vector>,
    #[serde(default)]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub sparse_vectors: Vec<SparseVector>,
    #[serde(default)]
    pub hnsw: Hnsw,
    #[serde(default)]
    pub quantization: Quantization,
    #[serde(default)]
    pub optimizers: Optimizers,
    /// The payload stays in mapped files instead of RAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk_payload: Option<bool>,
    /// Names that reach this collection too.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 1, max = 200)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub aliases: Vec<String>,
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["field".into()]))]
    pub payload_indexes: Vec<PayloadIndex>,
    #[serde(default)]
    pub schema_policy: SchemaPolicy,
    /// Into how many parts the points are divided; one core searches one part of a segment set.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 256))]
    pub shards: i32,
    #[serde(default)]
    pub replication: Replication,
    /// Number of pods.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub nodes: i32,
    #[serde(default)]
    pub image: Image,
    /// CPU and memory of each node.
    #[serde(default)]
    pub resources: ResourceRequirements,
    #[serde(default)]
    pub storage: Storage,
    #[serde(default)]
    pub scheduling: Scheduling,
    #[serde(default)]
    pub disruption: Disruption,
    #[serde(default)]
    pub security: Security,
    #[serde(default)]
    pub service_account: ServiceAccount,
    /// Settings of the nodes as environment variables, e.g. QUIVER__STORAGE__PERFORMANCE__MAX_SEARCH_THREADS.
    #[serde(default)]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub settings: Vec<Setting>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Snapshots>,
    /// Where the first data comes from; nothing: the collection starts empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The operator stops acting and goes on reporting.
    #[serde(default)]
    pub paused: bool,
    /// No pods; volumes and shard records stay.
    #[serde(default)]
    pub hibernate: bool,
}

fn one() -> i32 {
    1
}

/// Copies of each shard. Both may change at any time: copies are made and dropped one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 9))]
    pub factor: i32,
    /// With fewer copies in sync, writes are refused. Left out or 0: one less than `factor`, at least 1, so that writes go
    /// on while one copy is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9))]
    pub min_in_sync: Option<i32>,
}

impl Replication {
    /// What `minInSync` comes to.
    pub fn min_in_sync(&self) -> i32 {
        self.min_in_sync.filter(|n| *n > 0).unwrap_or_else(|| (self.factor - 1).max(1))
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self { factor: 1, min_in_sync: None }
    }
}

/// The node's image; what is left out is what the operator was installed with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300))]
    pub repository: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub pull_secrets: Vec<SecretRef>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// The volume of each node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("storage.size can only grow: volumes can't shrink"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storage.storageClassName can't change: volumes that exist can't move to another class; create another VectorCollection from a snapshot"),
    validation = Rule::new("self.accessMode == oldSelf.accessMode")
        .message("storage.accessMode can't change once the volumes exist")
)]
pub struct Storage {
    /// E.g. 20Gi.
    #[serde(default = "storage_size")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("isQuantity(self)").message("storage.size must be an amount such as 20Gi"))]
    pub size: String,
    /// The cluster's default class if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,
    #[serde(default)]
    pub access_mode: AccessMode,
}

fn storage_size() -> String {
    "10Gi".into()
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: storage_size(), storage_class_name: None, access_mode: AccessMode::default() }
    }
}

/// Who may mount a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// One node at a time.
    #[default]
    ReadWriteOnce,
    /// One pod at a time, where the storage driver can: keeps a forgotten process off the data.
    ReadWriteOncePod,
}

/// Where pods may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    #[serde(default)]
    pub topology_spread: TopologySpread,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// As in a Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub affinity: Option<Affinity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub priority_class_name: Option<String>,
}

/// A pod's affinity has a schema of 60 kB that the API server checks again when the pods are made.
fn free_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true })
}

/// What pods keep away from each other by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TopologySpread {
    /// Over machines, if there are enough.
    #[default]
    Host,
    /// Over zones and machines, if there are enough.
    Zone,
    /// As the scheduler likes.
    None,
}

/// What drains may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    #[serde(default)]
    pub pdb: Managed,
    /// Pods that may be away at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub max_unavailable_nodes: i32,
}

impl Default for Disruption {
    fn default() -> Self {
        Self { pdb: Managed::default(), max_unavailable_nodes: 1 }
    }
}

/// Whether the operator makes an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Managed {
    #[default]
    Managed,
    None,
}

/// Keys, certificates, network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Security {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_api_key_secret_ref: Option<SecretKeyRef>,
    /// A Secret of type kubernetes.io/tls for the REST port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    #[serde(default)]
    pub network_policy: Managed,
}

/// Certificate of the REST port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// The ServiceAccount of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccount {
    /// E.g. eks.amazonaws.com/role-arn, for snapshots without stored keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// One setting of the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    #[schemars(length(min = 9, max = 128))]
    #[x_kube(
        validation = Rule::new("self.matches('^QUIVER__[A-Z0-9_]+$')")
            .message("a setting is named QUIVER__SECTION__KEY"),
        validation = Rule::new("!self.startsWith('QUIVER__CLUSTER__') && !self.startsWith('QUIVER__TLS__') && !(self in ['QUIVER__SERVICE__HOST', 'QUIVER__SERVICE__HTTP_PORT', 'QUIVER__SERVICE__API_KEY', 'QUIVER__SERVICE__READ_ONLY_API_KEY', 'QUIVER__SERVICE__ENABLE_TLS', 'QUIVER__STORAGE__STORAGE_PATH', 'QUIVER__STORAGE__SNAPSHOTS_PATH'])")
            .message("the operator sets this itself: ports, paths, keys, TLS and cluster settings come from other fields of the spec")
    )]
    pub name: String,
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// Scheduled snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshots {
    pub destination: Destination,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    #[serde(default)]
    pub retention: Retention,
}

/// When snapshots are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week: `0 2 * * *` is every night at two.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(validation = Rule::new("self.startsWith('@') || self.trim().split(' ').filter(p, p != '').size() == 5")
        .message("schedule.cron needs five fields, e.g. 0 2 * * * for every night at two"))]
    pub cron: String,
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    #[serde(default)]
    pub suspend: bool,
    /// A snapshot that could not start for so long is skipped.
    #[serde(default = "starting_deadline")]
    #[schemars(range(min = 60, max = 604_800))]
    pub starting_deadline_seconds: i64,
    /// Spreads the starts of many collections.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86_400))]
    pub jitter_seconds: i64,
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
}

fn utc() -> String {
    "Etc/UTC".into()
}

fn starting_deadline() -> i64 {
    3600
}

/// What happens when the last one still runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// The new one is not begun.
    #[default]
    Forbid,
}

/// Which scheduled snapshots stay: those that any of the keep rules names, if they aren't too old. The newest good
/// one always stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    #[serde(default = "keep_last")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_last: i32,
    /// The last one of each of so many days.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub keep_daily: i32,
    /// The last one of each of so many weeks.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub keep_weekly: i32,
    /// Older ones go whatever the other rules say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36_500))]
    pub max_age_days: Option<i32>,
}

fn keep_last() -> i32 {
    7
}

impl Default for Retention {
    fn default() -> Self {
        Self { keep_last: keep_last(), keep_daily: 0, keep_weekly: 0, max_age_days: None }
    }
}

/// Where the first data comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Snapshot') == has(self.snapshot)")
        .message("bootstrap of type Snapshot needs bootstrap.snapshot, and type Empty must not have it")
)]
pub struct Bootstrap {
    #[serde(rename = "type")]
    pub kind: BootstrapType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotSource>,
}

/// Kinds of beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BootstrapType {
    Empty,
    Snapshot,
}

/// A snapshot by its VectorSnapshot or by its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.ref) != has(self.manifest)")
        .message("bootstrap.snapshot needs either ref, the name of a VectorSnapshot, or manifest, its place in a bucket")
)]
pub struct SnapshotSource {
    /// A VectorSnapshot of the same namespace.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<SnapshotRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestSource>,
}

/// Names a VectorSnapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A manifest in a bucket, for snapshots of another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestSource {
    pub destination: Destination,
    /// Key of the manifest in the bucket.
    #[schemars(length(min = 1, max = 512))]
    pub key: String,
}

/// What becomes of the volumes when the VectorCollection is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay.
    #[default]
    Retain,
    /// They go too. Snapshots have their own policy.
    Delete,
}

impl VectorCollectionSpec {
    /// Name in REST.
    pub fn rest_name<'a>(&'a self, metadata_name: &'a str) -> &'a str {
        self.collection_name.as_deref().unwrap_or(metadata_name)
    }
}
