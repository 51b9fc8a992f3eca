//! A snapshot of the whole storage: a folder of snapshots of collections, and `config.json`, which says whose they are.
//!
//! Its tar holds `config.json` and then the tar of each collection's snapshot under the snapshot's name: unpacked, every one
//! of them is what `upload` of that collection takes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use quiver_engine::Cancel;
use quiver_engine::file::{Disk, atomic};
use serde::{Deserialize, Serialize};

use super::archive::{Reader, expect, malformed, unknown_entry, write_out};
use super::folder::Folder;
use super::hash::PIECE_BYTES;
use super::layout::Layout;
use super::name::SafeName;
use super::{Result, SnapshotError};

/// The first file of a snapshot of the storage.
pub const CONFIG: &str = "config.json";
const CONFIG_MAX_BYTES: u64 = 64 << 20;

/// What `config.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageConfig {
    /// Collection → name of its snapshot.
    pub collections_mapping: BTreeMap<String, String>,
    /// Alias → collection.
    pub collections_aliases: BTreeMap<String, String>,
}

/// A folder and what is in it.
pub struct StorageFolder {
    path: PathBuf,
    /// `config.json` as the tar has it.
    json: Vec<u8>,
    folders: Vec<(SafeName, Folder)>,
}

/// Whether a folder is a snapshot of the storage.
pub fn is_storage(path: &Path) -> bool {
    std::fs::symlink_metadata(path.join(CONFIG)).is_ok_and(|m| m.is_file())
}

impl StorageFolder {
    /// A folder in the making: `folders` are those below `path` with the names that `config` gives.
    pub fn new(path: &Path, config: &StorageConfig, folders: Vec<(SafeName, Folder)>) -> Result<Self> {
        let json = serde_json::to_vec(config).map_err(|e| SnapshotError::BadInput(e.to_string()))?;
        Ok(Self { path: path.to_path_buf(), json, folders })
    }

    /// A folder that is kept. Only `config.json` and the manifests are read.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let json = atomic::read(disk, &path.join(CONFIG))?;
        let mut folders = Vec::new();
        for name in names(&parse(&json)?)? {
            let folder = Folder::read(disk, &path.join(name.as_str()))?;
            folders.push((name, folder));
        }
        Ok(Self { path: path.to_path_buf(), json, folders })
    }

    /// Writes `config.json` and the manifests; durable when this returns.
    pub fn write(&self, disk: &dyn Disk) -> Result<()> {
        self.folders().try_for_each(|folder| folder.write(disk))?;
        let config = self.path.join(CONFIG);
        // It never changes, and its time is that of the snapshot.
        if disk.exists(&config) { Ok(()) } else { Ok(atomic::write(disk, &config, &self.json)?) }
    }

    /// The snapshots of the collections.
    pub fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.folders.iter().map(|(_, folder)| folder)
    }

    /// Reads all files for their digests.
    pub fn digest(&mut self, disk: &dyn Disk, cancel: &Cancel) -> Result<()> {
        let mut unknown = self.folders.iter_mut().filter(|(_, folder)| !folder.is_digested());
        unknown.try_for_each(|(_, folder)| folder.digest(disk, cancel))
    }

    /// The tar of this folder.
    pub fn layout(&self) -> Result<Layout> {
        let inner = |(name, folder): &(SafeName, Folder)| Ok((name.clone(), folder.layout()?));
        let inner = self.folders.iter().map(inner).collect::<Result<_>>()?;
        Layout::of_several(CONFIG, &self.json, &self.path, inner)
    }
}

/// Reads `config.json`.
pub fn parse(json: &[u8]) -> Result<StorageConfig> {
    serde_json::from_slice(json)
        .map_err(|e| SnapshotError::Malformed(format!("{CONFIG} of the snapshot: {e}")))
}

/// What the `config.json` in a folder says.
pub fn read_config(disk: &dyn Disk, path: &Path) -> Result<StorageConfig> {
    let config = parse(&atomic::read(disk, &path.join(CONFIG))?)?;
    names(&config).map(|_| config)
}

/// Reads the tar of a snapshot into `dir`: the tar of each collection's snapshot under its name. These are believed no more than
/// others when they are unpacked themselves. On an error the caller removes `dir`.
pub fn unpack(disk: &dyn Disk, archive: &Path, dir: &Path, cancel: &Cancel) -> Result<StorageConfig> {
    let mut tar = tar::Archive::new(BufReader::with_capacity(PIECE_BYTES, Reader::open(disk, archive)?));
    let mut entries = tar.entries().map_err(malformed)?.raw(true);
    let first = entries.next().ok_or_else(|| SnapshotError::Malformed("the archive is empty".into()))?;
    let first = first.map_err(malformed)?;
    expect(&first, CONFIG)?;
    let mut json = Vec::new();
    first.take(CONFIG_MAX_BYTES).read_to_end(&mut json).map_err(malformed)?;
    let config = parse(&json)?;
    for name in names(&config)? {
        let missing = || SnapshotError::Malformed(format!("`{name}` is missing"));
        let entry = entries.next().ok_or_else(missing)?.map_err(malformed)?;
        expect(&entry, name.as_str())?;
        write_out(disk, entry, name.as_str(), &dir.join(name.as_str()), cancel)?;
    }
    match entries.next() {
        Some(entry) => Err(unknown_entry(&entry.map_err(malformed)?)),
        None => Ok(config),
    }
}

/// The names of the collections' snapshots in their order, each once.
pub fn names(config: &StorageConfig) -> Result<Vec<SafeName>> {
    let mut seen = BTreeSet::new();
    let name = |text: &String| {
        let name = SafeName::parse(text)?;
        match seen.insert(text.clone()) {
            true => Ok(name),
            false => Err(SnapshotError::Malformed(format!("`{text}` is the snapshot of two collections"))),
        }
    };
    config.collections_mapping.values().map(name).collect()
}
