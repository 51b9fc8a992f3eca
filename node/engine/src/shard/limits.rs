//! How much of a shard may be in memory at once.

/// Bounds of a shard's memory. What goes beyond them is refused or waits; nothing grows without one.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Operations that wait to be written; one more is refused at once.
    pub queue_operations: usize,
    /// Memory of the operations that wait or are being written. One alone is taken whatever its size.
    pub queue_bytes: usize,
    /// Memory of the mutable part from which on a writer seals it himself, because the optimizer does not keep up.
    pub mutable_bytes: usize,
    /// Memory of the mutable part from which on writes wait for whoever changes the segments. If it can't be sealed
    /// then, writes that need memory are refused until it can.
    pub mutable_bytes_max: usize,
    /// An edit of more points than this is logged and applied in steps, with a look at the memory between them.
    pub edit_points: usize,
    /// Memory that one step is to add, about.
    pub edit_bytes: usize,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            queue_operations: 10_000,
            queue_bytes: 128 << 20,
            mutable_bytes: 128 << 20,
            mutable_bytes_max: 512 << 20,
            edit_points: 4096,
            edit_bytes: 32 << 20,
        }
    }
}
