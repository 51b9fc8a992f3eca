//! What this node makes of the records: it opens, creates or restores its copies, runs the protocol for each ([`attend`]),
//! and knows where all others are.
//!
//! Rules that keep acknowledged writes (see docs/replication.md):
//! - an empty copy is made only at the genesis of a shard, while the record says that nobody has led it yet, or under an
//!   id that is made with it;
//! - what a copy may do is decided by the protocol alone (`crate::replica`), by the record and what other copies say;
//! - nothing is deleted before the store itself has said that nobody counts on it.
//!
//! [`attend`]: super::attend

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use parking_lot::Mutex;
use quiver_api::internal::CopyState;
use quiver_engine::config::{CollectionConfig, FieldSchema};
use quiver_engine::file::Disk;
use quiver_engine::json_path::JsonPath;
use quiver_engine::shard::Shard;
use quiver_replica::Unfit;
use quiver_replica::record::CopyId;
use serde_json::Value;
use tokio::sync::watch;

use super::copy::{CopyError, CopyFolder, clear_unfinished};
use super::files::{Loans, Throttle};
use super::mail::Mail;
use super::peer::Among;
use super::record::{CopyRecord, ShardRecord, ShardRecords};
use super::schema::{Schema, SchemaError};
use super::split::{self, Fork};
use super::tls::PeerClient;
use super::{Place, ShardPlace};
use crate::node::Node;
use crate::pool::PoolError;
use crate::replica::{Inbox, Part, Replica, Standing};
use crate::snapshot::SnapshotError;

/// What failed is tried again after this, even if no record changes.
const RETRY: Duration = Duration::from_secs(2);
/// The same while a shard is split: nothing tells that a copy has applied an entry of the log.
const SPLIT_RETRY: Duration = Duration::from_millis(200);
/// Copies that are opened at a time.
const PARALLEL: usize = 4;

/// Makes the engine's configuration of the body of `PUT /collections/{name}`.
pub type ToConfig = Arc<dyn Fn(&Value) -> Result<CollectionConfig, String> + Send + Sync>;
/// Makes the engine's payload index of `field_name` and `field_schema`.
pub type ToIndex = Arc<dyn Fn(&str, &Value) -> Result<(JsonPath, FieldSchema), String> + Send + Sync>;

/// How configurations of the wire become the engine's. Filled by the layer that knows both.
#[derive(Clone)]
pub struct Convert {
    pub config: ToConfig,
    pub index: ToIndex,
}

/// How other pods are reached.
#[derive(Clone, Debug)]
pub enum Addresses {
    /// `<pod>.<service>.<namespace>.svc:<port>`
    Dns { service: String, namespace: String, port: u16 },
    /// As a file or a test says.
    Fixed(BTreeMap<String, String>),
}

impl Addresses {
    pub(super) fn of(&self, pod: &str) -> Option<String> {
        match self {
            Addresses::Dns { service, namespace, port } => {
                Some(format!("{pod}.{service}.{namespace}.svc:{port}"))
            }
            Addresses::Fixed(all) => all.get(pod).cloned(),
        }
    }
}

/// This node in its node set.
pub struct Cluster {
    pub node: Arc<Node>,
    pub schema: Schema,
    /// What is lent to other nodes.
    pub loans: Loans,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) records: Arc<dyn ShardRecords>,
    pub(super) addresses: Addresses,
    pub(super) client: Arc<PeerClient>,
    pub(super) mail: Mail,
    pub(super) throttle: Throttle,
    pub(super) convert: Convert,
    pub(super) copies: Mutex<BTreeMap<u32, Copy>>,
    /// Copies that this node made and that no record has listed yet, by shard.
    pub(super) placed: Mutex<BTreeMap<u32, PlacedCopy>>,
    /// What this node made of shards that are split, by shard.
    pub(super) forks: Mutex<BTreeMap<u32, Fork>>,
    /// Held for one round: two rounds at a time would make the same folder.
    pub(super) looking: tokio::sync::Mutex<()>,
    /// The process is about to end: nothing is opened any more.
    pub(super) leaving: AtomicBool,
    /// A copy stands elsewhere than before.
    stirred: watch::Sender<()>,
    places: ArcSwap<Result<Vec<ShardPlace>, String>>,
    /// Counts the rounds, for those who follow.
    rounds: watch::Sender<u64>,
    /// What of the schema isn't in force; replaced at every attempt.
    differences: Mutex<Vec<String>>,
}

/// A copy that waits to be listed.
#[derive(Clone, Debug)]
pub struct PlacedCopy {
    pub id: String,
    /// When it was asked for last, in Unix seconds.
    pub asked: u64,
}

/// One copy on this node.
#[derive(Clone, Default)]
pub struct Copy {
    pub id: String,
    pub shard: Option<Arc<Shard>>,
    /// Runs from when the shard is open.
    pub replica: Option<Arc<Replica>>,
    pub standing: Option<Standing>,
    /// Where it stands without a replica.
    pub tried: CopyState,
    /// Why it can't be opened.
    pub message: Option<String>,
    /// Version of the record that the replica was told last.
    pub told: i64,
    /// Generation of the schema that was applied to it.
    pub generation: Option<i64>,
}

impl Copy {
    pub fn state(&self) -> CopyState {
        match self.standing.map(|s| s.part) {
            None => self.tried,
            Some(Part::Leads) => CopyState::Leading,
            Some(Part::Takes | Part::Waits) => CopyState::Starting,
            Some(Part::Follows) => CopyState::Following,
            Some(Part::CatchesUp | Part::Unlisted) => CopyState::CatchingUp,
            Some(Part::Unfit(Unfit::Damaged)) => CopyState::Damaged,
            Some(Part::Unfit(Unfit::DiskFailed)) => CopyState::Failed,
            Some(Part::Unfit(Unfit::RecordLost)) => CopyState::ConfigLost,
        }
    }

    /// Why it isn't served here, if it isn't.
    pub fn says(&self) -> Option<String> {
        let text = match self.standing.map(|s| s.part) {
            None => return self.message.clone(),
            Some(Part::Leads) => return None,
            Some(Part::Takes) => {
                "it leads as soon as all copies in sync have what it has, and nobody else may read any more"
            }
            Some(Part::Waits) => "it asks for the lead",
            Some(Part::Follows) => return None,
            Some(Part::CatchesUp) => "it isn't in sync yet: the copy that leads sends it what it lacks",
            Some(Part::Unlisted) => "no record lists it yet",
            Some(Part::Unfit(Unfit::Damaged)) => {
                "its data contradicts what other copies know as committed: it is made anew under another id"
            }
            Some(Part::Unfit(Unfit::DiskFailed)) => {
                "its disk failed: look at the node's log and at the volume, then restart the pod"
            }
            Some(Part::Unfit(Unfit::RecordLost)) => {
                "the record has gone back in time: it is older than what this copy has seen. Was etcd restored from a \
                 backup, or the VectorShard deleted? Put it back, or restore a snapshot into a new VectorCollection"
            }
        };
        Some(text.into())
    }

    pub fn leads(&self) -> bool {
        self.standing.is_some_and(|s| s.part == Part::Leads)
    }

    /// The folder of a copy is missing, or it is of no use: another one may be made.
    pub fn is_lost(&self) -> bool {
        matches!(self.state(), CopyState::ConfigLost | CopyState::Damaged)
    }
}

/// Why a copy isn't there.
#[derive(Debug, thiserror::Error)]
pub enum NotThere {
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{0}")]
    Other(String),
    /// Not an error: not yet.
    #[error("{0}")]
    Waiting(String),
}

impl NotThere {
    fn state(&self) -> CopyState {
        match self {
            NotThere::Copy(CopyError::ConfigLost(_)) => CopyState::ConfigLost,
            NotThere::Copy(CopyError::Engine(quiver_engine::Error::Corrupt { .. })) => CopyState::Damaged,
            NotThere::Waiting(_) => CopyState::Starting,
            _ => CopyState::Failed,
        }
    }
}

impl Cluster {
    /// Has to be called within a runtime.
    pub fn new(
        node: Arc<Node>,
        disk: Arc<dyn Disk>,
        records: Arc<dyn ShardRecords>,
        addresses: Addresses,
        client: Arc<PeerClient>,
        convert: Convert,
    ) -> Result<Arc<Self>, SchemaError> {
        let storage = &node.settings.storage.storage_path;
        let schema = Schema::open(disk.clone(), storage, &node.settings.cluster.collection_uid)?;
        if let Err(e) = clear_unfinished(&*disk, storage) {
            tracing::warn!("copies that were never finished stay on the volume: {e}");
        }
        Ok(Arc::new(Self {
            schema,
            loans: Loans::default(),
            disk,
            records,
            mail: Mail::new(client.clone(), addresses.clone()),
            throttle: Throttle::new(node.settings.cluster.copy_mib_per_second),
            addresses,
            client,
            convert,
            copies: Mutex::default(),
            placed: Mutex::default(),
            forks: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            leaving: AtomicBool::new(false),
            stirred: watch::channel(()).0,
            rounds: watch::channel(0).0,
            places: ArcSwap::from_pointee(Err("the shard records were not read yet".into())),
            differences: Mutex::default(),
            node,
        }))
    }

    pub(super) fn storage(&self) -> PathBuf {
        self.node.settings.storage.storage_path.clone()
    }

    pub(super) fn uid(&self) -> &str {
        &self.node.settings.cluster.collection_uid
    }

    pub(super) fn pod(&self) -> &str {
        &self.node.settings.cluster.pod
    }

    /// The folder of a copy of this node.
    ///
    /// # Errors
    /// The ids aren't UUIDs.
    pub(super) fn folder(&self, shard: u32, id: CopyId) -> Result<CopyFolder, CopyError> {
        let id = uuid::Uuid::from_u128(id.0);
        let copies = self.copies.lock();
        let known = copies.get(&shard).map(|c| c.id.clone()).filter(|c| c.parse() == Ok(id));
        let id = known.unwrap_or_else(|| id.simple().to_string());
        self.copy_folder(shard, &id)
    }

    /// The same, by the id as the record or the folder has it.
    pub(super) fn copy_folder(&self, shard: u32, id: &str) -> Result<CopyFolder, CopyError> {
        let limits = self.node.shard_limits();
        CopyFolder::new(self.disk.clone(), &self.storage(), self.uid(), shard, id, limits)
    }

    /// Where messages for a copy go; `None` if it doesn't run here.
    pub fn inbox(&self, id: CopyId) -> Option<Inbox> {
        let copies = self.copies.lock();
        let mut running = copies.values().filter_map(|c| c.replica.as_ref());
        running.find(|r| r.id() == id).map(|r| r.inbox())
    }

    /// A copy says where it stands now.
    pub(super) fn stands(&self, shard: u32, id: CopyId, standing: Standing) {
        let mut copies = self.copies.lock();
        let copy = copies.get_mut(&shard).filter(|c| c.replica.as_ref().is_some_and(|r| r.id() == id));
        if let Some(copy) = copy {
            if copy.standing.map(|s| s.part) != Some(standing.part) {
                tracing::info!(shard, term = standing.term, "{:?}", standing.part);
                // What a log was cut to, or what files were fetched, may have other settings.
                copy.generation = None;
            }
            copy.standing = Some(standing);
        }
        drop(copies);
        self.stirred.send_replace(());
    }

    /// The shard of a copy was replaced by one of fetched files; `left` is the folder of the one before.
    pub(super) fn adopted(&self, shard: u32, id: CopyId, adopted: Arc<Shard>, left: PathBuf) {
        let mut copies = self.copies.lock();
        if let Some(copy) =
            copies.get_mut(&shard).filter(|c| c.replica.as_ref().is_some_and(|r| r.id() == id))
        {
            (copy.shard, copy.generation) = (Some(adopted), None);
        }
        drop(copies);
        let disk = self.disk.clone();
        self.node.pools.update.spawn(move || {
            // The next start removes it otherwise.
            if let Err(e) = disk.remove_dir_all(&left) {
                tracing::warn!("{} could not be removed: {e}", left.display());
            }
        });
        self.stirred.send_replace(());
    }

    /// Where every shard of the collection is, by number; or why nobody knows yet.
    pub fn places(&self) -> Arc<Result<Vec<ShardPlace>, String>> {
        self.places.load_full()
    }

    /// Tells of every round after which places or schema may have changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.rounds.subscribe()
    }

    /// A shard that leads on this node.
    pub fn leading(&self, shard: u32) -> Option<Arc<Shard>> {
        let copies = self.copies.lock();
        let copy = copies.get(&shard)?;
        if copy.leads() { copy.shard.clone() } else { None }
    }

    /// The copy on this node that answers an ordinary read, and whether what it has may be older than promised. One that
    /// leads answers at any age: nobody may be there that has more.
    pub fn readable(&self, shard: u32, among: Among) -> Option<(Arc<Shard>, bool)> {
        let copies = self.copies.lock();
        let copy = copies.get(&shard)?;
        let old = !copy.replica.as_ref().is_some_and(|r| r.fresh().is_now());
        let follows = || copy.state() == CopyState::Following;
        let may = copy.leads()
            || match among {
                Among::Leading => false,
                Among::Fresh => !old && follows(),
                Among::All => follows(),
            };
        copy.shard.clone().filter(|_| may).map(|shard| (shard, old))
    }

    /// All shards that are open on this node.
    pub fn open_shards(&self) -> Vec<(u32, Arc<Shard>)> {
        self.copies.lock().iter().filter_map(|(n, c)| Some((*n, c.shard.clone()?))).collect()
    }

    /// Pods that have a copy, and their addresses.
    pub fn pods(&self) -> BTreeMap<String, String> {
        let known = self.records.watch().borrow().clone().unwrap_or_default();
        let copies = known.values().flat_map(|r| &r.copies);
        copies.filter_map(|c| Some((c.pod.clone(), self.addresses.of(&c.pod)?))).collect()
    }

    /// What the record says of a shard, as it was heard last.
    pub fn record(&self, shard: u32) -> Option<ShardRecord> {
        self.records.watch().borrow().as_ref()?.get(&shard).cloned()
    }

    /// What of the schema isn't in force.
    pub fn differences(&self) -> Vec<String> {
        self.differences.lock().clone()
    }

    /// Keeps copies, places and readiness in step with records and schema until the node stops.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.follow(), self.work());
    }

    /// Tells the copies that run of records, and everybody where shards are. Waits for nothing: writes that wait for a copy
    /// may hold all threads of a pool until a record says that it doesn't count.
    async fn follow(self: &Arc<Self>) {
        let (mut records, mut stirred) = (self.records.watch(), self.stirred.subscribe());
        while !self.node.shutdown.has_begun() {
            records.mark_unchanged();
            stirred.mark_unchanged();
            self.refresh();
            tokio::select! {
                _ = records.changed() => {}
                _ = stirred.changed() => {}
                () = tokio::time::sleep(RETRY) => {}
                () = self.node.shutdown.begun() => {}
            }
        }
    }

    /// Opens, makes and settles copies.
    async fn work(self: &Arc<Self>) {
        let (mut records, mut schema) = (self.records.watch(), self.schema.watch());
        let mut stirred = self.stirred.subscribe();
        while !self.node.shutdown.has_begun() {
            records.mark_unchanged();
            schema.mark_unchanged();
            stirred.mark_unchanged();
            self.look().await;
            let pause = if self.splits() { SPLIT_RETRY } else { RETRY };
            tokio::select! {
                _ = records.changed() => {}
                _ = schema.changed() => {}
                _ = stirred.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.node.shutdown.begun() => {}
            }
        }
    }

    /// Stops the copies. Whoever waits for a write is told that nobody knows.
    pub async fn close(&self) {
        let copies = std::mem::take(&mut *self.copies.lock());
        crate::replica::end(copies).await;
    }

    /// One round: attends to every copy, then publishes what came of it.
    pub async fn look(self: &Arc<Self>) {
        let _turn = self.looking.lock().await;
        if self.leaving.load(Ordering::SeqCst) {
            return self.refresh();
        }
        let Some(known) = self.records.watch().borrow().clone() else {
            return self.node.readiness.set_not_ready("the shard records were not read yet");
        };
        let mine = known.values().filter_map(|r| Some((r.clone(), r.copy_of(self.pod())?.clone())));
        futures::stream::iter(mine)
            .for_each_concurrent(PARALLEL, |(record, copy)| async move {
                let result = self.attend(&record, &copy).await;
                self.note(&record, &copy, result);
            })
            .await;
        self.retire(&known).await;
        let applied = self.apply_schema().await;
        *self.differences.lock() = applied;
        self.split(&known).await;
        self.loans.sweep();
        // Records may have changed meanwhile by our own hand; what is heard now is what counts.
        self.refresh();
    }

    /// What is heard now: copies that run are told, and places published.
    pub fn refresh(&self) {
        let Some(known) = self.records.watch().borrow().clone() else { return };
        known.values().for_each(|record| self.tell(record));
        self.publish(&self.as_split(known));
        if self.leaving.load(Ordering::SeqCst) {
            self.node.readiness.set_not_ready("the node is stopping");
        }
    }

    fn note(&self, record: &ShardRecord, copy: &CopyRecord, result: Result<(), NotThere>) {
        let mut copies = self.copies.lock();
        let entry = copies.entry(record.shard).or_default();
        entry.id.clone_from(&copy.id);
        let Err(e) = result else { return entry.message = None };
        let now = (e.state(), Some(e.to_string()));
        if now != (entry.tried, entry.message.clone()) {
            match e {
                NotThere::Waiting(_) => tracing::info!(shard = record.shard, "{e}"),
                _ => tracing::warn!(shard = record.shard, state = ?now.0, "{e}"),
            }
        }
        (entry.tried, entry.message) = now;
    }

    fn publish(&self, known: &BTreeMap<u32, ShardRecord>) {
        let copies = self.copies.lock();
        // A shard that is being made of a part of another one isn't asked before that one gives the part up.
        let known: Vec<&ShardRecord> = known.values().filter(|r| !split::is_part(r, known)).collect();
        let places: Vec<ShardPlace> = known.iter().map(|r| self.place_of(r, copies.get(&r.shard))).collect();
        let complete = covers_all(&places);
        let waits = |r: &&&ShardRecord| {
            let held = copies.get(&r.shard);
            let is_primary = |c: &Copy| r.primary == c.id;
            r.copy_of(self.pod()).is_some()
                && held.is_none_or(|c| c.shard.is_none() || c.is_lost() || (is_primary(c) && !c.leads()))
        };
        let why = |r: &&ShardRecord| {
            let says = copies.get(&r.shard).and_then(Copy::says);
            format!("shard {}: {}", r.shard, says.unwrap_or_else(|| "it is being opened".into()))
        };
        let waiting: Vec<String> = known.iter().filter(waits).map(why).collect();
        drop(copies);
        let missing = match (&complete, self.schema.current()) {
            (_, None) => Some("the operator has not said yet what the collection looks like".into()),
            (Err(text), _) => Some(text.clone()),
            _ if !waiting.is_empty() => Some(waiting.join("; ")),
            _ => None,
        };
        self.places.store(Arc::new(complete.map(|()| places)));
        self.rounds.send_modify(|n| *n += 1);
        match missing {
            None => self.node.readiness.set_ready(),
            Some(because) => self.node.readiness.set_not_ready(because),
        }
    }

    /// Where a shard is, given this node's copy of it.
    fn place_of(&self, record: &ShardRecord, held: Option<&Copy>) -> ShardPlace {
        let open = held.filter(|c| c.standing.is_some()).and_then(|c| Some((c, c.shard.clone()?)));
        let place = match (record.leader(), &open) {
            (_, Some((copy, shard))) if copy.leads() => Place::Local(
                shard.clone(),
                copy.replica.as_ref().map(|r| r.fresh().clone()).unwrap_or_default(),
            ),
            (None, _) => Place::Missing("its record names no primary".into()),
            (Some(leader), _) if leader.pod == self.pod() => {
                let says = held.and_then(Copy::says);
                Place::Missing(says.unwrap_or_else(|| "it is being opened".into()))
            }
            (Some(leader), _) => match self.addresses.of(&leader.pod) {
                Some(address) => Place::Remote { pod: leader.pod.clone(), address },
                None => Place::Missing(format!("nobody knows the address of {}", leader.pod)),
            },
        };
        ShardPlace { shard: record.shard, range: record.range, place, copy: open.map(|(_, shard)| shard) }
    }
}

/// Every hash has exactly one shard.
fn covers_all(places: &[ShardPlace]) -> Result<(), String> {
    let mut ranges: Vec<_> = places.iter().map(|p| (p.range, p.shard)).collect();
    ranges.sort();
    let mut next = Some(0u64);
    for (range, shard) in ranges {
        if next != Some(range.first) {
            return Err(format!(
                "the shard records don't fit together at shard {shard}: one is missing or there twice"
            ));
        }
        next = range.last.checked_add(1);
    }
    match next {
        None => Ok(()),
        Some(0) => Err("the collection has no shard records yet".into()),
        Some(_) => Err("the shard records end before the last hash: one is missing".into()),
    }
}
