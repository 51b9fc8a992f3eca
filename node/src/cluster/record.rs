//! Shard records: which copies of a shard exist, which one leads, since when.
//!
//! The truth is kept by somebody else (Kubernetes, or a file where several processes try a node set on one machine,
//! or memory in tests); this is how the node sees it. Never written but by compare-and-swap.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use quiver_api::internal::{HashRange, S3Destination};
use quiver_replica::record::{Boot, CopyId, Placed, Record};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;

/// One shard's record as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Name of the object, for messages.
    pub name: String,
    /// What a compare-and-swap compares.
    pub version: String,
    pub shard: u32,
    pub range: HashRange,
    /// Goes up with every new leader and every new life of one.
    pub term: i64,
    /// Goes up by one with every change.
    pub config_version: i64,
    /// Id of the copy that leads.
    pub primary: String,
    /// Life of the process that leads; empty only until the first leader has begun.
    pub primary_boot: String,
    pub copies: Vec<CopyRecord>,
    /// Where the first copy comes from, if not from nothing.
    pub restore: Option<RestoreSource>,
    /// A part of its range is on its way to another shard.
    #[serde(default)]
    pub split: Option<SplitRecord>,
}

/// How a shard is split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// Number of the shard that gets `give`.
    pub child: u32,
    pub keep: HashRange,
    pub give: HashRange,
}

/// One copy of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyRecord {
    /// 128 random bits, minted with the copy's folder. Not a name of a pod: a wiped pod is not the same copy.
    pub id: String,
    pub pod: String,
    pub in_sync: bool,
    /// Is to go, and isn't admitted again.
    #[serde(default)]
    pub leaving: bool,
}

/// A snapshot to begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreSource {
    pub destination: S3Destination,
    pub manifest_key: String,
}

impl ShardRecord {
    /// The copy that is recorded for a pod.
    pub fn copy_of(&self, pod: &str) -> Option<&CopyRecord> {
        self.copies.iter().find(|c| c.pod == pod)
    }

    /// The copy that leads.
    pub fn leader(&self) -> Option<&CopyRecord> {
        self.copies.iter().find(|c| c.id == self.primary)
    }

    /// As the protocol knows it.
    ///
    /// # Errors
    /// A sentence: an id isn't a UUID, or a number is negative.
    pub fn replica(&self) -> Result<Record, String> {
        let counted = |what: &str, n: i64| {
            u64::try_from(n).map_err(|_| format!("the {what} of the record {} is {n}", self.name))
        };
        let placed = |c: &CopyRecord| {
            let placed = Placed::new(c.number()?, c.pod.as_str().into(), c.in_sync);
            Ok(Placed { leaving: c.leaving, ..placed })
        };
        let boot = match self.primary_boot.as_str() {
            "" => None,
            boot => Some(Boot(number(boot)?)),
        };
        Ok(Record {
            term: counted("term", self.term)?,
            config_version: counted("configVersion", self.config_version)?,
            primary: CopyId(number(&self.primary)?),
            primary_boot: boot,
            copies: self.copies.iter().map(placed).collect::<Result<_, String>>()?,
        })
    }

    /// The record after a change by this node: of copies, only whether they are in sync can be another.
    pub fn changed(&self, next: &Record) -> ShardRecord {
        let mut changed = self.clone();
        let counted = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        (changed.term, changed.config_version) = (counted(next.term), counted(next.config_version));
        for copy in &mut changed.copies {
            if let Ok(id) = copy.number() {
                copy.in_sync = next.in_sync(id);
                if id == next.primary {
                    changed.primary.clone_from(&copy.id);
                }
            }
        }
        if let Some(Boot(boot)) = next.primary_boot {
            changed.primary_boot = Uuid::from_u128(boot).simple().to_string();
        }
        changed
    }
}

impl CopyRecord {
    /// One that is to stay.
    pub fn new(id: impl Into<String>, pod: impl Into<String>, in_sync: bool) -> Self {
        Self { id: id.into(), pod: pod.into(), in_sync, leaving: false }
    }

    /// The id as the protocol has it.
    ///
    /// # Errors
    /// It isn't a UUID.
    pub fn number(&self) -> Result<CopyId, String> {
        number(&self.id).map(CopyId)
    }
}

/// A copy's id or a process' boot as a number.
///
/// # Errors
/// It isn't a UUID.
pub fn number(id: &str) -> Result<u128, String> {
    Uuid::parse_str(id).map(|u| u.as_u128()).map_err(|_| format!("`{}` is not a UUID", id.escape_debug()))
}

/// All records of the collection, by shard. `None` until they were read once.
pub type Known = Option<Arc<BTreeMap<u32, ShardRecord>>>;

/// Why a record could not be changed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Somebody changed it first; nothing was done.
    #[error("the record was changed by somebody else")]
    Conflict,
    /// Not allowed as it stands; nothing was done.
    #[error("the record was not changed: {0}")]
    Refused(String),
    /// No answer: it may have been done, or be done later.
    #[error("nobody knows whether the record was changed: {0}")]
    Unknown(String),
}

/// Where records are kept.
pub trait ShardRecords: Send + Sync {
    /// What is known now, and how to hear of changes.
    fn watch(&self) -> watch::Receiver<Known>;

    /// Writes `record` if its version is still the one that is there. Gives what is there now.
    fn replace(&self, record: ShardRecord) -> BoxFuture<'_, Result<ShardRecord, RecordError>>;

    /// Asks again instead of relying on what was heard.
    fn get(&self, shard: u32) -> BoxFuture<'_, Result<Option<ShardRecord>, RecordError>>;
}
