//! A shard: one log, one set of segments.
//!
//! [`write`] logs, commits, applies and publishes; [`read`] answers from what was published last, without a lock;
//! [`optimizer`] decides what is sealed, merged and indexed, [`optimize`] and [`checkpoint`] do it. The manifest says which
//! segments there are and up to which operation the log is in them: state on disk = manifest + log behind it.
//!
//! Locks, always taken in this order: `keeper` (who changes the manifest), `writer` (who changes the points).
//! Readers take none.

mod bounds;
#[cfg(test)]
mod bounds_tests;
mod checkpoint;
mod cost;
#[cfg(test)]
mod crash_tests;
mod defer;
#[cfg(test)]
mod defer_tests;
mod facet;
#[cfg(test)]
mod field_tests;
mod limits;
pub mod manifest;
mod multi;
#[cfg(test)]
mod multi_index_tests;
#[cfg(test)]
mod multi_tests;
mod needs;
mod optimize;
mod optimizer;
mod order;
mod outlook;
mod part;
#[cfg(test)]
mod quantization_tests;
#[cfg(test)]
mod query_tests;
mod queue;
mod read;
pub mod replicated;
#[cfg(test)]
mod replicated_tests;
mod scrub;
mod search;
mod snapshot;
mod sparse;
#[cfg(test)]
mod sparse_tests;
#[cfg(test)]
mod split_tests;
mod state;
mod stats;
mod steps;
#[cfg(test)]
mod tenant_tests;
#[cfg(test)]
mod tests;
mod threads;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

pub use bounds::{Bounds, Frozen, Hashes};
pub use facet::Facets;
pub use limits::ShardLimits;
pub use order::{Ordered, draw};
pub use outlook::{Outlook, SegmentPoints, Step};
pub use read::View;
pub use snapshot::SnapshotFiles;
pub use sparse::SparseCounts;
pub use stats::{SegmentStats, ShardStats, ShardStatus};
pub use threads::GraphThreads;

use crate::config::{CollectionConfig, FieldSchema, VectorParams};
use crate::error::{Error, Result};
use crate::file::Disk;
use crate::json_path::JsonPath;
use crate::operation::Applied;
use crate::operation_codec;
use crate::segment::Deleted;
use crate::segment::sealed::{SealedSegment, SealedState, read_deleted};
use crate::wal::{Record, Wal, WalIdentity, WalOptions};
use manifest::{Manifest, ManifestEdit, ManifestState};
use replicated::Lead;
use state::State;

/// Called once with what became of a write. It runs on the thread that drains the shard: it must be quick
/// and must not call the shard.
pub type Done = Box<dyn FnOnce(Result<Applied>) + Send>;

const WAL: &str = "wal";
const SEGMENTS: &str = "segments";

/// What a shard is told when it is created or opened.
#[derive(Clone, Debug, Default)]
pub struct ShardOptions {
    /// Whose log this is; a folder of somebody else is refused.
    pub identity: WalIdentity,
    /// Watermarks of the volume in percent of its size.
    pub watermarks: Watermarks,
    pub wal: WalOptions,
    pub limits: ShardLimits,
    /// Other copies may have the same log: an operation is applied when it is committed, which somebody else decides.
    /// See [`replicated`].
    pub replicated: bool,
    /// The hashes of ids that it owns, until its log says otherwise; `None`: whatever comes.
    pub range: Option<Hashes>,
}

/// When a nearly full volume refuses writes that add data.
#[derive(Clone, Copy, Debug)]
pub struct Watermarks {
    /// From here on upserts are refused; deletes and reads go on.
    pub refuse_percent: f64,
    /// Below this they are accepted again.
    pub accept_percent: f64,
}

impl Watermarks {
    /// However full the volume is, no write is refused before the disk itself refuses it. For tests, whose machine may have
    /// a full volume.
    pub const OFF: Self = Self { refuse_percent: 101.0, accept_percent: 101.0 };
}

impl Default for Watermarks {
    fn default() -> Self {
        Self { refuse_percent: 90.0, accept_percent: 85.0 }
    }
}

/// One shard of a collection.
pub struct Shard {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: ShardOptions,
    queue: Mutex<queue::Queue>,
    keeper: Mutex<Keeper>,
    writer: Mutex<Writer>,
    /// All points.
    view: ArcSwap<View>,
    /// Those that readers see.
    shown: ArcSwap<View>,
    /// How many points they don't see yet.
    deferred: AtomicU64,
    /// Views that were published so far.
    published: AtomicU64,
    /// Writers that wait for an index to be built.
    index_waiters: AtomicUsize,
    optimizer: Mutex<optimize::Optimizer>,
    /// Why the last optimization failed.
    optimizer_error: Mutex<Option<String>>,
    scrub: Mutex<scrub::Scrub>,
    damage: scrub::Damage,
}

/// Who changes the manifest.
struct Keeper {
    manifest: Manifest,
    /// Deletions of each segment as the manifest has them: those up to its `applied_seq`.
    durable: BTreeMap<u64, Deleted>,
    next_segment_id: u64,
}

/// Who changes the points.
struct Writer {
    state: State,
    wal: Wal,
    /// Sequence number of the next operation.
    next_seq: u64,
    /// Term of the operations that are written now.
    term: u64,
    /// In the log and not applied: of a replicated shard what isn't known to be committed.
    waiting: VecDeque<write::Logged>,
    /// Who lets a replicated shard write, while this copy leads.
    lead: Option<Arc<dyn Lead>>,
    /// Up to which operation the manifest has everything.
    sealed_seq: u64,
    /// Why no write is accepted any more.
    poisoned: Option<String>,
    volume_full: bool,
    /// Why the mutable part could not be sealed when a writer tried last.
    unsealed: Option<Error>,
    index_waiters: Vec<IndexWaiter>,
}

/// An operation that is told once its index is complete.
type IndexWaiter = (JsonPath, FieldSchema, u64, Done);

impl Shard {
    /// Makes an empty shard in a folder that holds none.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: ShardOptions,
        config: CollectionConfig,
    ) -> Result<Self> {
        let state = ManifestState { identity: options.identity, term: 1, config, ..ManifestState::default() };
        Self::start(disk, dir, options, state, None)
    }

    /// Writes log and manifest of a new shard whose segments, if any, are there already. The log has the entry `first`, if
    /// there is one.
    fn start(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: ShardOptions,
        state: ManifestState,
        first: Option<Record>,
    ) -> Result<Self> {
        if Manifest::exists(&*disk, dir) {
            return Err(Error::BadInput(format!("{} already holds a shard", dir.display())));
        }
        let wal = dir.join(WAL);
        if disk.exists(&wal) {
            // Without a manifest it was never used.
            disk.remove_dir_all(&wal).map_err(Error::io("remove the log of an unfinished shard"))?;
        }
        disk.create_dir_all(&dir.join(SEGMENTS)).map_err(Error::io("create the folder of segments"))?;
        disk.create_dir_all(&wal).map_err(Error::io("create the folder of the log"))?;
        let mut log = Wal::create(disk.clone(), wal, options.identity, state.applied_seq + 1, options.wal)?;
        if let Some(first) = first {
            log.append(&first)?;
            log.commit()?;
        }
        drop(log);
        drop(Manifest::create(disk.clone(), dir, state)?);
        Self::open(disk, dir, options)
    }

    /// Opens a shard; every acknowledged write is visible in the first view.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if anything that was durable is missing or damaged; [`Error::BadInput`] if the folder is
    /// somebody else's.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: ShardOptions) -> Result<Self> {
        let manifest = Manifest::open(disk.clone(), dir)?;
        let published = manifest.state();
        if published.identity != options.identity {
            return Err(Error::BadInput(format!(
                "{} belongs to another collection or copy: is it a volume that was restored or mounted elsewhere?",
                dir.display()
            )));
        }
        let segments = dir.join(SEGMENTS);
        let (sealed, durable) = open_segments(&*disk, &segments, published)?;
        let applied = (published.applied_seq, published.applied_term.max(published.term).max(1));
        let mut indexes = BTreeMap::new();
        for (key, schema) in &published.indexes {
            let path = JsonPath::parse(key).map_err(|e| Error::corrupt("manifest", e))?;
            indexes.insert(path, schema.clone());
        }
        let mut state = State::new(applied, published.config.clone(), indexes, sealed);
        state.bounds = Bounds { range: published.bounds.range.or(options.range), ..published.bounds };
        let (wal, recovered) =
            Wal::open(disk.clone(), dir.join(WAL), options.identity, published.applied_seq, options.wal)?;
        let waiting = replay(recovered.records, &mut state, options.replicated)?;
        state.forget_indexes();
        // Last, so that a start that finds damage has removed nothing.
        checkpoint::remove_leftovers(&*disk, &segments, published)?;
        let mut writer = Writer {
            next_seq: wal.last_seq().max(state.seq) + 1,
            term: state.term,
            waiting,
            lead: None,
            sealed_seq: published.applied_seq,
            wal,
            poisoned: None,
            volume_full: false,
            unsealed: None,
            index_waiters: Vec::new(),
            state,
        };
        let next_segment_id = published.next_segment_id;
        let damage = scrub::Damage::default();
        let whole = Arc::new(writer.state.view(&damage));
        let shown = writer.state.shown(whole.clone(), &damage);
        Ok(Self {
            view: ArcSwap::new(whole),
            shown: ArcSwap::new(shown),
            deferred: AtomicU64::new(writer.state.deferral.hidden()),
            published: AtomicU64::new(0),
            keeper: Mutex::new(Keeper { manifest, durable, next_segment_id }),
            writer: Mutex::new(writer),
            queue: Mutex::default(),
            index_waiters: AtomicUsize::new(0),
            optimizer: Mutex::default(),
            optimizer_error: Mutex::new(None),
            scrub: Mutex::default(),
            damage,
            disk,
            dir: dir.to_owned(),
            options,
        })
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The state after the last finished write. Never blocks; what is read through one view is consistent.
    pub fn view(&self) -> Arc<View> {
        self.shown.load_full()
    }

    /// The same with the points that are hidden until they are indexed.
    pub(super) fn whole(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// How many points are hidden until they are indexed.
    pub fn deferred(&self) -> u64 {
        self.deferred.load(Ordering::Acquire)
    }

    /// A number that is another one after every change: by a write, of the configuration, or of the segments. For as
    /// long as it stays the same the optimizer finds what it found before.
    pub fn changes(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Why writes are refused, if they are.
    pub fn poisoned(&self) -> Option<String> {
        self.writer.lock().poisoned.clone()
    }

    /// Notes in the log that everything is durable. Call it when no write came for 100 ms: damage to what lies
    /// before is then never taken for a torn tail.
    pub fn mark_idle(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        let marked = writer.wal.mark_idle();
        if let Err(e) = &marked
            && !e.is_no_space()
        {
            writer.poisoned.get_or_insert_with(|| e.to_string());
        }
        marked
    }

    /// Takes over what may be changed of a collection: optimizer, HNSW and quantization, of the collection and
    /// of its vectors. Vectors are added and dropped by operations, never here. The optimizer rebuilds what differs.
    pub fn update_config(&self, config: CollectionConfig) -> Result<()> {
        let mut keeper = self.keeper.lock();
        let mut published = keeper.manifest.state().config.clone();
        // A vector that is in the log only would get the settings back that it was created with by the next replay.
        let is_changed = |(name, params): (&String, &VectorParams)| {
            !published.vectors.contains_key(name) && config.vectors.get(name).is_some_and(|new| new != params)
        };
        if self.whole().config().vectors.iter().any(is_changed) && self.checkpoint(&mut keeper)? {
            published = keeper.manifest.state().config.clone();
        }
        let mut writer = self.writer.lock();
        let before = writer.state.config.clone();
        let config = writer.state.set_config(config);
        // The vectors that the manifest has are those of its place in the log; only their settings change.
        let (vectors, sparse_vectors) = (published.vectors, published.sparse_vectors);
        published = CollectionConfig { vectors, sparse_vectors, ..config.clone() };
        for (name, params) in &mut published.sparse_vectors {
            *params = config.sparse_vectors.get(name).copied().unwrap_or(*params);
        }
        for (name, params) in &mut published.vectors {
            if let Some(new) = config.vectors.get(name).filter(|new| new.size == params.size) {
                *params = new.clone();
            }
        }
        let edit = ManifestEdit { config: Some(published), ..ManifestEdit::default() };
        if let Err(e) = keeper.manifest.publish(edit) {
            writer.state.config = before;
            return Err(self.manifest_failed(&mut writer, e));
        }
        let reopened = writer.state.sealed.iter_mut().try_for_each(|s| {
            s.segment = Arc::new(s.segment.reopen(&*self.disk, &config)?);
            Ok(())
        });
        self.publish(&mut writer);
        reopened
    }

    /// Shows the state to readers.
    fn publish(&self, writer: &mut Writer) {
        let whole = Arc::new(writer.state.view(&self.damage));
        let shown = writer.state.shown(whole.clone(), &self.damage);
        self.view.store(whole);
        self.shown.store(shown);
        self.deferred.store(writer.state.deferral.hidden(), Ordering::Release);
        self.published.fetch_add(1, Ordering::Release);
    }

    /// An error of the manifest; unless the disk is full, no write can be kept any more.
    fn manifest_failed(&self, writer: &mut Writer, e: Error) -> Error {
        if e.is_no_space() {
            return e;
        }
        writer.poisoned.get_or_insert_with(|| e.to_string());
        Error::Poisoned(e.to_string())
    }

    fn segments_dir(&self) -> PathBuf {
        self.dir.join(SEGMENTS)
    }
}

/// The segments that the manifest names, and their deletions.
fn open_segments(
    disk: &dyn Disk,
    segments: &Path,
    published: &ManifestState,
) -> Result<(Vec<SealedState>, BTreeMap<u64, Deleted>)> {
    let mut sealed = Vec::new();
    let mut durable = BTreeMap::new();
    for entry in &published.segments {
        let segment = SealedSegment::open(disk, segments, entry, &published.config)?;
        let deleted = read_deleted(disk, segments, entry)?;
        durable.insert(entry.id, deleted.clone());
        sealed.push(SealedState::published(segment, deleted));
    }
    Ok((sealed, durable))
}

/// Applies what the log has behind the segments. Of a replicated shard nothing is known to be committed: all of it waits.
fn replay(records: Vec<Record>, state: &mut State, replicated: bool) -> Result<VecDeque<write::Logged>> {
    let mut waiting = VecDeque::new();
    for record in records {
        // What the segments have already, they have; nothing is done twice.
        if record.seq <= state.seq {
            continue;
        }
        let op = operation_codec::decode(record.kind, &record.body)?;
        let (seq, term) = (record.seq, record.term.max(state.term));
        if replicated {
            waiting.push_back(write::Logged { seq, term, op, done: None });
        } else {
            state.apply(seq, term, op)?;
        }
    }
    Ok(waiting)
}

impl Drop for Shard {
    fn drop(&mut self) {
        // Only spares the next start some work.
        let _ = self.writer.lock().wal.mark_idle();
    }
}
