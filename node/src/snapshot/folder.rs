//! A snapshot as it is kept: a folder of links to the shards' files, and `manifest.json`, which names them.
//!
//! The manifest is written without digests first, as making them reads every file; they are filled in later. A digest
//! that is not known is 64 zeros, so that the manifest, and with it the tar, has its length from the start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quiver_api::internal::SnapshotManifest;
use quiver_engine::Cancel;
use quiver_engine::file::{Disk, atomic};

use super::archive::{self, MANIFEST, member};
use super::hash::file_digest;
use super::layout::{Layout, regular};
use super::name::SafePath;
use super::{Result, SnapshotError, io};

/// In the place of a digest that nobody has made yet. No file has it.
pub const UNKNOWN_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Together the files can't be longer, so that sums of lengths fit into 64 bits.
const BYTES_MAX: u64 = 1 << 62;

/// A folder and what its manifest says.
pub struct Folder {
    path: PathBuf,
    manifest: SnapshotManifest,
    /// The manifest as the tar has it.
    json: Vec<u8>,
}

impl Folder {
    /// A folder in the making; the manifest's files are linked into it already.
    pub fn new(path: &Path, manifest: SnapshotManifest) -> Result<Self> {
        let json = printed(&manifest)?;
        Ok(Self { path: path.to_path_buf(), manifest, json })
    }

    /// A folder that is kept. Only its manifest is read.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = path.join(MANIFEST);
        if !std::fs::symlink_metadata(&file).is_ok_and(|m| m.is_file()) {
            let text = format!("{} is no snapshot: it has no {MANIFEST}", path.display());
            return Err(SnapshotError::Malformed(text));
        }
        let json = atomic::read(disk, &file)?;
        let manifest = archive::parse_manifest(&json)?;
        archive::check(&manifest, BYTES_MAX)?;
        Ok(Self { path: path.to_path_buf(), manifest, json })
    }

    /// Writes the manifest; durable when this returns.
    pub fn write(&self, disk: &dyn Disk) -> Result<()> {
        Ok(atomic::write(disk, &self.path.join(MANIFEST), &self.json)?)
    }

    /// Whether all digests are known.
    pub fn is_digested(&self) -> bool {
        self.manifest.shards.iter().flat_map(|s| &s.files).all(|f| f.sha256 != UNKNOWN_DIGEST)
    }

    /// The tar of this folder. Its length is right also while digests are missing, its bytes are not.
    pub fn layout(&self) -> Result<Layout> {
        Layout::of(&self.manifest, &self.json, &self.path)
    }

    /// Reads all files for their digests.
    pub fn digest(&mut self, disk: &dyn Disk, cancel: &Cancel) -> Result<()> {
        for shard in &mut self.manifest.shards {
            for file in &mut shard.files {
                cancel.check()?;
                let name = SafePath::parse(&member(shard.shard, file))?;
                regular(&self.path, &name, file.size_bytes)?;
                file.sha256 = file_digest(disk, &name.below(&self.path), cancel)?;
            }
        }
        self.json = printed(&self.manifest)?;
        Ok(())
    }

    /// SHA-256 of the tar; the digests have to be known.
    pub fn checksum(&self, disk: &Arc<dyn Disk>, cancel: &Cancel) -> Result<String> {
        self.layout()?.reader(disk.clone()).digest(cancel)
    }

    /// Links the files into `dir`, which must not exist, and checks there what is known of them; with `given`, also that
    /// their tar has that checksum. This folder is believed no more than an archive is. On an error the caller removes
    /// `dir`.
    pub fn link_into(
        self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        given: Option<&str>,
        cancel: &Cancel,
    ) -> Result<SnapshotManifest> {
        let was_digested = self.is_digested();
        let mut linked = Self { path: dir.to_path_buf(), manifest: self.manifest.clone(), json: self.json };
        for shard in &self.manifest.shards {
            for file in &shard.files {
                cancel.check()?;
                let name = SafePath::parse(&member(shard.shard, file))?;
                regular(&self.path, &name, file.size_bytes)?;
                let to = name.below(dir);
                let what = || format!("linking {}", to.display());
                let folder = to.parent().unwrap_or(dir);
                disk.create_dir_all(folder).map_err(io(what()))?;
                disk.hard_link(&name.below(&self.path), &to).map_err(io(what()))?;
                // Looked at again, as the folder may have changed in between; from here on the link is what is used.
                regular(dir, &name, file.size_bytes)?;
            }
        }
        if was_digested || given.is_some() {
            linked.digest(&**disk, cancel)?;
        }
        if was_digested {
            same_digests(&self.manifest, &linked.manifest)?;
        }
        if let Some(expected) = given {
            let actual = linked.checksum(disk, cancel)?;
            if !actual.eq_ignore_ascii_case(expected) {
                return Err(SnapshotError::Checksum { expected: expected.to_owned(), actual });
            }
        }
        Ok(linked.manifest)
    }
}

fn printed(manifest: &SnapshotManifest) -> Result<Vec<u8>> {
    serde_json::to_vec(manifest).map_err(|e| SnapshotError::BadInput(e.to_string()))
}

fn same_digests(noted: &SnapshotManifest, found: &SnapshotManifest) -> Result<()> {
    let files = |m: &SnapshotManifest| {
        m.shards.iter().flat_map(|s| &s.files).map(|f| f.sha256.clone()).collect::<Vec<_>>()
    };
    match files(noted).into_iter().zip(files(found)).find(|(expected, actual)| expected != actual) {
        Some((expected, actual)) => Err(SnapshotError::Checksum { expected, actual }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
