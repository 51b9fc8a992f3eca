//! What tests of snapshots share: manifests, files, and a disk that is watched.

#![allow(clippy::disallowed_methods)] // Tests lay out files as somebody else would.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use quiver_api::internal::{
    HashRange, SNAPSHOT_FORMAT_VERSION, ShardManifest, SnapshotFile, SnapshotManifest,
};
use quiver_engine::file::{Disk, File, Mapped, RealDisk};
use sha2::{Digest, Sha256};

use super::hash::hex;

/// A manifest of these files, with their digests.
pub fn manifest(files: &[(&str, &[u8])]) -> SnapshotManifest {
    let file = |(name, content): &(&str, &[u8])| SnapshotFile {
        name: (*name).into(),
        sha256: hex(&Sha256::digest(content)),
        size_bytes: content.len() as u64,
    };
    SnapshotManifest {
        format_version: SNAPSHOT_FORMAT_VERSION,
        name: "s".into(),
        collection: "docs".into(),
        collection_uid: String::new(),
        created_at: String::new(),
        schema: serde_json::json!({"vectors": {"size": 4, "distance": "Dot"}}),
        payload_indexes: Vec::new(),
        aliases: Vec::new(),
        shards: vec![ShardManifest {
            shard: 0,
            range: HashRange::ALL,
            term: 0,
            seq: 1,
            points: 1,
            engine_version: String::new(),
            files: files.iter().map(file).collect(),
            uploaded_bytes: 0,
            reused_bytes: 0,
        }],
    }
}

/// Writes the files of shard 0 below `dir`.
pub fn lay_out(dir: &Path, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let path = dir.join("shards/0").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::File::create(&path).and_then(|mut f| f.write_all(content)).expect("written");
    }
}

type Once = Box<dyn FnOnce() + Send>;

/// The real disk. It counts the bytes that are read of shards' files, and can do something at the first such read.
#[derive(Clone, Default)]
pub struct WatchedDisk(Arc<Watched>);

#[derive(Default)]
struct Watched {
    read: AtomicU64,
    first_read: Mutex<Option<Once>>,
}

impl WatchedDisk {
    pub fn bytes_read(&self) -> u64 {
        self.0.read.load(Ordering::SeqCst)
    }

    pub fn at_first_read(&self, then: impl FnOnce() + Send + 'static) {
        *self.0.first_read.lock() = Some(Box::new(then));
    }
}

struct WatchedFile {
    file: Box<dyn File>,
    disk: WatchedDisk,
    counts: bool,
}

impl File for WatchedFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if self.counts {
            self.disk.0.read.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            let then = self.disk.0.first_read.lock().take();
            if let Some(then) = then {
                then();
            }
        }
        self.file.read_exact_at(bytes, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl WatchedDisk {
    fn watched(&self, path: &Path, file: Box<dyn File>) -> Box<dyn File> {
        let counts = path.components().any(|c| c.as_os_str() == "shards");
        Box::new(WatchedFile { file, disk: self.clone(), counts })
    }
}

impl Disk for WatchedDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        RealDisk.size(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.watched(path, RealDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(self.watched(path, RealDisk.open(path)?))
    }

    fn map(&self, path: &Path) -> io::Result<Mapped> {
        let mapped = RealDisk.map(path)?;
        self.0.read.fetch_add(mapped.len() as u64, Ordering::SeqCst);
        Ok(mapped)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.remove_dir_all(dir)
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        RealDisk.space(path)
    }
}
