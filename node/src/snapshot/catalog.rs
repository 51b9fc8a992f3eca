//! The folder of REST snapshots: `<snapshots>/<collection>/<name>.snapshot` and a `.checksum` beside each.
//!
//! A snapshot is a folder of links, see [`super::folder`], or a tar that an earlier version made or somebody put there. It
//! appears under its name only when it is whole and durable; until then, and while it is removed, it lies in `tmp`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use jiff::Timestamp;
use quiver_engine::Cancel;
use quiver_engine::file::Disk;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::checksums::Shared;
use super::contents::Contents;
use super::folder::Folder;
use super::hash::{file_digest, is_digest};
use super::name::SafeName;
use super::{Result, SnapshotError, io};
use quiver_api::internal::SnapshotManifest;

/// File systems take names of 255 bytes.
const FOLDER_NAME_BYTES_MAX: usize = 250;
/// Of a snapshot up to this size the checksum is made at once: that takes no longer than the rest.
/// Tests, which hash slowly, call less than that large.
const SMALL_BYTES: u64 = if cfg!(test) { 256 << 10 } else { 16 << 20 };

/// A snapshot as REST describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    pub name: String,
    /// `2026-11-24T11:33:19`.
    pub creation_time: Option<String>,
    /// Length of the tar.
    pub size: u64,
    /// SHA-256 of the tar. Of a large snapshot it is made in the background; until then there is none.
    pub checksum: Option<String>,
}

/// A snapshot on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A folder of links.
    Folder(PathBuf),
    /// A tar.
    Archive(PathBuf),
}

impl Kept {
    /// What lies there.
    pub fn at(path: PathBuf) -> Self {
        if is_folder(&path) { Self::Folder(path) } else { Self::Archive(path) }
    }
}

/// Whether a folder is there, and not just a link to one.
pub(super) fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir())
}

/// Owner of the snapshots of the whole storage. No collection's name has a `/`.
pub const STORAGE: &str = "/storage";

/// Owner of the snapshots of a shard.
pub fn of_shard(collection: &str, shard: u32) -> String {
    format!("{collection}/shards/{shard}")
}

/// The snapshots on this node, by their owners: a collection's name, [`of_shard`], or [`STORAGE`].
#[derive(Clone)]
pub struct Catalog {
    pub(super) disk: Arc<dyn Disk>,
    root: PathBuf,
    pub(super) shared: Arc<Shared>,
}

/// A folder that is removed when it is done with.
pub struct Scratch {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Scratch {
    /// A folder that somebody makes at `path`, or has made.
    pub fn at(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.disk.exists(&self.path)
            && let Err(e) = self.disk.remove_dir_all(&self.path)
        {
            tracing::warn!("{} could not be removed: {e}", self.path.display());
        }
    }
}

impl Catalog {
    /// Opens the folder and removes what an earlier life of the process left half done.
    pub fn open(disk: Arc<dyn Disk>, root: PathBuf) -> Result<Self> {
        let tmp = root.join("tmp");
        if disk.exists(&tmp) {
            disk.remove_dir_all(&tmp).map_err(io(format!("clearing {}", tmp.display())))?;
        }
        disk.create_dir_all(&tmp).map_err(io(format!("making {}", tmp.display())))?;
        Ok(Self { disk, root, shared: Arc::default() })
    }

    /// Where snapshots are; what `recover` may name lies below.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A new empty folder on the volume of the snapshots.
    pub fn scratch(&self) -> Result<Scratch> {
        let path = self.root.join("tmp").join(Uuid::new_v4().simple().to_string());
        self.disk.create_dir_all(&path).map_err(io(format!("making {}", path.display())))?;
        Ok(Scratch { disk: self.disk.clone(), path })
    }

    /// An owner's own folder. Names of collections may have any letter, so it is the name, escaped; the digest of a
    /// name that would be longer than a file system allows.
    fn folder(&self, owner: &str) -> PathBuf {
        let escaped = escaped(owner);
        if escaped.len() > FOLDER_NAME_BYTES_MAX {
            let digest = Sha256::digest(owner).iter().map(|b| format!("{b:02x}")).collect::<String>();
            return self.root.join(format!("h-{digest}"));
        }
        self.root.join(format!("c-{escaped}"))
    }

    /// Where a snapshot of this name is kept.
    pub(super) fn place(&self, owner: &str, name: &str) -> PathBuf {
        self.folder(owner).join(name)
    }

    /// Folders of owners that have, or had, snapshots.
    pub(super) fn folders(&self) -> Result<Vec<PathBuf>> {
        let names = self.disk.list(&self.root).map_err(io(format!("listing {}", self.root.display())))?;
        let own = names.iter().filter(|n| n.starts_with("c-") || n.starts_with("h-"));
        Ok(own.map(|n| self.root.join(n)).filter(|p| p.is_dir()).collect())
    }

    /// Gives what was linked below `scratch/shards/<n>` its manifest and its name, among the snapshots of its collection.
    pub fn add(&self, manifest: SnapshotManifest, scratch: &Scratch, cancel: &Cancel) -> Result<Description> {
        let (owner, name) = (manifest.collection.clone(), SafeName::parse(&manifest.name)?);
        self.add_to(&owner, name, Folder::new(scratch.path(), manifest)?.into(), scratch, cancel)
    }

    /// Keeps what was linked into a folder under a name, among the snapshots of `owner`. Nothing is read of a large one.
    pub fn add_to(
        &self,
        owner: &str,
        name: SafeName,
        mut contents: Contents,
        scratch: &Scratch,
        cancel: &Cancel,
    ) -> Result<Description> {
        let mut checksum = None;
        if contents.layout()?.size() <= SMALL_BYTES {
            contents.digest(&*self.disk, cancel)?;
            checksum = Some(contents.checksum(&self.disk, cancel)?);
        }
        contents.write(&*self.disk)?;
        self.keep(owner, &name, scratch.path(), checksum.as_deref())?;
        self.shared.wake.notify_one();
        self.describe(owner, &name)
    }

    /// Moves a folder that is whole and durable to where it is listed.
    fn keep(&self, owner: &str, name: &SafeName, made: &Path, checksum: Option<&str>) -> Result<()> {
        let folder = self.folder(owner);
        let path = folder.join(name.as_str());
        let what = || format!("keeping the snapshot in {}", folder.display());
        self.disk.create_dir_all(&folder).map_err(io(what()))?;
        match checksum {
            Some(checksum) => self.note(&path, checksum)?,
            None => self.forget(&path)?,
        }
        self.disk.rename(made, &path).map_err(io(what()))?;
        self.disk.sync_dir(&folder).map_err(io(what()))
    }

    /// Writes a checksum beside a snapshot; durable when this returns.
    pub(super) fn note(&self, path: &Path, checksum: &str) -> Result<()> {
        self.forget(path)?;
        let note = beside(path);
        let what = || format!("writing {}", note.display());
        let noted = self.disk.create(&note).map_err(io(what()))?;
        noted.write_all_at(checksum.as_bytes(), 0).map_err(io(what()))?;
        noted.sync_data().map_err(io(what()))?;
        self.disk.sync_dir(note.parent().unwrap_or(&self.root)).map_err(io(what()))
    }

    /// Removes the checksum beside a snapshot.
    fn forget(&self, path: &Path) -> Result<()> {
        let note = beside(path);
        if !self.disk.exists(&note) {
            return Ok(());
        }
        let what = || format!("removing {}", note.display());
        self.disk.remove_file(&note).map_err(io(what()))?;
        self.disk.sync_dir(note.parent().unwrap_or(&self.root)).map_err(io(what()))
    }

    /// The checksum beside a snapshot.
    pub(super) fn noted(&self, path: &Path) -> Option<String> {
        self.read_small(&beside(path)).filter(|c| is_digest(c))
    }

    /// Newest last, as their names sort.
    pub fn list(&self, owner: &str) -> Result<Vec<Description>> {
        let folder = self.folder(owner);
        if !self.disk.exists(&folder) {
            return Ok(Vec::new());
        }
        let names = self.disk.list(&folder).map_err(io(format!("listing {}", folder.display())))?;
        let snapshots = names.iter().filter(|n| n.ends_with(".snapshot"));
        let described = |name: SafeName| match self.describe(owner, &name) {
            Ok(described) => Some(described),
            Err(e) => {
                // Deleted in between, or damaged: the others are there all the same.
                tracing::warn!("the snapshot {name} is not listed: {e}");
                None
            }
        };
        Ok(snapshots.filter_map(|n| SafeName::parse(n).ok()).filter_map(described).collect())
    }

    /// A snapshot by its name. An error says `Snapshot x not found`.
    pub fn find(&self, owner: &str, name: &str) -> Result<Kept> {
        let missing = || SnapshotError::NotFound(format!("Snapshot {name} not found"));
        let safe = SafeName::parse(name).map_err(|_| missing())?;
        let path = self.folder(owner).join(safe.as_str());
        if safe.as_str().ends_with(".snapshot") && self.disk.exists(&path) {
            Ok(Kept::at(path))
        } else {
            Err(missing())
        }
    }

    fn describe(&self, owner: &str, name: &SafeName) -> Result<Description> {
        let kept = Kept::at(self.folder(owner).join(name.as_str()));
        let (path, size) = match &kept {
            Kept::Folder(path) => (path, Contents::read(&*self.disk, path)?.layout()?.size()),
            Kept::Archive(path) => {
                (path, self.disk.size(path).map_err(io(format!("looking at {}", path.display())))?)
            }
        };
        let made = made_unix(path).and_then(|t| Timestamp::from_second(i64::try_from(t).ok()?).ok());
        Ok(Description {
            name: name.to_string(),
            creation_time: made.map(|t| t.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
            size,
            checksum: self.noted(path),
        })
    }

    fn read_small(&self, path: &Path) -> Option<String> {
        let file = self.disk.open(path).ok()?;
        let mut bytes = vec![0; usize::try_from(file.size().ok()?.min(1024)).ok()?];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Some(String::from_utf8(bytes).ok()?.trim().to_string())
    }

    /// Unix seconds of the newest snapshot of an owner.
    pub fn newest_unix(&self, owner: &str) -> Option<u64> {
        let names = self.disk.list(&self.folder(owner)).ok()?;
        let folder = self.folder(owner);
        names.iter().filter(|n| n.ends_with(".snapshot")).filter_map(|n| made_unix(&folder.join(n))).max()
    }

    /// Removes a snapshot and its checksum. Whoever downloads it is cut off.
    pub fn delete(&self, owner: &str, name: &str) -> Result<()> {
        match self.find(owner, name)? {
            Kept::Folder(path) => {
                // Renamed first: what is half removed is never listed.
                let scratch = self.scratch()?;
                self.shared.without(&path, || self.take_away(&path, &scratch))
            }
            Kept::Archive(path) => {
                self.disk.remove_file(&path).map_err(io(format!("removing {}", path.display())))?;
                self.forget(&path)
            }
        }?;
        let folder = self.folder(owner);
        self.disk.sync_dir(&folder).map_err(io(format!("syncing {}", folder.display())))
    }

    fn take_away(&self, path: &Path, scratch: &Scratch) -> Result<()> {
        self.forget(path)?;
        let removed = self.disk.rename(path, &scratch.path().join("removed"));
        removed.map_err(io(format!("removing {}", path.display())))
    }

    /// What a `location` of `recover` means: `file://` and below the snapshots folder, nothing else.
    pub fn local(&self, location: &str) -> Result<Kept> {
        let rest = location.strip_prefix("file://").ok_or_else(|| {
            SnapshotError::BadInput(format!("Invalid snapshot URI `{location}`: use file:// or http(s)://"))
        })?;
        let rest = rest.strip_prefix("localhost").unwrap_or(rest);
        if !rest.starts_with('/') {
            return Err(SnapshotError::BadInput(
                "Invalid snapshot URI, file path must be absolute or on localhost".into(),
            ));
        }
        let path = Path::new(rest);
        let root = std::fs::canonicalize(&self.root).map_err(io("finding the snapshots folder"))?;
        let outside = || {
            let text =
                format!("Snapshot file path must be inside the snapshots directory {}", root.display());
            SnapshotError::Forbidden(text)
        };
        // Where it must not look, it doesn't even say what exists.
        if !path.starts_with(&root) && !path.starts_with(&self.root) {
            return Err(outside());
        }
        if let Some(kept) = self.by_collection(path, &root) {
            return Ok(kept);
        }
        // Links are followed before the folders are compared.
        let real = std::fs::canonicalize(path)
            .map_err(|_| SnapshotError::BadInput(format!("Snapshot file \"{rest}\" does not exist")))?;
        let is_snapshot = is_folder(&real) && real.extension().is_some_and(|e| e == "snapshot");
        if !real.starts_with(&root) || !(real.is_file() || is_snapshot) {
            return Err(outside());
        }
        Ok(Kept::at(real))
    }

    /// A snapshot at `<root>/<collection>/<name>`, where the protocol's servers have it: folders have other names here.
    fn by_collection(&self, path: &Path, root: &Path) -> Option<Kept> {
        let below = path.strip_prefix(root).or_else(|_| path.strip_prefix(&self.root)).ok()?;
        let (owner, name) = below.to_str()?.split_once('/')?;
        self.find(owner, name).ok()
    }

    /// Compares a tar with the digest that the client gave, or that lies beside it.
    pub fn check(&self, file: &Path, given: Option<&str>, cancel: &Cancel) -> Result<()> {
        let Some(expected) = given.map(str::to_string).or_else(|| self.read_small(&beside(file))) else {
            return Ok(());
        };
        let actual = file_digest(&*self.disk, file, cancel)?;
        if actual.eq_ignore_ascii_case(&expected) {
            Ok(())
        } else {
            Err(SnapshotError::Checksum { expected, actual })
        }
    }
}

/// Where the checksum of a snapshot is noted.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.checksum"))
}

/// When a snapshot was made, in unix seconds. A folder itself changes once more when its digests are noted, the one of its
/// shards never does.
fn made_unix(path: &Path) -> Option<u64> {
    let meta = std::fs::metadata(path.join("shards")).or_else(|_| std::fs::metadata(path)).ok()?;
    Some(meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Letters, digits, `-` and `_` as they are, everything else as `%XX` of its bytes.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b == b'-' || b == b'_' {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
