//! A shard: one log, one set of segments.

pub mod manifest;
mod read;
mod stats;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use read::View;
pub use stats::{ShardStats, ShardStatus};

use crate::cancel::Cancel;
use crate::config::CollectionConfig;
use crate::error::{Error, Result};
use crate::file::Disk;
use crate::operation::{Applied, Operation};
use crate::wal::WalIdentity;

/// Called once with what became of a write. It runs on the thread that drains the shard: it must be quick
/// and must not call the shard.
pub type Done = Box<dyn FnOnce(Result<Applied>) + Send>;

/// What a shard is told when it is created or opened.
#[derive(Clone, Debug, Default)]
pub struct ShardOptions {
    /// Whose log this is; a folder of somebody else is refused.
    pub identity: WalIdentity,
    /// Watermarks of the volume in percent of its size.
    pub watermarks: Watermarks,
}

/// When a nearly full volume refuses writes that add data.
#[derive(Clone, Copy, Debug)]
pub struct Watermarks {
    /// From here on upserts are refused; deletes and reads go on.
    pub refuse_percent: f64,
    /// Below this they are accepted again.
    pub accept_percent: f64,
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { refuse_percent: 90.0, accept_percent: 85.0 }
    }
}

/// The files of a snapshot, all in one folder tree.
#[derive(Clone, Debug)]
pub struct SnapshotFiles {
    /// Relative to the snapshot's folder, with `/`; all of them immutable.
    pub files: Vec<PathBuf>,
    /// The last operation that is in it.
    pub seq: u64,
    pub points: u64,
}

/// One shard of a collection.
pub struct Shard {
    dir: PathBuf,
}

impl Shard {
    /// Makes an empty shard in a folder that holds none.
    pub fn create(
        _disk: Arc<dyn Disk>,
        dir: &Path,
        _options: ShardOptions,
        _config: CollectionConfig,
    ) -> Result<Self> {
        Ok(Self { dir: dir.to_owned() })
    }

    /// Opens a shard; every acknowledged write is visible in the first view.
    pub fn open(_disk: Arc<dyn Disk>, dir: &Path, _options: ShardOptions) -> Result<Self> {
        Ok(Self { dir: dir.to_owned() })
    }

    /// Verifies a snapshot made by [`Self::snapshot_to`] and makes a shard of it in `dir`, as `options` names it.
    /// Files are linked where both folders are on one volume, else copied.
    pub fn restore_from(
        _disk: Arc<dyn Disk>,
        _snapshot: &Path,
        dir: &Path,
        _options: ShardOptions,
    ) -> Result<Self> {
        Ok(Self { dir: dir.to_owned() })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Queues a write. Names and dimensions are checked here; `done` may run before this returns.
    /// True: nobody is writing, the caller must run [`Self::drain`] on a thread that may block.
    pub fn enqueue(&self, _op: Operation, done: Done) -> bool {
        done(Err(Error::BadInput("not built yet".into())));
        false
    }

    /// Writes what is queued until nothing is left.
    pub fn drain(&self) {}

    /// [`Self::enqueue`], [`Self::drain`] and waiting, in one.
    pub fn write(&self, _op: Operation) -> Result<Applied> {
        Err(Error::BadInput("not built yet".into()))
    }

    /// The state after the last finished write. Never blocks; what is read through one view is consistent.
    pub fn view(&self) -> Arc<View> {
        Arc::new(View::default())
    }

    /// Does the optimizer's work until there is none: seals, indexes, merges, vacuums. False if there was
    /// nothing to do. Call it every second or so, and after writes; a second call while one runs gives false.
    /// Segments left small by a burst of writes are merged by the first call that finds no write since the last.
    pub fn optimize(&self, _pool: &rayon::ThreadPool, _cancel: &Cancel) -> Result<bool> {
        Ok(false)
    }

    /// Makes everything that was written part of sealed segments, and drops the log before it.
    pub fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Takes over what may be changed of a collection: optimizer, HNSW and quantization, of the collection and
    /// of its vectors. Vectors are added and dropped by operations, never here. The optimizer rebuilds what differs.
    pub fn update_config(&self, _config: CollectionConfig) -> Result<()> {
        Ok(())
    }

    /// Counts and sizes.
    pub fn stats(&self) -> ShardStats {
        ShardStats::default()
    }

    /// Flushes, then links every file of the shard into a folder that does not exist yet.
    pub fn snapshot_to(&self, _dir: &Path) -> Result<SnapshotFiles> {
        Err(Error::BadInput("not built yet".into()))
    }
}
