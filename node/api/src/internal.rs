//! Wire types of the internal port: what the operator asks of a node, and what nodes say of themselves.
//!
//! The port speaks mutual TLS with a certificate authority of its own; API keys don't open it. Types only:
//! no checks beyond what serde does, no logic.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET /internal/status` | | [`NodeStatus`] |
//! | `PUT /internal/schema` | [`SchemaRequest`] | [`SchemaAnswer`] |
//! | `POST /internal/shards/{shard}/place` | [`PlaceCopyRequest`] | [`PlaceCopyAnswer`] |
//! | `POST /internal/shards/{shard}/hand-over` | [`HandOverRequest`] | [`HandOverAnswer`] |
//! | `POST /internal/shards/{shard}/upload` | [`UploadRequest`] | [`ShardManifest`] |
//! | `POST /internal/snapshots/manifest` | [`PutManifestRequest`] | [`PutManifestAnswer`] |
//! | `POST /internal/snapshots/fetch-manifest` | [`FetchManifestRequest`] | [`SnapshotManifest`] |
//! | `POST /internal/snapshots/list` | [`ListSnapshotsRequest`] | [`ListSnapshotsAnswer`] |
//! | `POST /internal/snapshots/delete` | [`DeleteSnapshotRequest`] | [`DeleteSnapshotAnswer`] |
//!
//! An error is any status from 400 on with an [`InternalError`] as body.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the calls of the internal port. Each call names it in [`PROTOCOL_HEADER`]; a node takes no other.
pub const PROTOCOL_VERSION: &str = "1";
pub const PROTOCOL_HEADER: &str = "quiver-protocol";

/// Version of a [`SnapshotManifest`] that this code writes. A reader refuses higher ones.
pub const SNAPSHOT_FORMAT_VERSION: u32 = 1;

/// Body of every error answer of the internal port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalError {
    /// A sentence for people.
    pub error: String,
    /// Whether the same call may succeed later without anybody changing anything.
    #[serde(default)]
    pub retryable: bool,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name of the pod.
    pub pod: String,
    /// Id of this life of the process; another after each start.
    pub boot: String,
    /// Version of the engine, as of the package.
    pub version: String,
    /// Uid of the VectorCollection that the node belongs to.
    pub collection_uid: String,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// Why it doesn't, if it doesn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready_because: Option<String>,
    /// Generation of the schema that was put last; 0 before the first.
    pub schema_generation: i64,
    /// What of that schema could not be applied yet; empty when all is in force.
    #[serde(default)]
    pub schema_differences: Vec<String>,
    /// Shards with a copy on this node.
    #[serde(default)]
    pub shards: Vec<ShardStatus>,
    /// What experts would call a red line, as `/issues` reports it.
    #[serde(default)]
    pub issues: Vec<NodeIssue>,
    /// Free bytes of the data volume.
    #[serde(default)]
    pub disk_free_bytes: u64,
    /// Size of the data volume.
    #[serde(default)]
    pub disk_total_bytes: u64,
    /// Resident memory.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The limit that the container has; 0: none.
    #[serde(default)]
    pub memory_limit_bytes: u64,
    /// Shards can be split here: an older version doesn't know what the log then says.
    #[serde(default)]
    pub splits: bool,
}

/// One entry of a node's `/issues`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeIssue {
    /// A reason in CamelCase that a condition can carry, e.g. `UnindexedFilter`.
    pub reason: String,
    /// What was seen.
    pub message: String,
    /// What to do about it.
    pub solution: String,
}

/// What a node says of one of its copies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// Number of the shard.
    pub shard: u32,
    /// Id of the copy, as in the VectorShard.
    pub copy_id: String,
    /// Where the copy stands.
    pub state: CopyState,
    /// What is wrong, if something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The term that the copy leads or follows in.
    pub term: i64,
    /// Highest configVersion that the copy has seen.
    pub config_version: i64,
    /// Last sequence number that is durable.
    pub seq: u64,
    /// Points that a count would give.
    pub points: u64,
    /// Vectors that have a graph or need none.
    pub indexed_vectors: u64,
    /// Segments, sealed and mutable.
    pub segments: u32,
    /// Bytes in files.
    pub bytes_disk: u64,
    /// Whether the optimizer has work left.
    pub optimizing: bool,
    /// The highest term that the copy promised: of several copies, the one with the highest, then with the longest log, is the
    /// best to lead.
    #[serde(default)]
    pub promised: u64,
    /// Neither damaged nor with a failed disk, and open: it may be listed, and lead if it is in sync.
    #[serde(default)]
    pub fit: bool,
    /// A part of it is frozen, to become another shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitStatus>,
}

/// How far a copy is with the split of its shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitStatus {
    /// The entry of the log from which on that part isn't written any more.
    pub seq: u64,
    pub term: u64,
    /// Id of the copy of the new shard that was made of this one; none while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_id: Option<String>,
}

/// Asks a node to make a copy of a shard that it hasn't got. Answered with the same id until the record lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceCopyRequest {
    /// Uid of the VectorCollection.
    pub collection_uid: String,
    /// The hashes that the shard owns.
    pub range: HashRange,
}

/// The id that the node made with the copy's folder. The copy is empty; it fills itself once the record lists it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceCopyAnswer {
    pub copy_id: String,
}

/// Asks the node that leads a shard to let another copy in sync lead. Asking again while it goes on changes nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOverRequest {
    /// Uid of the VectorCollection.
    pub collection_uid: String,
    /// Id of the copy that shall lead.
    pub to: String,
    /// Life of that copy's process.
    pub boot: String,
}

/// Whether the hand-over goes on: the record tells when it is done. One that takes too long is given up by the node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOverAnswer {
    pub begun: bool,
}

/// Where a copy stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyState {
    /// Being opened or replayed.
    #[default]
    Starting,
    /// Being fetched from a snapshot.
    Restoring,
    /// Takes reads and writes.
    Leading,
    /// Has every acknowledged write and follows the copy that leads.
    Following,
    /// Isn't in sync yet: it is being sent what it lacks, or waits to be listed.
    CatchingUp,
    /// The record has gone back in time, or the data and the record don't fit: nothing is served.
    ConfigLost,
    /// A file doesn't hold what its checksum says.
    Damaged,
    /// An error that a retry may cure.
    Failed,
}

/// Who may change the schema of a managed collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaPolicy {
    /// Clients may add payload indexes and named vectors, and drop what they added.
    #[default]
    AllowAdditions,
    /// Only the resource.
    Enforce,
}

/// What the collection is to be, from the VectorCollection. Idempotent; a lower generation is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRequest {
    /// Name in REST.
    pub collection_name: String,
    /// Uid of the VectorCollection.
    pub collection_uid: String,
    /// `namespace/name` of the VectorCollection, named in refusals.
    pub resource: String,
    /// `metadata.generation` of the VectorCollection.
    pub generation: i64,
    /// How many shards the collection has.
    pub shards: u32,
    /// So many copies of a shard have to be in sync for it to take writes; 0 is taken as 1.
    #[serde(default)]
    pub min_in_sync: u32,
    /// Body of `PUT /collections/{name}`.
    pub create: Value,
    /// Payload indexes that have to exist.
    #[serde(default)]
    pub payload_indexes: Vec<PayloadIndex>,
    /// Names that reach the collection too.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Who else may change the schema.
    #[serde(default)]
    pub schema_policy: SchemaPolicy,
    /// Whether snapshots are scheduled, and when the last one succeeded, for the guardrail on each node.
    #[serde(default)]
    pub snapshot_schedule: SnapshotScheduleState,
}

/// What the operator knows of the collection's snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotScheduleState {
    /// Whether a schedule is set and not suspended.
    pub scheduled: bool,
    /// Unix seconds of the last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success_unix: Option<i64>,
}

/// A payload index; the body of `PUT /collections/{name}/index`, but in camelCase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadIndex {
    /// Payload key.
    pub field_name: String,
    /// A type's name, or its parameters as an object, as in REST (`snake_case` inside).
    pub field_schema: Value,
}

/// What came of a [`SchemaRequest`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaAnswer {
    /// The generation now in force on this node.
    pub generation: i64,
    /// What could not be applied yet or never can, each a sentence; empty when all is in force.
    #[serde(default)]
    pub differences: Vec<String>,
}

/// A place in an S3 store. Credentials never travel here: pods have them from a Secret or by identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Destination {
    pub bucket: String,
    /// Path inside the bucket without slashes at its ends; may be empty.
    #[serde(default)]
    pub prefix: String,
    #[serde(default)]
    pub region: String,
    /// URL of a store that isn't AWS; empty for AWS. `http://` is accepted as it is written.
    #[serde(default)]
    pub endpoint: String,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    #[serde(default)]
    pub force_path_style: bool,
}

/// Asks a node to upload its copy of a shard. Files that the store has already are not sent again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadRequest {
    pub destination: S3Destination,
    /// Name of the VectorSnapshot.
    pub snapshot: String,
    /// Uid of the VectorCollection: objects of different collections never mix.
    pub collection_uid: String,
}

/// One shard in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardManifest {
    pub shard: u32,
    /// The hashes that the shard owns.
    pub range: HashRange,
    /// Term and last sequence number that the files hold.
    pub term: i64,
    pub seq: u64,
    pub points: u64,
    /// Version of the engine that wrote the files.
    pub engine_version: String,
    pub files: Vec<SnapshotFile>,
    /// Bytes that this upload sent.
    pub uploaded_bytes: u64,
    /// Bytes that the store had already.
    pub reused_bytes: u64,
}

/// A closed range of the 64-bit hash of point ids. On the wire as hexadecimal text of 16 digits:
/// JSON numbers above 2^53 don't survive every reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HashRange {
    /// Lowest hash.
    pub first: u64,
    /// Highest hash.
    pub last: u64,
}

impl HashRange {
    /// Every hash.
    pub const ALL: HashRange = HashRange { first: 0, last: u64::MAX };

    /// The `index`-th of `count` ranges that cover every hash and are as equal as can be.
    pub fn part(index: u32, count: u32) -> HashRange {
        assert!(index < count, "part {index} of {count}");
        let cut = |i: u32| (((u128::from(i)) << 64) / u128::from(count)) as u64;
        let last = if index + 1 == count { u64::MAX } else { cut(index + 1) - 1 };
        HashRange { first: cut(index), last }
    }

    /// Whether all of another range is in this one.
    pub fn holds(&self, other: HashRange) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the range owns a hash.
    pub fn contains(&self, hash: u64) -> bool {
        (self.first..=self.last).contains(&hash)
    }
}

#[derive(Serialize, Deserialize)]
struct HashRangeText {
    first: String,
    last: String,
}

impl Serialize for HashRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        HashRangeText { first: format!("{:016x}", self.first), last: format!("{:016x}", self.last) }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HashRange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = HashRangeText::deserialize(deserializer)?;
        let parse = |t: &str| {
            u64::from_str_radix(t, 16)
                .map_err(|_| D::Error::custom(format!("`{t}` is not a hash in hexadecimal")))
        };
        let (first, last) = (parse(&text.first)?, parse(&text.last)?);
        if first > last {
            return Err(D::Error::custom(format!("an empty range: {first:016x} to {last:016x}")));
        }
        Ok(HashRange { first, last })
    }
}

/// A file of a shard; its object is `<prefix>/<collectionUid>/objects/<sha256>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotFile {
    /// Name inside the shard's folder; may have a `/`, never leaves the folder.
    pub name: String,
    /// Hexadecimal, lower case.
    pub sha256: String,
    pub size_bytes: u64,
}

/// A whole snapshot: what `<prefix>/<collectionUid>/snapshots/<name>.json` holds, written after every object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotManifest {
    /// [`SNAPSHOT_FORMAT_VERSION`].
    pub format_version: u32,
    /// Name of the VectorSnapshot.
    pub name: String,
    /// Name of the collection in REST.
    pub collection: String,
    pub collection_uid: String,
    /// RFC 3339.
    pub created_at: String,
    /// Body of `PUT /collections/{name}` that makes an equal collection.
    pub schema: Value,
    #[serde(default)]
    pub payload_indexes: Vec<PayloadIndex>,
    #[serde(default)]
    pub aliases: Vec<String>,
    /// By number.
    pub shards: Vec<ShardManifest>,
}

/// Asks a node to check every object of a manifest and to write it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutManifestRequest {
    pub destination: S3Destination,
    pub manifest: SnapshotManifest,
}

/// Where the manifest is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutManifestAnswer {
    /// Key in the bucket.
    pub manifest_key: String,
    /// Bytes that the snapshot's objects have together, each counted once.
    pub size_bytes: u64,
}

/// Asks a node to read a manifest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchManifestRequest {
    pub destination: S3Destination,
    /// Key in the bucket, as [`PutManifestAnswer`] gave it.
    pub manifest_key: String,
}

/// Asks a node which snapshots of a collection the store holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListSnapshotsRequest {
    pub destination: S3Destination,
    pub collection_uid: String,
}

/// Names of the snapshots with a manifest, sorted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListSnapshotsAnswer {
    pub snapshots: Vec<String>,
}

/// Asks a node to remove a snapshot and every object that nothing else names. Succeeds if it is gone already.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteSnapshotRequest {
    pub destination: S3Destination,
    pub collection_uid: String,
    /// Name of the VectorSnapshot.
    pub snapshot: String,
    /// Objects younger than this stay: an upload that is just running may rely on them.
    #[serde(default = "default_grace_seconds")]
    pub grace_seconds: u64,
}

fn default_grace_seconds() -> u64 {
    3600
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteSnapshotAnswer {
    pub objects_deleted: u64,
    pub bytes_deleted: u64,
    /// Objects that nothing names but that are too young to go; the next deletion takes them.
    pub objects_kept_by_grace: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_hash_once() {
        for count in [1u32, 2, 3, 6, 7, 64, 1000] {
            let mut next = 0u64;
            for index in 0..count {
                let range = HashRange::part(index, count);
                assert_eq!(range.first, next, "part {index} of {count}");
                assert!(range.last >= range.first);
                next = range.last.wrapping_add(1);
            }
            assert_eq!(next, 0, "the last of {count} parts ends at the highest hash");
        }
    }

    #[test]
    fn ranges_survive_readers_with_53_bits() {
        let range = HashRange::part(5, 6);
        let text = serde_json::to_string(&range).expect("a range prints");
        assert_eq!(text, r#"{"first":"d555555555555555","last":"ffffffffffffffff"}"#);
        assert_eq!(serde_json::from_str::<HashRange>(&text).expect("and reads back"), range);
        assert!(serde_json::from_str::<HashRange>(r#"{"first":"2","last":"1"}"#).is_err());
    }
}
