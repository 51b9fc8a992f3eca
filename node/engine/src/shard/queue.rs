//! What waits to be written to a shard: bounded in number and in bytes, so that writers that are faster than the
//! disk are told so instead of filling the memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Done, Hashes, ShardLimits};
use crate::config::CollectionConfig;
use crate::error::Error;
use crate::operation::Operation;

/// Operations of one batch at most, so that the first of them need not wait for a long queue.
const BATCH_OPERATIONS: usize = 1024;
/// Bytes of operations after which a batch takes no more.
pub const BATCH_BYTES: usize = 32 << 20;

/// What waits to be written.
#[derive(Default)]
pub struct Queue {
    pending: VecDeque<Pending>,
    /// Memory of what waits or is being written.
    bytes: usize,
    /// Whether somebody drains, or was told to.
    drained: bool,
}

/// A queued write.
pub struct Pending {
    pub op: Operation,
    /// What it was checked against.
    pub config: Arc<CollectionConfig>,
    pub done: Done,
    /// Hashes that it was sent for, if that was said.
    pub asked: Option<Hashes>,
    bytes: usize,
}

impl Pending {
    pub fn new(op: Operation, config: Arc<CollectionConfig>, asked: Option<Hashes>, done: Done) -> Self {
        Self { bytes: op.bytes(), op, config, done, asked }
    }
}

/// Operations that are written together.
pub struct Batch {
    pub operations: Vec<Pending>,
    /// Their memory, given back by [`Queue::written`].
    pub bytes: usize,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes a write in. `Ok(true)`: nobody drains, the caller has to see to it. A full queue gives the write back.
    pub fn push(&mut self, write: Pending, limits: &ShardLimits) -> Result<bool, (Done, Error)> {
        let too_many = self.pending.len() >= limits.queue_operations;
        let too_large = self.bytes > 0 && self.bytes.saturating_add(write.bytes) > limits.queue_bytes;
        if too_many || too_large {
            let error = Error::Unavailable(format!(
                "{} writes ({} MiB) wait for the disk already, this one was not begun: try again in a moment, and wait \
                 for answers before sending more",
                self.pending.len(),
                self.bytes >> 20
            ));
            return Err((write.done, error));
        }
        self.bytes += write.bytes;
        self.pending.push_back(write);
        Ok(!std::mem::replace(&mut self.drained, true))
    }

    /// The next writes; `None` if there is none, and then nobody drains any more.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let mut batch = Batch { operations: Vec::new(), bytes: 0 };
        while batch.operations.len() < BATCH_OPERATIONS && batch.bytes < BATCH_BYTES {
            let Some(write) = self.pending.pop_front() else { break };
            batch.bytes += write.bytes;
            batch.operations.push(write);
        }
        self.drained = !batch.operations.is_empty();
        self.drained.then_some(batch)
    }

    /// The memory of a batch is free again.
    pub fn written(&mut self, bytes: usize) {
        // Another thread's panic may have abandoned the queue meanwhile.
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Drops everything; dropping the callbacks tells those who wait.
    pub fn abandon(&mut self) {
        *self = Self::default();
    }
}
