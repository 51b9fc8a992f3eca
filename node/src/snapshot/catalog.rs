//! The folder of REST snapshots: `<snapshots>/<collection>/<name>.snapshot` and a `.checksum` beside each.
//!
//! A snapshot appears under its name only when it is whole and durable; until then it lies in `tmp`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use jiff::Timestamp;
use quiver_engine::Cancel;
use quiver_engine::file::Disk;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::archive;
use super::hash::{file_digest, is_digest};
use super::name::SafeName;
use super::{Result, SnapshotError, io};
use quiver_api::internal::SnapshotManifest;

/// File systems take names of 255 bytes.
const FOLDER_NAME_BYTES_MAX: usize = 250;

/// A snapshot as REST describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    pub name: String,
    /// `2026-11-24T11:33:19`.
    pub creation_time: Option<String>,
    pub size: u64,
    /// SHA-256 of the file.
    pub checksum: Option<String>,
}

/// The snapshots of all collections on this node.
#[derive(Clone)]
pub struct Catalog {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

/// A folder that is removed when it is done with.
pub struct Scratch {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Scratch {
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
        Ok(Self { disk, root })
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

    /// A collection's own folder. Names of collections may have any letter, so it is the name, escaped; the digest of
    /// a name that would be longer than a file system allows.
    fn folder(&self, collection: &str) -> PathBuf {
        let escaped = escaped(collection);
        if escaped.len() > FOLDER_NAME_BYTES_MAX {
            let digest = Sha256::digest(collection).iter().map(|b| format!("{b:02x}")).collect::<String>();
            return self.root.join(format!("h-{digest}"));
        }
        self.root.join(format!("c-{escaped}"))
    }

    /// Packs what was linked below `scratch/shards/<n>` and gives it its name.
    pub fn add(
        &self,
        manifest: &SnapshotManifest,
        scratch: &Scratch,
        cancel: &Cancel,
    ) -> Result<Description> {
        let name = SafeName::parse(&manifest.name)?;
        let packed = scratch.path().join("packed");
        let (checksum, size) = archive::pack(&*self.disk, manifest, scratch.path(), &packed, cancel)?;
        self.keep(&manifest.collection, &name, &packed, &checksum)?;
        self.describe(&manifest.collection, &name).map(|d| Description { size, ..d })
    }

    /// Moves a file that is whole and durable to where it is listed.
    fn keep(&self, collection: &str, name: &SafeName, file: &Path, checksum: &str) -> Result<()> {
        let folder = self.folder(collection);
        let what = || format!("keeping the snapshot in {}", folder.display());
        self.disk.create_dir_all(&folder).map_err(io(what()))?;
        let note = folder.join(format!("{name}.checksum"));
        if self.disk.exists(&note) {
            self.disk.remove_file(&note).map_err(io(what()))?;
        }
        let noted = self.disk.create(&note).map_err(io(what()))?;
        noted.write_all_at(checksum.as_bytes(), 0).map_err(io(what()))?;
        noted.sync_data().map_err(io(what()))?;
        self.disk.rename(file, &folder.join(name.as_str())).map_err(io(what()))?;
        self.disk.sync_dir(&folder).map_err(io(what()))
    }

    /// Newest last, as their names sort.
    pub fn list(&self, collection: &str) -> Result<Vec<Description>> {
        let folder = self.folder(collection);
        if !self.disk.exists(&folder) {
            return Ok(Vec::new());
        }
        let names = self.disk.list(&folder).map_err(io(format!("listing {}", folder.display())))?;
        let snapshots = names.iter().filter(|n| n.ends_with(".snapshot"));
        snapshots.filter_map(|n| SafeName::parse(n).ok()).map(|n| self.describe(collection, &n)).collect()
    }

    /// The file of a snapshot. An error says `Snapshot x not found`.
    pub fn path(&self, collection: &str, name: &str) -> Result<PathBuf> {
        let missing = || SnapshotError::NotFound(format!("Snapshot {name} not found"));
        let safe = SafeName::parse(name).map_err(|_| missing())?;
        let path = self.folder(collection).join(safe.as_str());
        if safe.as_str().ends_with(".snapshot") && self.disk.exists(&path) {
            Ok(path)
        } else {
            Err(missing())
        }
    }

    fn describe(&self, collection: &str, name: &SafeName) -> Result<Description> {
        let path = self.folder(collection).join(name.as_str());
        let meta = std::fs::metadata(&path).map_err(io(format!("looking at {}", path.display())))?;
        let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let modified = modified.and_then(|t| Timestamp::from_second(i64::try_from(t.as_secs()).ok()?).ok());
        let note = path.with_file_name(format!("{name}.checksum"));
        Ok(Description {
            name: name.to_string(),
            creation_time: modified.map(|t| t.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
            size: meta.len(),
            checksum: self.read_small(&note).filter(|c| is_digest(c)),
        })
    }

    fn read_small(&self, path: &Path) -> Option<String> {
        let file = self.disk.open(path).ok()?;
        let mut bytes = vec![0; usize::try_from(file.size().ok()?.min(1024)).ok()?];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Some(String::from_utf8(bytes).ok()?.trim().to_string())
    }

    /// Unix seconds of the newest snapshot of a collection.
    pub fn newest_unix(&self, collection: &str) -> Option<u64> {
        let names = self.disk.list(&self.folder(collection)).ok()?;
        let ages = names.iter().filter(|n| n.ends_with(".snapshot")).filter_map(|n| {
            let modified = std::fs::metadata(self.folder(collection).join(n)).ok()?.modified().ok()?;
            Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
        });
        ages.max()
    }

    /// Removes a snapshot and its checksum.
    pub fn delete(&self, collection: &str, name: &str) -> Result<()> {
        let path = self.path(collection, name)?;
        let what = || format!("removing {}", path.display());
        self.disk.remove_file(&path).map_err(io(what()))?;
        let note = path.with_file_name(format!("{name}.checksum"));
        if self.disk.exists(&note) {
            self.disk.remove_file(&note).map_err(io(what()))?;
        }
        self.disk.sync_dir(&self.folder(collection)).map_err(io(what()))
    }

    /// The file that a `location` of `recover` means: `file://` and below the snapshots folder, nothing else.
    pub fn local(&self, location: &str) -> Result<PathBuf> {
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
        // Links are followed before the folders are compared.
        let real = std::fs::canonicalize(path)
            .map_err(|_| SnapshotError::BadInput(format!("Snapshot file \"{rest}\" does not exist")))?;
        if !real.starts_with(&root) || !real.is_file() {
            return Err(outside());
        }
        Ok(real)
    }

    /// Compares a file with the digest that the client gave, or that lies beside it.
    pub fn check(&self, file: &Path, given: Option<&str>, cancel: &Cancel) -> Result<()> {
        let beside =
            file.file_name().map(|n| file.with_file_name(format!("{}.checksum", n.to_string_lossy())));
        let Some(expected) = given.map(str::to_string).or_else(|| self.read_small(&beside?)) else {
            return Ok(());
        };
        let actual = file_digest(&*self.disk, file, cancel)?;
        if actual == expected { Ok(()) } else { Err(SnapshotError::Checksum { expected, actual }) }
    }
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
#[allow(clippy::disallowed_methods)] // Tests lay out files as somebody else would.
mod tests {
    use quiver_engine::file::RealDisk;
    use serde_json::json;

    use super::*;

    fn catalog() -> (Catalog, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = Catalog::open(Arc::new(RealDisk), folder.path().join("snapshots")).expect("opened");
        (catalog, folder)
    }

    fn manifest(collection: &str, name: &str) -> SnapshotManifest {
        SnapshotManifest {
            format_version: 1,
            name: name.into(),
            collection: collection.into(),
            collection_uid: String::new(),
            created_at: String::new(),
            schema: json!({}),
            payload_indexes: Vec::new(),
            aliases: Vec::new(),
            shards: Vec::new(),
        }
    }

    #[test]
    fn a_snapshot_is_listed_found_checked_and_removed() {
        let (catalog, _folder) = catalog();
        let scratch = catalog.scratch().expect("a scratch folder");
        let made = catalog.add(&manifest("dé/../x", "a.snapshot"), &scratch, &Cancel::new()).expect("made");
        drop(scratch);
        assert_eq!(catalog.list("dé/../x").expect("listed"), vec![made.clone()]);
        assert_eq!(catalog.list("other").expect("listed"), vec![]);
        let path = catalog.path("dé/../x", "a.snapshot").expect("found");
        catalog.check(&path, made.checksum.as_deref(), &Cancel::new()).expect("right");
        catalog.check(&path, Some(&"0".repeat(64)), &Cancel::new()).expect_err("wrong");
        assert!(catalog.newest_unix("dé/../x").is_some());
        catalog.delete("dé/../x", "a.snapshot").expect("removed");
        assert_eq!(catalog.list("dé/../x").expect("listed"), vec![]);
        assert!(catalog.path("dé/../x", "../../a").is_err());
    }

    #[test]
    fn names_may_be_as_long_as_collections_allow() {
        let (catalog, _folder) = catalog();
        for name in ["x".repeat(255), "ä".repeat(127)] {
            let scratch = catalog.scratch().expect("a scratch folder");
            let made = catalog.add(&manifest(&name, "a.snapshot"), &scratch, &Cancel::new()).expect("made");
            assert_eq!(catalog.list(&name).expect("listed"), vec![made]);
            assert_eq!(catalog.list(&name[2..]).expect("listed"), vec![]);
        }
    }

    #[test]
    fn recovery_reads_nothing_outside_the_snapshots_folder() {
        let (catalog, folder) = catalog();
        let outside = folder.path().join("outside");
        std::fs::File::create(&outside).expect("made");
        let inside = catalog.root().join("inside.snapshot");
        std::fs::File::create(&inside).expect("made");
        std::os::unix::fs::symlink(&outside, catalog.root().join("link")).expect("linked");
        let refused = |location: String| catalog.local(&location).expect_err("refused").to_string();
        assert!(catalog.local(&format!("file://{}", inside.display())).is_ok());
        assert!(catalog.local(&format!("file://localhost{}", inside.display())).is_ok());
        assert!(refused(format!("file://{}", outside.display())).contains("must be inside"));
        assert!(refused(format!("file://{}/link", catalog.root().display())).contains("must be inside"));
        assert!(
            refused(format!("file://{}/../outside", catalog.root().display())).contains("must be inside")
        );
        assert!(refused("file://host/etc/passwd".into()).contains("absolute or on localhost"));
        assert!(refused("file:///nowhere".into()).contains("must be inside"));
        assert!(refused(format!("file://{}/none", catalog.root().display())).contains("does not exist"));
        assert!(refused("ftp://x".into()).contains("Invalid snapshot URI"));
    }
}
