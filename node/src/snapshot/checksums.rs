//! Digests and checksums of snapshots, made after the snapshots themselves: one at a time, in the background.
//!
//! A snapshot is there as soon as its files are linked. Whoever needs its digests (a download) makes them if the
//! background has not come to it yet. A snapshot that is deleted meanwhile stops the work, and nothing of it is noted.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quiver_engine::Cancel;
use tokio::sync::{Notify, Semaphore};

use super::catalog::{Catalog, is_folder};
use super::contents::Contents;
use super::folder::Folder;
use super::layout::Layout;
use super::{Result, SnapshotError};
use crate::node::Node;
use crate::pool::{Deadline, Pool};

/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// What the clones of a catalog share.
pub struct Shared {
    /// One snapshot is read at a time: the disk has other things to do too.
    turn: Semaphore,
    /// There may be a snapshot without a checksum.
    pub(super) wake: Notify,
    running: Mutex<Running>,
    /// Where snapshots in the making will be.
    pub(super) reserved: Mutex<HashSet<PathBuf>>,
}

/// What is being read.
#[derive(Default)]
struct Running {
    next: u64,
    all: BTreeMap<u64, (PathBuf, Cancel)>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            wake: Notify::new(),
            running: Mutex::default(),
            reserved: Mutex::default(),
        }
    }
}

impl Shared {
    /// Runs `work` on a snapshot; [`Self::without`] stops it.
    fn reading<T>(&self, path: &Path, cancel: &Cancel, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = {
            let mut running = self.running.lock();
            running.next += 1;
            let number = running.next;
            running.all.insert(number, (path.to_path_buf(), cancel.clone()));
            number
        };
        let done = work();
        self.running.lock().all.remove(&number);
        done
    }

    /// Notes what was found out, unless the snapshot was taken away: another may have its name by now.
    fn note<T>(&self, cancel: &Cancel, note: impl FnOnce() -> Result<T>) -> Result<T> {
        let _running = self.running.lock();
        cancel.check()?;
        note()
    }

    /// Runs `work`, which takes a snapshot away, while nobody notes anything of it; whoever reads it is told to stop.
    pub(super) fn without<T>(&self, path: &Path, work: impl FnOnce() -> T) -> T {
        let running = self.running.lock();
        running.all.values().filter(|(p, _)| p == path).for_each(|(_, cancel)| cancel.cancel());
        work()
    }
}

impl Catalog {
    /// The tar of a folder, with the digests in it: they are made if they are not known yet.
    pub async fn tar(&self, pool: &Pool, path: &Path, deadline: Deadline) -> Result<Layout> {
        let (catalog, at) = (self.clone(), path.to_path_buf());
        let known = pool.run("Snapshot", deadline, move |_| catalog.read(&at)).await??;
        if known.is_digested() {
            return known.layout();
        }
        let _turn = self.turn().await?;
        let (catalog, at) = (self.clone(), path.to_path_buf());
        pool.run("Snapshot", deadline, move |cancel| catalog.digested(&at, cancel)?.layout()).await?
    }

    /// The tar of a folder that is not kept, with its digests, which are made now.
    pub async fn tar_of(&self, pool: &Pool, mut folder: Folder, deadline: Deadline) -> Result<Layout> {
        let _turn = self.turn().await?;
        let disk = self.disk.clone();
        let work = move |cancel: &Cancel| folder.digest(&*disk, cancel).and_then(|()| folder.layout());
        pool.run("Snapshot", deadline, work).await?
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.shared.turn.acquire().await.map_err(|e| SnapshotError::Store(e.to_string()))
    }

    fn read(&self, path: &Path) -> Result<Contents> {
        Contents::read(&*self.disk, path).map_err(|e| self.gone(path).unwrap_or(e))
    }

    /// The error of work on a snapshot that was deleted meanwhile.
    fn gone(&self, path: &Path) -> Option<SnapshotError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        (!self.disk.exists(path)).then(|| SnapshotError::NotFound(format!("Snapshot {name} not found")))
    }

    /// A folder with its digests; made and noted if they are not there.
    pub(super) fn digested(&self, path: &Path, cancel: &Cancel) -> Result<Contents> {
        let made = self.shared.reading(path, cancel, || {
            let mut folder = self.read(path)?;
            if !folder.is_digested() {
                folder.digest(&*self.disk, cancel)?;
                self.shared.note(cancel, || folder.write(&*self.disk))?;
            }
            Ok(folder)
        });
        made.map_err(|e| self.gone(path).unwrap_or(e))
    }

    /// Makes the checksum of a folder whose digests are known, and notes it beside.
    pub(super) fn checksummed(&self, path: &Path, cancel: &Cancel) -> Result<()> {
        let made = self.shared.reading(path, cancel, || {
            let checksum = self.read(path)?.checksum(&self.disk, cancel)?;
            self.shared.note(cancel, || self.note(path, &checksum))
        });
        made.map_err(|e| self.gone(path).unwrap_or(e))
    }

    /// Folders without a checksum, of all owners.
    fn unfinished(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in self.folders()? {
            let names = self.disk.list(&folder).unwrap_or_default();
            let paths = names.iter().filter(|n| n.ends_with(".snapshot")).map(|n| folder.join(n));
            found.extend(paths.filter(|p| is_folder(p) && self.noted(p).is_none()));
        }
        Ok(found)
    }

    /// Makes what is missing, now.
    pub async fn finish(&self, pool: &Pool) -> Result<()> {
        let catalog = self.clone();
        let paths = pool.run("Snapshot", forever(), move |_| catalog.unfinished()).await??;
        let mut result = Ok(());
        for path in paths {
            match self.finish_one(pool, &path).await {
                Ok(()) | Err(SnapshotError::NotFound(_)) => {}
                Err(e) => {
                    tracing::warn!("no checksum of {} yet: {e}", path.display());
                    result = Err(e);
                }
            }
        }
        result
    }

    /// In two steps: a download that waits for the digests of another snapshot gets its turn in between.
    async fn finish_one(&self, pool: &Pool, path: &Path) -> Result<()> {
        for step in [|c: &Self, p: &Path, cancel: &Cancel| c.digested(p, cancel).map(drop), Self::checksummed]
        {
            let _turn = self.turn().await?;
            let (catalog, at) = (self.clone(), path.to_path_buf());
            pool.run("Snapshot", forever(), move |cancel| step(&catalog, &at, cancel)).await??;
        }
        Ok(())
    }
}

fn forever() -> Deadline {
    Deadline::after(Duration::MAX)
}

/// Makes checksums of what is there and of what comes, until the node stops.
pub async fn run(catalog: Catalog, node: Arc<Node>) {
    let rounds = async {
        loop {
            match catalog.finish(&node.pools.update).await {
                Ok(()) => catalog.shared.wake.notified().await,
                Err(_) => {
                    let _ = tokio::time::timeout(AGAIN, catalog.shared.wake.notified()).await;
                }
            }
        }
    };
    // What is running is stopped by dropping it.
    tokio::select! {
        () = node.shutdown.begun() => {}
        () = rounds => {}
    }
}

#[cfg(test)]
#[path = "checksums_tests.rs"]
mod tests;
