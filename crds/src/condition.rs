//! Types and reasons of conditions: a closed list, so that alerts and scripts can rely on them.

/// Type of a condition on a VectorCollection.
pub mod kind {
    /// Every shard takes reads and writes, the schema is in force, nothing is being changed.
    pub const READY: &str = "Ready";
    /// Every shard has a primary that serves.
    pub const AVAILABLE: &str = "Available";
    /// False when a change is going on or can't go on; its message says which.
    pub const PROGRESSING: &str = "Progressing";
    /// Every shard has all its copies in sync.
    pub const REPLICATED: &str = "Replicated";
    /// Nodes hold the schema of the resource.
    pub const SCHEMA_APPLIED: &str = "SchemaApplied";
    /// The volumes have the size that the resource asks for.
    pub const STORAGE_RESIZED: &str = "StorageResized";
    /// The last scheduled snapshot succeeded and is recent.
    pub const SNAPSHOTS_HEALTHY: &str = "SnapshotsHealthy";
    /// No red line is crossed.
    pub const PRODUCTION_READY: &str = "ProductionReady";
    /// The operator doesn't act.
    pub const PAUSED: &str = "Paused";
    /// A snapshot is complete and can be restored from.
    pub const COMPLETE: &str = "Complete";
    /// A snapshot has failed for good.
    pub const FAILED: &str = "Failed";
    /// A snapshot is being uploaded.
    pub const UPLOADING: &str = "Uploading";
}

/// Reasons.
pub mod reason {
    pub const ALL_GOOD: &str = "AllGood";
    pub const INVALID_SPEC: &str = "InvalidSpec";
    pub const SECRET_MISSING: &str = "SecretMissing";
    pub const NODES_STARTING: &str = "NodesStarting";
    pub const NODES_UNREACHABLE: &str = "NodesUnreachable";
    pub const SHARDS_UNAVAILABLE: &str = "ShardsUnavailable";
    pub const DEGRADED: &str = "Degraded";
    pub const TOO_FEW_IN_SYNC: &str = "TooFewInSync";
    pub const MOVING_SHARDS: &str = "MovingShards";
    pub const COPYING_SHARDS: &str = "CopyingShards";
    pub const SPLITTING_SHARDS: &str = "SplittingShards";
    pub const SCALING: &str = "Scaling";
    pub const ROLLING_OUT: &str = "RollingOut";
    pub const ROLLOUT_WAITS: &str = "RolloutWaits";
    pub const STABLE: &str = "Stable";
    pub const HIBERNATING: &str = "Hibernating";
    pub const SCHEMA_PENDING: &str = "SchemaPending";
    pub const SCHEMA_DIFFERS: &str = "SchemaDiffers";
    pub const NO_SCHEDULE: &str = "NoSnapshotSchedule";
    pub const SCHEDULE_SUSPENDED: &str = "ScheduleSuspended";
    pub const FIRST_SNAPSHOT_PENDING: &str = "FirstSnapshotPending";
    pub const SNAPSHOT_FAILED: &str = "LastSnapshotFailed";
    pub const SNAPSHOT_TOO_OLD: &str = "SnapshotTooOld";
    pub const BOOTSTRAP_WAITS: &str = "BootstrapWaits";
    pub const BOOTSTRAP_FAILED: &str = "BootstrapFailed";
    pub const CONFIG_LOST: &str = "ConfigLost";
    pub const RED_LINES: &str = "RedLinesCrossed";
    pub const REQUESTED: &str = "Requested";
    pub const NOT_REQUESTED: &str = "NotRequested";
    pub const RESIZE_REFUSED: &str = "ResizeRefused";
    pub const RESIZING: &str = "Resizing";
    pub const UPLOADED: &str = "Uploaded";
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    pub const COLLECTION_NOT_FOUND: &str = "CollectionNotFound";
    pub const NO_DESTINATION: &str = "NoDestination";
    pub const RETRYING: &str = "Retrying";
}
