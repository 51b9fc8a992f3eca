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

/// Parts of a process's memory that one shard may have in writes that are in no segment yet: from the first on a writer
/// seals them himself, up to the second while somebody else changes the segments. What is being sealed stays in memory
/// beside what is written meanwhile.
const MUTABLE_PART: u64 = 8;
const MUTABLE_PART_MAX: u64 = 5;
/// Less is not worth a segment.
const MUTABLE_BYTES_MIN: usize = 4 << 20;
/// Parts for what waits to be written, and for one step of an edit.
const QUEUE_PART: u64 = 8;
const QUEUE_BYTES_MIN: usize = 8 << 20;
const EDIT_PART: u64 = 32;
const EDIT_BYTES_MIN: usize = 1 << 20;

impl ShardLimits {
    /// The bounds in a process that may use so many bytes; 0 if nobody knows. Much memory gives those of `default`, little
    /// gives lower ones: one shard must not take what requests and the optimizer need.
    pub fn within(memory_bytes: u64) -> Self {
        let whole = Self::default();
        if memory_bytes == 0 {
            return whole;
        }
        let part = |part: u64, least: usize, most: usize| {
            usize::try_from(memory_bytes / part).unwrap_or(usize::MAX).clamp(least, most)
        };
        Self {
            queue_bytes: part(QUEUE_PART, QUEUE_BYTES_MIN, whole.queue_bytes),
            mutable_bytes: part(MUTABLE_PART, MUTABLE_BYTES_MIN, whole.mutable_bytes),
            mutable_bytes_max: part(MUTABLE_PART_MAX, 2 * MUTABLE_BYTES_MIN, whole.mutable_bytes_max),
            edit_bytes: part(EDIT_PART, EDIT_BYTES_MIN, whole.edit_bytes),
            ..whole
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(memory_mb: u64, mutable_mb: (usize, usize), queue_mb: usize, edit_mb: usize) {
        let limits = ShardLimits::within(memory_mb << 20);
        let mutable = (limits.mutable_bytes >> 20, limits.mutable_bytes_max >> 20);
        let got = (mutable, limits.queue_bytes >> 20, limits.edit_bytes >> 20);
        assert_eq!(got, (mutable_mb, queue_mb, edit_mb), "with {memory_mb} MiB");
    }

    #[test]
    fn a_shard_takes_a_part_of_the_memory_that_there_is() {
        check(1, (4, 8), 8, 1);
        check(96, (12, 19), 12, 3);
        check(800, (100, 160), 100, 25);
        check(1 << 20, (128, 512), 128, 32);
        check(0, (128, 512), 128, 32);
    }
}
