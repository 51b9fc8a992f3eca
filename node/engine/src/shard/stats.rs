//! What a shard says about itself.

use std::collections::BTreeMap;

/// Whether the optimizer has work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ShardStatus {
    /// Nothing to do.
    #[default]
    Green,
    /// Sealing, indexing, merging or about to.
    Yellow,
    /// There is work, and the optimizer is switched off.
    Grey,
    /// Writes are refused after an I/O error.
    Red,
}

/// Counts and sizes of a shard at one moment.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// Points that exist.
    pub points: u64,
    /// Vectors that exist, by name.
    pub vectors: BTreeMap<String, u64>,
    /// Vectors, over all names, that lie in segments with a graph.
    pub indexed_vectors: u64,
    /// Sealed segments, and one for the mutable part if it has points.
    pub segments: usize,
    pub bytes_disk: u64,
    pub bytes_ram: u64,
    pub status: ShardStatus,
    /// Why the last optimization failed.
    pub optimizer_error: Option<String>,
    /// Bytes of the log that are not in sealed segments yet.
    pub wal_bytes: u64,
    /// The last operation that was applied.
    pub last_seq: u64,
    /// The last operation that is in sealed segments.
    pub sealed_seq: u64,
    /// Operations that wait to be written.
    pub queue: usize,
}
