//! The Kubernetes kinds of Quiver: types, the rules that the API server checks (CEL), and their YAML.
//! No client, no async, no decisions: the operator and the nodes make those.
#![forbid(unsafe_code)]

pub mod collection;
pub mod collection_status;
pub mod condition;
pub mod s3;
pub mod schema;
pub mod shard;
pub mod snapshot;
mod yaml;

#[cfg(test)]
mod rules_tests;

pub use collection::{VectorCollection, VectorCollectionSpec};
pub use collection_status::VectorCollectionStatus;
pub use shard::{VectorShard, VectorShardSpec};
pub use snapshot::{VectorSnapshot, VectorSnapshotSpec};
pub use yaml::{all, manifests, to_yaml};

/// API group of all kinds.
pub const GROUP: &str = "quiver.dev";

/// Label on everything that belongs to a VectorCollection; its value is the collection's `metadata.name`.
pub const COLLECTION_LABEL: &str = "quiver.dev/collection";

/// Label with the uid of the VectorCollection, so that a volume of an earlier life is never taken for one of this.
pub const COLLECTION_UID_LABEL: &str = "quiver.dev/collection-uid";

/// Label of a snapshot that a schedule made.
pub const SCHEDULED_LABEL: &str = "quiver.dev/scheduled";

/// Annotation that lets a VectorSnapshot go although its objects could not be removed.
pub const SKIP_REMOTE_CLEANUP: &str = "quiver.dev/skip-remote-cleanup";
