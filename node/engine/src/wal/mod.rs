//! The write-ahead log of a shard: what was acknowledged is in it, durably, in order.
//!
//! [`writer`] appends batches and makes each durable with one `fdatasync`; [`recovery`] reads the log after
//! a start and tells a torn tail, which a power loss leaves, from damage, which is never cut silently.
//! [`record`] and [`reader`] know the bytes (docs/storage-format.md, "Write-ahead log"). The log knows nothing of
//! what its records mean, and has no clock: whoever has one calls [`Wal::mark_idle`].

#[cfg(test)]
mod crash_tests;
mod reader;
mod record;
mod recovery;
mod tail;
#[cfg(test)]
mod tail_crash_tests;
#[cfg(test)]
mod tests;
mod writer;

use serde::{Deserialize, Serialize};

pub use record::Record;
pub use recovery::Recovered;
pub use writer::Wal;

/// Whose log this is. In every file of the log and in the manifest, so that files of another shard or of
/// another copy of this one are never taken for one's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalIdentity {
    pub collection_uid: [u8; 16],
    /// Minted with the folder; a wiped, restored or rebuilt copy gets a new one.
    pub copy_id: [u8; 16],
}

/// Sizes of the log's files.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// Reserved for each file when it is started; it never grows. The first file is smaller, and each that follows is
    /// larger up to this: what hardly holds anything takes hardly any space. A batch that doesn't fit goes into a new
    /// file, which is larger if the batch is.
    pub file_bytes: u64,
    /// No batch is larger.
    pub batch_bytes_max: usize,
}

/// Reserved for the first file of a log.
const FIRST_FILE_BYTES: u64 = 256 << 10;
/// A file is so many times as large as the one before it.
const GROWTH: u64 = 8;

impl WalOptions {
    /// What is reserved for the file after one that has `previous` bytes; 0 if there is none.
    fn reserved_after(&self, previous: u64) -> u64 {
        previous.saturating_mul(GROWTH).max(FIRST_FILE_BYTES).min(self.file_bytes)
    }
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { file_bytes: 16 << 20, batch_bytes_max: 256 << 20 }
    }
}
