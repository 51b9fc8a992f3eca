//! What a folder that is kept as a snapshot holds: shards of one collection, or snapshots of all collections.

use std::path::Path;
use std::sync::Arc;

use quiver_engine::Cancel;
use quiver_engine::file::Disk;

use super::Result;
use super::folder::Folder;
use super::layout::Layout;
use super::storage::{self, StorageFolder};

/// A folder, by what is in it.
pub enum Contents {
    /// One or all shards of a collection.
    Shards(Box<Folder>),
    /// All collections.
    Storage(StorageFolder),
}

impl From<Folder> for Contents {
    fn from(folder: Folder) -> Self {
        Self::Shards(Box::new(folder))
    }
}

impl Contents {
    /// A folder that is kept. Only manifests are read.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Self> {
        match storage::is_storage(path) {
            true => Ok(Self::Storage(StorageFolder::read(disk, path)?)),
            false => Ok(Folder::read(disk, path)?.into()),
        }
    }

    /// Writes the manifests; durable when this returns.
    pub fn write(&self, disk: &dyn Disk) -> Result<()> {
        match self {
            Self::Shards(folder) => folder.write(disk),
            Self::Storage(storage) => storage.write(disk),
        }
    }

    /// Whether all digests are known.
    pub fn is_digested(&self) -> bool {
        match self {
            Self::Shards(folder) => folder.is_digested(),
            Self::Storage(storage) => storage.folders().all(Folder::is_digested),
        }
    }

    /// The tar. Its length is right also while digests are missing, its bytes are not.
    pub fn layout(&self) -> Result<Layout> {
        match self {
            Self::Shards(folder) => folder.layout(),
            Self::Storage(storage) => storage.layout(),
        }
    }

    /// Reads all files for their digests.
    pub fn digest(&mut self, disk: &dyn Disk, cancel: &Cancel) -> Result<()> {
        match self {
            Self::Shards(folder) => folder.digest(disk, cancel),
            Self::Storage(storage) => storage.digest(disk, cancel),
        }
    }

    /// SHA-256 of the tar; the digests have to be known.
    pub fn checksum(&self, disk: &Arc<dyn Disk>, cancel: &Cancel) -> Result<String> {
        self.layout()?.reader(disk.clone()).digest(cancel)
    }
}
