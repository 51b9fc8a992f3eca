//! Moving the mutable part into a sealed segment, and with it the place from which the log is needed.
//!
//! The manifest always describes the points exactly as they were after its `applied_seq`: the new segment, and a
//! new generation of deletions for every segment that lost points. Replaying the log from there gives the rest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::bounds::Bounds;
use super::manifest::{DeletedEntry, ManifestEdit, ManifestState, SegmentEntry};
use super::state::Frozen;
use super::{Keeper, Shard};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, FieldSchema};
use crate::error::{Error, Result};
use crate::file::Disk;
use crate::json_path::JsonPath;
use crate::segment::Deleted;
use crate::segment::builder::Build;
use crate::segment::sealed::{SealedSegment, SealedState, write_deleted};

/// A checkpoint that met a change of the vectors starts again so often.
const TRIES: usize = 5;

/// The state of a shard at the moment when a checkpoint begins.
struct Taken {
    frozen: Frozen,
    /// Last operation, and its term.
    at: (u64, u64),
    config: Arc<CollectionConfig>,
    indexes: Arc<BTreeMap<JsonPath, FieldSchema>>,
    sealed: Vec<SealedState>,
    vector_changes: u64,
    bounds: Bounds,
}

impl Shard {
    /// Makes everything that was written part of sealed segments, and drops the log before it.
    pub fn flush(&self) -> Result<()> {
        self.checkpoint(&mut self.keeper.lock()).map(|_| ())
    }

    /// Seals in the writer's time when the mutable part has grown far beyond its size. While somebody else changes
    /// the segments, it may grow on up to a bound.
    pub(super) fn relieve(&self) {
        let limits = &self.options.limits;
        let bytes = self.writer.lock().state.mutable_bytes();
        if bytes < limits.mutable_bytes {
            return;
        }
        let all_waits = bytes >= limits.mutable_bytes_max;
        let keeper = if all_waits { Some(self.keeper.lock()) } else { self.keeper.try_lock() };
        let Some(mut keeper) = keeper else { return };
        if let Err(e) = self.checkpoint(&mut keeper) {
            *self.optimizer_error.lock() = Some(e.to_string());
            self.writer.lock().unsealed = Some(e);
        }
    }

    /// Seals what is in memory now. False if nothing was written since the last time.
    pub(super) fn checkpoint(&self, keeper: &mut Keeper) -> Result<bool> {
        for _ in 0..TRIES {
            if let Some(done) = self.try_checkpoint(keeper)? {
                return Ok(done);
            }
        }
        Err(Error::BadInput("vectors were created or dropped all the time: try again".into()))
    }

    /// `None` if vectors were created or dropped meanwhile.
    fn try_checkpoint(&self, keeper: &mut Keeper) -> Result<Option<bool>> {
        let Some(taken) = self.take(keeper)? else { return Ok(Some(false)) };
        let id = keeper.next_segment_id;
        keeper.next_segment_id += 1;
        // What was built and is not published goes, whatever the reason: on a full disk the next try needs its room.
        let new = self.seal(&taken, id).inspect_err(|_| self.discard(id))?;
        let mut edit = ManifestEdit {
            applied: Some(taken.at),
            next_segment_id: Some(keeper.next_segment_id),
            indexes: Some(taken.indexes.iter().map(|(k, s)| (k.as_str().to_owned(), s.clone())).collect()),
            config: Some((*taken.config).clone()),
            put: new.iter().map(|s| s.segment.entry(None)).collect(),
            bounds: (taken.bounds != keeper.manifest.state().bounds).then_some(taken.bounds),
            ..ManifestEdit::default()
        };
        let noted = self.note_deletions(keeper, &taken.sealed, &mut edit);
        let rewritten = noted.inspect_err(|_| self.discard(id))?;
        let removed = edit.remove.clone();
        let put: Vec<u64> = edit.put.iter().map(|e| e.id).collect();

        let mut writer = self.writer.lock();
        if writer.state.vector_changes != taken.vector_changes {
            drop(writer);
            self.discard(id);
            return Ok(None);
        }
        if let Err(e) = keeper.manifest.publish(edit) {
            let e = self.manifest_failed(&mut writer, e);
            drop(writer);
            if e.is_no_space() {
                self.discard(id);
            }
            // Else nobody knows whether the manifest names the new files, so they stay.
            return Err(e);
        }
        let noted = taken.sealed.iter().chain(&new).map(|s| (s.segment.id, s.deleted.clone()));
        keeper.durable.extend(noted);
        keeper.durable.retain(|id, _| !removed.contains(id));
        writer.sealed_seq = taken.at.0;
        writer.unsealed = None;
        let state = &mut writer.state;
        for noted in &taken.sealed {
            if let Some(s) = state.sealed.iter_mut().find(|s| s.segment.id == noted.segment.id) {
                s.deleted_durable = noted.deleted.count();
            }
        }
        state.replace_chunks(taken.frozen.end, &taken.frozen.sources, new);
        state.sealed.retain(|s| !removed.contains(&s.segment.id));
        for written in rewritten {
            if let Some(s) = state.sealed.iter_mut().find(|s| s.segment.id == written.id) {
                s.segment = Arc::new(s.segment.with_files_of(&written));
            }
        }
        state.forget_indexes();
        self.publish(&mut writer);
        // A file that stays is dropped by a later call; the manifest says where the log is needed from.
        let truncated = writer.wal.truncate_before(taken.at.0 + 1);
        if let Some(why) = writer.wal.poisoned().map(str::to_owned) {
            writer.poisoned.get_or_insert(why);
        }
        drop(writer);
        removed.into_iter().for_each(|id| self.discard(id));
        for entry in keeper.manifest.state().segments.iter().filter(|e| put.contains(&e.id)) {
            sweep(&*self.disk, &self.segments_dir(), entry)?;
        }
        truncated.map(|()| Some(true))
    }

    /// The state to be sealed; `None` if the manifest has it already.
    fn take(&self, keeper: &Keeper) -> Result<Option<Taken>> {
        let mut writer = self.writer.lock();
        if let Some(why) = &writer.poisoned {
            return Err(Error::Poisoned(why.clone()));
        }
        let state = &mut writer.state;
        if state.seq == keeper.manifest.state().applied_seq {
            return Ok(None);
        }
        Ok(Some(Taken {
            frozen: state.freeze()?,
            at: (state.seq, state.term),
            config: state.config.clone(),
            indexes: state.indexes.clone(),
            sealed: state.sealed.clone(),
            vector_changes: state.vector_changes,
            bounds: state.bounds,
        }))
    }

    /// Writes the segment of what was in memory; `None` if that was no point.
    fn seal(&self, taken: &Taken, id: u64) -> Result<Option<SealedState>> {
        let segments = self.segments_dir();
        let build = Build {
            disk: &*self.disk,
            segments: &segments,
            id,
            config: &taken.config,
            indexes: &taken.indexes,
            graphs: false,
            pool: sealing_pool(),
            threads: 1,
            cancel: &Cancel::new(),
        };
        // On a thread of its own: one of a pool would take up other work while it waits, perhaps a write of this
        // shard that waits for us.
        let entry = std::thread::scope(|scope| {
            let building = scope.spawn(|| build.run(&taken.frozen.sources));
            building.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        let Some(entry) = entry else { return Ok(None) };
        let segment = SealedSegment::open(&*self.disk, &segments, &entry, &taken.config)?;
        segment.warm()?;
        Ok(Some(SealedState::published(segment, Deleted::none(entry.points))))
    }

    /// Writes the deletions that are not durable yet, and `meta` files without vectors that were dropped. Segments
    /// without any point left go.
    fn note_deletions(
        &self,
        keeper: &Keeper,
        sealed: &[SealedState],
        edit: &mut ManifestEdit,
    ) -> Result<Vec<SealedSegment>> {
        let mut rewritten = Vec::new();
        for state in sealed {
            let segment = &state.segment;
            if state.deleted.live() == 0 {
                edit.remove.push(segment.id);
                continue;
            }
            let changed = keeper.durable.get(&segment.id) != Some(&state.deleted);
            if !changed && !segment.has_stale_meta() {
                continue;
            }
            let published = keeper.manifest.state().segments.iter().find(|e| e.id == segment.id);
            let mut deleted = published.and_then(|e| e.deleted.clone());
            if changed {
                deleted = Some(self.write_deletions(segment, &state.deleted, deleted.as_ref())?);
            }
            let mut written = (**segment).clone();
            if written.has_stale_meta() {
                written.write_meta(&*self.disk)?;
                rewritten.push(written.clone());
            }
            edit.put.push(written.entry(deleted));
        }
        Ok(rewritten)
    }

    /// The next generation of a segment's deletions.
    pub(super) fn write_deletions(
        &self,
        segment: &SealedSegment,
        deleted: &Deleted,
        before: Option<&DeletedEntry>,
    ) -> Result<DeletedEntry> {
        let generation = before.map_or(1, |d| d.generation + 1);
        let file = write_deleted(&*self.disk, segment.dir(), generation, deleted)?;
        Ok(DeletedEntry { generation, points: deleted.count(), file })
    }

    /// Removes a segment that was built and is not published.
    pub(super) fn discard(&self, id: u64) {
        let dir = self.segments_dir().join(id.to_string());
        if self.disk.exists(&dir) {
            // What stays is removed at the next start.
            let _ = self.disk.remove_dir_all(&dir);
        }
    }
}

/// One thread for all shards: sealing makes codes, which is quick, and no graphs.
fn sealing_pool() -> &'static rayon::ThreadPool {
    static POOL: OnceLock<rayon::ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "seal".into());
        builder.build().expect("a process that can't start one thread can't serve either")
    })
}

/// Removes everything that the manifest does not name. Only before the shard is used: a segment being built isn't
/// named either.
pub fn remove_leftovers(disk: &dyn Disk, segments: &Path, state: &ManifestState) -> Result<()> {
    if !disk.exists(segments) {
        return Err(Error::corrupt("segments", "the folder is missing"));
    }
    for name in disk.list(segments).map_err(Error::io("list the segments"))? {
        match state.segments.iter().find(|e| e.id.to_string() == name) {
            Some(entry) => sweep(disk, segments, entry)?,
            None => {
                let path = segments.join(&name);
                disk.remove_dir_all(&path).map_err(Error::io(format!("remove {}", path.display())))?;
            }
        }
    }
    Ok(())
}

/// Removes the files of a segment that the manifest no longer names. Readers that have them mapped keep them.
pub fn sweep(disk: &dyn Disk, segments: &Path, entry: &SegmentEntry) -> Result<()> {
    let dir = segments.join(entry.id.to_string());
    for name in disk.list(&dir).map_err(Error::io("list a segment"))? {
        let current = entry.files.iter().map(|f| &f.name).chain(entry.deleted.iter().map(|d| &d.file.name));
        if !current.into_iter().any(|f| *f == name) {
            disk.remove_file(&dir.join(&name)).map_err(Error::io(format!("remove {name}")))?;
        }
    }
    Ok(())
}
