//! Snapshots: every file of a shard linked into another folder, and a shard made of such a folder.
//!
//! A snapshot holds what was written before it began, and no log: the mutable part is sealed first. All its files are
//! immutable, so a link is a copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::{ManifestState, SegmentEntry};
use super::{Bounds, SEGMENTS, Shard, ShardOptions};
use crate::error::{Error, Result};
use crate::file::{Disk, FileEntry, SealedFile, atomic};
use crate::operation::LogOp;
use crate::operation_codec;
use crate::wal::Record;

const STATE_FILE: &str = "snapshot.json";
const VERSION: u32 = 1;
/// Bytes copied at once where a link is not possible.
const COPY_BYTES: usize = 1 << 20;

/// The files of a snapshot, all in one folder tree.
#[derive(Clone, Debug)]
pub struct SnapshotFiles {
    /// Relative to the snapshot's folder, with `/`; all of them immutable.
    pub files: Vec<PathBuf>,
    /// The last operation that is in it.
    pub seq: u64,
    pub term: u64,
    pub points: u64,
}

/// What `snapshot.json` says.
#[derive(Serialize, Deserialize)]
struct SnapshotState {
    version: u32,
    state: ManifestState,
}

impl Shard {
    /// Flushes, then links every file of the shard into a folder that does not exist yet.
    pub fn snapshot_to(&self, dir: &Path) -> Result<SnapshotFiles> {
        if self.disk.exists(dir) {
            return Err(Error::BadInput(format!("{} exists already", dir.display())));
        }
        // Held until the end, so that no file is removed meanwhile.
        let mut keeper = self.keeper.lock();
        self.checkpoint(&mut keeper)?;
        let state = keeper.manifest.state().clone();
        let disk = &*self.disk;
        let segments = dir.join(SEGMENTS);
        disk.create_dir_all(&segments).map_err(Error::io("create the snapshot's folder"))?;
        let mut files = Vec::new();
        for entry in &state.segments {
            let from = self.segments_dir().join(entry.id.to_string());
            let to = segments.join(entry.id.to_string());
            disk.create_dir_all(&to).map_err(Error::io("create a folder of the snapshot"))?;
            for file in files_of(entry) {
                link(disk, &from.join(&file.name), &to.join(&file.name))?;
                files.push(PathBuf::from(format!("{SEGMENTS}/{}/{}", entry.id, file.name)));
            }
            disk.sync_dir(&to).map_err(Error::io("sync a folder of the snapshot"))?;
        }
        disk.sync_dir(&segments).map_err(Error::io("sync the snapshot's folder"))?;
        let deleted = |e: &SegmentEntry| e.deleted.as_ref().map_or(0, |d| d.points);
        let points = state.segments.iter().map(|e| u64::from(e.points.saturating_sub(deleted(e)))).sum();
        let (seq, term) = (state.applied_seq, state.applied_term);
        // Last: a folder with it is whole.
        atomic::write_json(disk, &dir.join(STATE_FILE), &SnapshotState { version: VERSION, state })?;
        files.push(PathBuf::from(STATE_FILE));
        Ok(SnapshotFiles { files, seq, term, points })
    }

    /// Verifies a snapshot made by [`Self::snapshot_to`] and makes a shard of it in `dir`, as `options` names it.
    /// Files are linked where both folders are on one volume, else copied.
    pub fn restore_from(
        disk: Arc<dyn Disk>,
        snapshot: &Path,
        dir: &Path,
        options: ShardOptions,
    ) -> Result<Self> {
        let mut state = verified(&*disk, snapshot)?;
        // Whose shard it was, and what that was about to give away, is over.
        state.bounds = Bounds::default();
        Self::of_links(disk, snapshot, dir, options, state, None)
    }

    /// The same for another copy of the shard that the snapshot is of: it goes on where that one was.
    pub fn install_from(
        disk: Arc<dyn Disk>,
        snapshot: &Path,
        dir: &Path,
        options: ShardOptions,
    ) -> Result<Self> {
        let state = verified(&*disk, snapshot)?;
        Self::of_links(disk, snapshot, dir, options, state, None)
    }

    /// Makes the shard that gets what a shard has frozen, of a snapshot that was taken since. Its log begins with the entry
    /// that keeps only that, at the place where it was frozen; so the shards that several copies make, each of its own
    /// snapshot, are copies of each other once that is applied. Files aren't verified: they are this disk's own.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the snapshot has nothing frozen, or other hashes than `options` say.
    pub fn fork_from(
        disk: Arc<dyn Disk>,
        snapshot: &Path,
        dir: &Path,
        options: ShardOptions,
    ) -> Result<Self> {
        let mut state = read(&*disk, snapshot)?;
        let Some(frozen) = state.bounds.frozen.filter(|f| options.range == Some(f.give)) else {
            return Err(Error::BadInput(
                "the snapshot is of a shard that gives nothing, or something else".into(),
            ));
        };
        state.bounds = Bounds::default();
        (state.applied_seq, state.applied_term) = (frozen.seq.saturating_sub(1), frozen.term);
        let (kind, body) = operation_codec::encode(&LogOp::Keep(frozen.give));
        let first = Record { seq: frozen.seq, term: frozen.term, kind, body };
        Self::of_links(disk, snapshot, dir, options, state, Some(first))
    }

    /// Links the files of a snapshot and makes a shard of them in this state.
    fn of_links(
        disk: Arc<dyn Disk>,
        snapshot: &Path,
        dir: &Path,
        options: ShardOptions,
        mut state: ManifestState,
        first: Option<Record>,
    ) -> Result<Self> {
        let segments = dir.join(SEGMENTS);
        if disk.exists(&segments) {
            if super::Manifest::exists(&*disk, dir) {
                return Err(Error::BadInput(format!("{} already holds a shard", dir.display())));
            }
            disk.remove_dir_all(&segments).map_err(Error::io("remove an unfinished restore"))?;
        }
        disk.create_dir_all(&segments).map_err(Error::io("create the folder of segments"))?;
        for entry in &state.segments {
            let from = snapshot.join(SEGMENTS).join(entry.id.to_string());
            let to = segments.join(entry.id.to_string());
            disk.create_dir_all(&to).map_err(Error::io("create a segment's folder"))?;
            for file in files_of(entry) {
                link(&*disk, &from.join(&file.name), &to.join(&file.name))?;
            }
            disk.sync_dir(&to).map_err(Error::io("sync a segment's folder"))?;
        }
        disk.sync_dir(&segments).map_err(Error::io("sync the folder of segments"))?;
        state.identity = options.identity;
        state.term = state.term.max(1);
        Self::start(disk, dir, options, state, first)
    }
}

/// All files of a segment.
pub(super) fn files_of(entry: &SegmentEntry) -> impl Iterator<Item = &FileEntry> {
    entry.files.iter().chain(entry.deleted.iter().map(|d| &d.file))
}

/// What a snapshot says of itself.
fn read(disk: &dyn Disk, snapshot: &Path) -> Result<ManifestState> {
    let SnapshotState { version, state } = atomic::read_json(disk, &snapshot.join(STATE_FILE))?;
    if version > VERSION {
        return Err(Error::BadInput(format!(
            "the snapshot has format {version}, this version reads up to {VERSION}: restore it with a newer one"
        )));
    }
    Ok(state)
}

/// The same, after a look at all of its files.
fn verified(disk: &dyn Disk, snapshot: &Path) -> Result<ManifestState> {
    let state = read(disk, snapshot)?;
    state.segments.iter().try_for_each(|entry| verify(disk, &snapshot.join(SEGMENTS), entry))?;
    Ok(state)
}

/// Checks every byte of a segment's files, and that their names stay inside their folder.
fn verify(disk: &dyn Disk, segments: &Path, entry: &SegmentEntry) -> Result<()> {
    let dir = segments.join(entry.id.to_string());
    for file in files_of(entry) {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if file.name.is_empty() || file.name.starts_with('.') || !file.name.bytes().all(safe) {
            return Err(Error::corrupt(STATE_FILE, format!("`{}` can't be a file's name", file.name)));
        }
        SealedFile::open_any(disk, &dir, file)?.verify_all()?;
    }
    Ok(())
}

/// A link, or a durable copy where the two places are on different volumes.
fn link(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    let Err(e) = disk.hard_link(from, to) else { return Ok(()) };
    if e.kind() != std::io::ErrorKind::CrossesDevices && e.kind() != std::io::ErrorKind::Unsupported {
        return Err(Error::io(format!("link {}", to.display()))(e));
    }
    let what = || format!("copy to {}", to.display());
    let bytes = disk.map(from).map_err(Error::io(what()))?;
    let file = disk.create(to).map_err(Error::io(what()))?;
    for (i, part) in bytes.chunks(COPY_BYTES).enumerate() {
        file.write_all_at(part, (i * COPY_BYTES) as u64).map_err(Error::io(what()))?;
    }
    file.sync_data().map_err(Error::io(what()))
}
