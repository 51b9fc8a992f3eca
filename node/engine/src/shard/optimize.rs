//! Doing what [`super::optimizer`] plans, while reads and writes go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::manifest::{DeletedEntry, ManifestEdit, SegmentEntry};
use super::optimizer::{Facts, SegmentFacts, Task, plan};
use super::state::carry_deletions;
use super::{GraphThreads, Keeper, Shard, Writer};
use crate::cancel::Cancel;
use crate::config::{CollectionConfig, FieldSchema};
use crate::error::{Error, Result};
use crate::file::FileEntry;
use crate::filter::PointSource;
use crate::json_path::JsonPath;
use crate::operation::Applied;
use crate::segment::Deleted;
use crate::segment::builder::{Build, Source};
use crate::segment::sealed::{SealedSegment, SealedState};

/// Operations since the last look, up to which the load is calm.
const CALM_POINTS: u64 = 250;

/// What the optimizer remembers from one call to the next.
#[derive(Default)]
pub struct Optimizer {
    /// Points that had been written when it looked last.
    written: u64,
}

/// A segment that is rewritten, and its deletions as the manifest had them when that began.
type Sources = (Arc<SealedSegment>, Deleted);

/// What a new segment is built for.
struct Taken {
    config: Arc<CollectionConfig>,
    indexes: Arc<BTreeMap<JsonPath, FieldSchema>>,
    vector_changes: u64,
}

impl Shard {
    /// [`Self::optimize_within`] for a shard that shares its threads with no other.
    pub fn optimize(&self, pool: &rayon::ThreadPool, cancel: &Cancel) -> Result<bool> {
        self.optimize_within(pool, &GraphThreads::default(), cancel)
    }

    /// Does the optimizer's work until there is none: seals, indexes, merges, vacuums. False if there was
    /// nothing to do. Call it every second or so; a second call while one runs gives false. Segments are merged and
    /// small remainders sealed by the first call that finds hardly any write since the last one. Graphs are built by
    /// threads of the pool, by no more in all shards that share `threads` than `max_optimization_threads` says.
    pub fn optimize_within(
        &self,
        pool: &rayon::ThreadPool,
        threads: &GraphThreads,
        cancel: &Cancel,
    ) -> Result<bool> {
        let Some(mut optimizer) = self.optimizer.try_lock() else { return Ok(false) };
        let written = self.writer.lock().state.written;
        let calm = written - std::mem::replace(&mut optimizer.written, written) <= CALM_POINTS;
        let result = self.optimize_now(calm, pool, threads, cancel);
        if let Err(e) = &result {
            self.damage.note(e);
        }
        let error = match &result {
            Err(e) if !matches!(e, Error::Cancelled) => Some(e.to_string()),
            _ => None,
        };
        *self.optimizer_error.lock() = error;
        result
    }

    /// Whether the optimizer would find nothing to do, however calm it is.
    pub fn is_settled(&self) -> bool {
        let (facts, config) = self.facts();
        plan(&facts, &config.optimizers, true).is_none()
    }

    fn optimize_now(
        &self,
        calm: bool,
        pool: &rayon::ThreadPool,
        threads: &GraphThreads,
        cancel: &Cancel,
    ) -> Result<bool> {
        let mut worked = false;
        loop {
            cancel.check()?;
            let (facts, config) = self.facts();
            let Some(task) = plan(&facts, &config.optimizers, calm) else {
                self.whole().sealed().iter().try_for_each(|s| s.segment.warm())?;
                // Nothing is under way: damage to the log is told from a torn tail from now on.
                return self.mark_idle().map(|()| worked);
            };
            let done = match task {
                Task::Seal => self.checkpoint(&mut self.keeper.lock())?,
                Task::Index => self.build_indexes(&mut self.keeper.lock()).map(|()| true)?,
                Task::Rewrite(ids) => {
                    let limit = config.optimizers.max_optimization_threads.unwrap_or(usize::MAX);
                    // Others of the collection have all of them: again later.
                    let Some(taken) = threads.take(pool.current_num_threads(), limit) else {
                        return Ok(worked);
                    };
                    self.rewrite(&ids, pool, taken.count(), cancel)?
                }
            };
            if !done {
                return Ok(worked);
            }
            worked = true;
        }
    }

    /// What the plan is made from.
    pub(super) fn facts(&self) -> (Facts, Arc<CollectionConfig>) {
        let writer = self.writer.lock();
        let state = &writer.state;
        let segment = |s: &SealedState| SegmentFacts {
            id: s.segment.id,
            points: s.segment.len(),
            deleted: s.deleted.count(),
            deleted_durable: s.deleted_durable,
            bytes: s.segment.vector_bytes(),
            outdated: s.segment.is_outdated(&state.config),
            lacks_graph: s.segment.lacks_graph(&state.config),
            lacks_index: lacks_index(s, &state.indexes),
        };
        let facts = Facts {
            mutable_points: state.mutable_points(),
            mutable_bytes: state.mutable_bytes(),
            deferred: state.deferral.hidden(),
            unsealed_operations: state.seq - writer.sealed_seq,
            segments: state.sealed.iter().map(segment).collect(),
        };
        (facts, state.config.clone())
    }

    /// Writes one segment from the live points of several and puts it in their place. False if something came
    /// between: the plan is then made anew later.
    fn rewrite(
        &self,
        ids: &[u64],
        pool: &rayon::ThreadPool,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<bool> {
        let Some((id, sources, taken)) = self.take_sources(ids) else { return Ok(false) };
        self.check_room(&sources)?;
        let segments = self.segments_dir();
        let build = Build {
            disk: &*self.disk,
            segments: &segments,
            id,
            config: &taken.config,
            indexes: &taken.indexes,
            graphs: true,
            pool,
            threads,
            cancel,
        };
        let parts: Vec<Source> = sources.iter().map(|(s, d)| Source::Sealed(s.clone(), d.clone())).collect();
        let entry = build.run(&parts)?;
        drop(parts);
        let open = |entry: &SegmentEntry| {
            let segment = SealedSegment::open(&*self.disk, &segments, entry, &taken.config)?;
            segment.warm().map(|()| segment)
        };
        let new = entry.as_ref().map(open).transpose().inspect_err(|_| self.discard(id))?;
        let replaced = self.replace(&sources, new, &taken);
        match replaced {
            Ok(true) => sources.iter().for_each(|(s, _)| self.discard(s.id)),
            // Nobody knows whether the manifest names it now.
            Err(Error::Poisoned(_)) => {}
            _ => self.discard(id),
        }
        replaced
    }

    /// The segments to be rewritten, and a number for the new one; `None` if one of them is gone.
    fn take_sources(&self, ids: &[u64]) -> Option<(u64, Vec<Sources>, Taken)> {
        let mut keeper = self.keeper.lock();
        let writer = self.writer.lock();
        // As the manifest has them: what was deleted since is carried over when the new segment takes their place.
        let source = |s: &SealedState| {
            let deleted = keeper.durable.get(&s.segment.id)?.clone();
            ids.contains(&s.segment.id).then(|| (s.segment.clone(), deleted))
        };
        let state = &writer.state;
        let sources: Vec<Sources> = state.sealed.iter().filter_map(source).collect();
        if sources.len() != ids.len() {
            return None;
        }
        let id = keeper.next_segment_id;
        keeper.next_segment_id += 1;
        let (config, indexes) = (state.config.clone(), state.indexes.clone());
        Some((id, sources, Taken { config, indexes, vector_changes: state.vector_changes }))
    }

    /// Refuses a rewriting that is sure to fill the volume before it ends: until then writes would find no room, and
    /// it would begin again with every look. Payloads are left out, because nobody knows those of which points are
    /// the large ones; what fits is never refused.
    fn check_room(&self, sources: &[Sources]) -> Result<()> {
        // What can't be measured is tried.
        let Ok((free, _)) = self.disk.space(&self.dir) else { return Ok(()) };
        let kept = |(segment, deleted): &Sources| {
            let meta = segment.meta();
            let dense = || meta.dense().map(|(_, v)| &v.prefix);
            let sparse = || meta.sparse.values().map(|v| &v.prefix);
            let rows = |f: &&FileEntry| match f.name.split_once('.') {
                Some((prefix, "raw" | "codes" | "multi")) => dense().any(|p| p == prefix),
                Some((prefix, "rows" | "postings")) => sparse().any(|p| p == prefix),
                _ => f.name == "ids" || f.name == "versions",
            };
            let bytes: u64 = segment.files().iter().filter(rows).map(|f| f.size_bytes).sum();
            let live = u128::from(bytes) * u128::from(deleted.live()) / u128::from(deleted.len().max(1));
            u64::try_from(live).unwrap_or(u64::MAX)
        };
        let needed = sources.iter().map(kept).fold(0u64, u64::saturating_add);
        if free < needed {
            return Err(Error::NoSpace(format!(
                "segments can't be merged, indexed or freed of deleted points: that needs {} MiB more than are free",
                (needed - free).div_ceil(1 << 20)
            )));
        }
        Ok(())
    }

    /// Puts a new segment in the place of its sources.
    fn replace(&self, sources: &[Sources], new: Option<SealedSegment>, taken: &Taken) -> Result<bool> {
        let mut keeper = self.keeper.lock();
        if sources.iter().any(|(s, _)| !keeper.durable.contains_key(&s.id)) {
            return Ok(false);
        }
        let mut new = new.map(|segment| {
            let deleted = Deleted::none(segment.len());
            SealedState::published(segment, deleted)
        });
        let mut deletions: Option<DeletedEntry> = None;
        if let Some(new) = &mut new {
            // What checkpoints noted since the build began.
            for (segment, before) in sources {
                carry_deletions(segment, &keeper.durable[&segment.id], before, new);
            }
            new.deleted_durable = new.deleted.count();
            if new.deleted_durable > 0 {
                deletions = Some(self.write_deletions(&new.segment, &new.deleted, None)?);
            }
        }
        let durable = new.as_ref().map(|n| (n.segment.id, n.deleted.clone()));
        let removed: Vec<u64> = sources.iter().map(|(s, _)| s.id).collect();
        let mut writer = self.complete(&mut new)?;
        let state = &mut writer.state;
        if state.vector_changes != taken.vector_changes {
            return Ok(false);
        }
        if let Some(new) = new.as_mut().filter(|_| !Arc::ptr_eq(&state.config, &taken.config)) {
            new.segment = Arc::new(new.segment.reopen(&*self.disk, &state.config)?);
        }
        let edit = ManifestEdit {
            put: new.iter().map(|n| n.segment.entry(deletions.clone())).collect(),
            remove: removed.clone(),
            next_segment_id: Some(keeper.next_segment_id),
            ..ManifestEdit::default()
        };
        if let Err(e) = keeper.manifest.publish(edit) {
            return Err(self.manifest_failed(&mut writer, e));
        }
        keeper.durable.retain(|id, _| !removed.contains(id));
        keeper.durable.extend(durable);
        if let Some(new) = &mut new {
            // And what is in the log only.
            for (segment, before) in sources {
                let now = writer.state.sealed.iter().find(|s| s.segment.id == segment.id);
                let now = now.expect("segments come and go under the keeper's lock");
                carry_deletions(segment, &now.deleted, before, new);
            }
        }
        writer.state.sealed.retain(|s| !removed.contains(&s.segment.id));
        writer.state.sealed.extend(new);
        writer.state.forget_indexes();
        self.publish(&mut writer);
        Ok(true)
    }

    /// The writer, once the segment has every index that the shard has; some may have been created while it was built.
    fn complete(&self, new: &mut Option<SealedState>) -> Result<MutexGuard<'_, Writer>> {
        loop {
            let writer = self.writer.lock();
            let wanted = writer.state.indexes.clone();
            let Some(new) = new.as_mut().filter(|new| lacks_index(new, &wanted)) else { return Ok(writer) };
            drop(writer);
            new.segment = Arc::new(new.segment.add_indexes(&*self.disk, &wanted)?);
        }
    }

    /// Builds the indexes that writers wait for, and tells them.
    pub(super) fn settle_indexes(&self) {
        if self.index_waiters.load(Ordering::Acquire) == 0 {
            return;
        }
        let (built, waiters) = {
            let mut keeper = self.keeper.lock();
            loop {
                let built = self.build_indexes(&mut keeper);
                let mut writer = self.writer.lock();
                // One more may have been created since.
                if built.is_err()
                    || writer.state.sealed.iter().all(|s| !lacks_index(s, &writer.state.indexes))
                {
                    self.index_waiters.store(0, Ordering::Release);
                    break (built, std::mem::take(&mut writer.index_waiters));
                }
            }
        };
        for (_, _, seq, done) in waiters {
            done(match &built {
                Ok(()) => Ok(Applied { seq }),
                Err(e) if e.is_no_space() => Err(Error::NoSpace(format!("the index is not built yet: {e}"))),
                Err(e) => Err(Error::Poisoned(format!("the index could not be built: {e}"))),
            });
        }
    }

    /// Builds what segments lack, until none lacks an index.
    fn build_indexes(&self, keeper: &mut Keeper) -> Result<()> {
        loop {
            let (segment, wanted) = {
                let writer = self.writer.lock();
                let wanted = writer.state.indexes.clone();
                let mut sealed = writer.state.sealed.iter();
                let Some(state) = sealed.find(|s| lacks_index(s, &wanted)) else { return Ok(()) };
                (state.segment.clone(), wanted)
            };
            let built = segment.add_indexes(&*self.disk, &wanted)?;
            let published = keeper.manifest.state().segments.iter().find(|e| e.id == segment.id);
            let deleted = published.and_then(|e| e.deleted.clone());
            let entry = built.entry(deleted);
            let edit = ManifestEdit { put: vec![entry.clone()], ..ManifestEdit::default() };
            let mut writer = self.writer.lock();
            if let Err(e) = keeper.manifest.publish(edit) {
                return Err(self.manifest_failed(&mut writer, e));
            }
            let state = writer.state.sealed.iter_mut().find(|s| s.segment.id == segment.id);
            let state = state.expect("segments come and go under the keeper's lock");
            state.segment = Arc::new(state.segment.with_files_of(&built));
            writer.state.forget_indexes();
            self.publish(&mut writer);
            drop(writer);
            super::checkpoint::sweep(&*self.disk, &self.segments_dir(), &entry)?;
        }
    }
}

fn lacks_index(state: &SealedState, wanted: &BTreeMap<JsonPath, FieldSchema>) -> bool {
    wanted.iter().any(|(key, schema)| !state.segment.has_index(key, schema))
}
