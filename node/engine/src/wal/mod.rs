//! The write-ahead log of a shard.

use serde::{Deserialize, Serialize};

/// Whose log this is. In every file of the log and in the manifest, so that files of another shard or of
/// another copy of this one are never taken for one's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalIdentity {
    pub collection_uid: [u8; 16],
    /// Minted with the folder; a wiped, restored or rebuilt copy gets a new one.
    pub copy_id: [u8; 16],
}
