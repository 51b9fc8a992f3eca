//! What this node makes of the records: it opens, creates or restores its copies, takes the lead of those that the
//! record names as primary, and knows where all others are.
//!
//! Rules that keep acknowledged writes (see docs/architecture.md, "Replication"):
//! - an empty copy is made only at the genesis of a shard, while the record says that nobody has led it yet;
//! - a copy leads only after its record carries this life of the process, written by compare-and-swap;
//! - a record older than one that was seen is refused, and nothing is ever deleted here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use parking_lot::Mutex;
use quiver_api::internal::{CopyState, SchemaRequest, ShardStatus};
use quiver_engine::config::{CollectionConfig, FieldSchema};
use quiver_engine::file::Disk;
use quiver_engine::json_path::JsonPath;
use quiver_engine::operation::Operation;
use quiver_engine::shard::{Shard, ShardStatus as Work};
use serde_json::Value;
use tokio::sync::watch;

use super::copy::{CopyError, CopyFolder};
use super::record::{CopyRecord, RecordError, RestoreSource, ShardRecord, ShardRecords};
use super::schema::{Schema, SchemaError};
use super::{Place, ShardPlace};
use crate::node::Node;
use crate::pool::{Deadline, PoolError};
use crate::snapshot::SnapshotError;
use crate::snapshot::store::Store;

/// What failed is tried again after this, even if no record changes.
const RETRY: Duration = Duration::from_secs(2);
/// Copies that are opened at a time.
const PARALLEL: usize = 4;
/// Replaying a long log and fetching a shard take their time.
const OPEN_TIME: Duration = Duration::from_secs(24 * 3600);

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
    fn of(&self, pod: &str) -> Option<String> {
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
    pub(super) disk: Arc<dyn Disk>,
    pub(super) records: Arc<dyn ShardRecords>,
    addresses: Addresses,
    convert: Convert,
    copies: Mutex<BTreeMap<u32, Copy>>,
    /// Held for one round: two rounds at a time would make the same folder.
    looking: tokio::sync::Mutex<()>,
    places: ArcSwap<Result<Vec<ShardPlace>, String>>,
    /// Counts the rounds, for those who follow.
    rounds: watch::Sender<u64>,
    /// What of the schema isn't in force; replaced at every attempt.
    differences: Mutex<Vec<String>>,
}

/// One copy on this node.
#[derive(Clone, Default)]
struct Copy {
    id: String,
    state: CopyState,
    message: Option<String>,
    shard: Option<Arc<Shard>>,
    term: i64,
    config_version: i64,
    /// Generation of the schema that was applied to it.
    generation: Option<i64>,
}

/// Why a copy doesn't lead.
#[derive(Debug, thiserror::Error)]
enum NotLeading {
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Not an error: not yet.
    #[error("{0}")]
    Waiting(String),
}

impl NotLeading {
    fn state(&self) -> CopyState {
        match self {
            NotLeading::Copy(CopyError::ConfigLost(_)) => CopyState::ConfigLost,
            NotLeading::Copy(CopyError::Engine(quiver_engine::Error::Corrupt { .. })) => CopyState::Damaged,
            NotLeading::Waiting(_) | NotLeading::Record(_) => CopyState::Starting,
            _ => CopyState::Failed,
        }
    }
}

impl Cluster {
    pub fn new(
        node: Arc<Node>,
        disk: Arc<dyn Disk>,
        records: Arc<dyn ShardRecords>,
        addresses: Addresses,
        convert: Convert,
    ) -> Result<Arc<Self>, SchemaError> {
        let storage = &node.settings.storage.storage_path;
        let schema = Schema::open(disk.clone(), storage, &node.settings.cluster.collection_uid)?;
        Ok(Arc::new(Self {
            schema,
            disk,
            records,
            addresses,
            convert,
            copies: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            rounds: watch::channel(0).0,
            places: ArcSwap::from_pointee(Err("the shard records were not read yet".into())),
            differences: Mutex::default(),
            node,
        }))
    }

    pub(super) fn storage(&self) -> PathBuf {
        self.node.settings.storage.storage_path.clone()
    }

    fn uid(&self) -> &str {
        &self.node.settings.cluster.collection_uid
    }

    fn pod(&self) -> &str {
        &self.node.settings.cluster.pod
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
        if copy.state == CopyState::Leading { copy.shard.clone() } else { None }
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
        let (mut records, mut schema) = (self.records.watch(), self.schema.watch());
        while !self.node.shutdown.has_begun() {
            records.mark_unchanged();
            schema.mark_unchanged();
            self.look().await;
            tokio::select! {
                _ = records.changed() => {}
                _ = schema.changed() => {}
                () = tokio::time::sleep(RETRY) => {}
                () = self.node.shutdown.begun() => {}
            }
        }
    }

    /// One round: attends to every copy, then publishes what came of it.
    pub async fn look(self: &Arc<Self>) {
        let _turn = self.looking.lock().await;
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
        let applied = self.apply_schema().await;
        *self.differences.lock() = applied;
        // Records may have changed meanwhile by our own hand; what is heard now is what counts.
        let known = self.records.watch().borrow().clone().unwrap_or(known);
        self.publish(&known);
    }

    /// Brings one copy as far as its record allows.
    async fn attend(&self, record: &ShardRecord, copy: &CopyRecord) -> Result<(), NotLeading> {
        let folder = CopyFolder::new(self.disk.clone(), &self.storage(), self.uid(), record.shard, &copy.id)?;
        let open =
            self.copies.lock().get(&record.shard).filter(|c| c.id == copy.id).and_then(|c| c.shard.clone());
        if open.is_none() {
            let opened = self.open(record, copy, &folder).await?;
            let mut copies = self.copies.lock();
            let entry = copies.entry(record.shard).or_default();
            *entry = Copy { id: copy.id.clone(), shard: Some(Arc::new(opened)), ..Copy::default() };
        }
        self.accept(&folder, record).await?;
        if record.primary != copy.id {
            return Err(NotLeading::Waiting(format!("{} names another copy as primary", record.name)));
        }
        if record.primary_boot == self.node.boot {
            return Ok(());
        }
        if !copy.in_sync {
            return Err(NotLeading::Waiting(format!("{} says that this copy is not in sync", record.name)));
        }
        let led = match self.records.replace(record.led_by(&self.node.boot)).await {
            Ok(led) => led,
            // Perhaps it was done all the same: only asking again tells.
            Err(RecordError::Unknown(text)) => match self.records.get(record.shard).await? {
                Some(now) if now.primary_boot == self.node.boot => now,
                _ => return Err(RecordError::Unknown(text).into()),
            },
            Err(e) => return Err(e.into()),
        };
        self.accept(&folder, &led).await?;
        self.note(&led, copy, Ok(()));
        tracing::info!(shard = led.shard, term = led.term, "leading");
        Ok(())
    }

    async fn open(
        &self,
        record: &ShardRecord,
        copy: &CopyRecord,
        folder: &CopyFolder,
    ) -> Result<Shard, NotLeading> {
        let opening = folder.clone();
        if folder.exists() {
            self.accept(folder, record).await?;
            tracing::info!(shard = record.shard, copy = copy.id, "opening");
            let opened =
                self.node.pools.update.run("Open", Deadline::after(OPEN_TIME), move |_| opening.open());
            return Ok(opened.await??);
        }
        let genesis = record.primary_boot.is_empty() && record.primary == copy.id && copy.in_sync;
        if !genesis {
            return Err(CopyError::ConfigLost(format!(
                "the record {} says that copy {} has data, and its folder is not on this volume. Was the volume of \
                 {} emptied or replaced? Put it back, or restore a snapshot into a new VectorCollection",
                record.name,
                copy.id,
                self.pod()
            ))
            .into());
        }
        let schema = self.schema.current().ok_or_else(|| {
            NotLeading::Waiting("the operator has not said yet what the collection looks like".into())
        })?;
        let config = (self.convert.config)(&schema.create).map_err(|e| {
            NotLeading::Waiting(format!("the collection can't be made as the schema says: {e}"))
        })?;
        let fetched = match &record.restore {
            None => None,
            Some(source) => Some(self.fetch(record, copy, source).await?),
        };
        let record = record.clone();
        tracing::info!(shard = record.shard, copy = copy.id, restored = fetched.is_some(), "creating");
        let files = fetched.clone();
        let created = self.node.pools.update.run("Create", Deadline::after(OPEN_TIME), move |_| {
            opening.create(&record, config, files.as_deref())
        });
        let created = created.await??;
        if let Some(files) = fetched
            && let Err(e) = self.disk.remove_dir_all(&files)
        {
            tracing::warn!("{} could not be removed: {e}", files.display());
        }
        Ok(created)
    }

    /// Fetches the files of a shard from a snapshot into a folder of their own.
    async fn fetch(
        &self,
        record: &ShardRecord,
        copy: &CopyRecord,
        from: &RestoreSource,
    ) -> Result<PathBuf, NotLeading> {
        self.set(record.shard, |c| {
            *c = Copy { id: copy.id.clone(), state: CopyState::Restoring, ..Copy::default() };
            c.message = Some(format!("fetching {}", from.manifest_key));
        });
        let store = Store::of_manifest(&from.destination, &from.manifest_key)?;
        let manifest = store.fetch_manifest(&from.manifest_key).await?;
        let shard = manifest.shards.iter().find(|s| s.range == record.range).ok_or_else(|| {
            SnapshotError::BadInput(format!(
                "the snapshot {} has {} shards, none with the hashes of {}: restore with the same number of shards",
                from.manifest_key,
                manifest.shards.len(),
                record.name
            ))
        })?;
        let into = self.storage().join("copies").join(format!("{}-{}.fetched", record.shard, copy.id));
        if self.disk.exists(&into) {
            self.disk
                .remove_dir_all(&into)
                .map_err(crate::snapshot::io(format!("clearing {}", into.display())))?;
        }
        store.download_shard(shard, self.disk.clone(), &self.node.pools.update, &into).await?;
        Ok(into)
    }

    async fn accept(&self, folder: &CopyFolder, record: &ShardRecord) -> Result<(), NotLeading> {
        let seen = |c: &&Copy| c.config_version == record.config_version && c.term == record.term;
        if self.copies.lock().get(&record.shard).filter(seen).is_some() {
            return Ok(());
        }
        let (folder, record) = (folder.clone(), record.clone());
        let accepted =
            self.node.pools.update.run("Accept", Deadline::after(OPEN_TIME), move |_| folder.accept(&record));
        Ok(accepted.await??)
    }

    fn set(&self, shard: u32, change: impl FnOnce(&mut Copy)) {
        change(self.copies.lock().entry(shard).or_default());
    }

    fn note(&self, record: &ShardRecord, copy: &CopyRecord, result: Result<(), NotLeading>) {
        let mut copies = self.copies.lock();
        let entry = copies.entry(record.shard).or_default();
        entry.id.clone_from(&copy.id);
        let before = (entry.state, entry.message.clone());
        let waits = matches!(result, Err(NotLeading::Waiting(_)));
        match result {
            Ok(()) => {
                (entry.state, entry.message) = (CopyState::Leading, None);
                entry.term = entry.term.max(record.term);
                entry.config_version = entry.config_version.max(record.config_version);
            }
            Err(e) => {
                // A copy that leads steps down only for what the record or the disk says, not because somebody
                // could not be asked.
                let leads = entry.state == CopyState::Leading
                    && matches!(e, NotLeading::Record(_) | NotLeading::Pool(_));
                if !leads {
                    let follows = entry.shard.is_some() && matches!(e, NotLeading::Waiting(_));
                    entry.state = if follows { CopyState::Following } else { e.state() };
                }
                entry.message = Some(e.to_string());
            }
        }
        if before != (entry.state, entry.message.clone())
            && let Some(message) = &entry.message
        {
            match waits {
                true => tracing::info!(shard = record.shard, state = ?entry.state, "{message}"),
                false => tracing::warn!(shard = record.shard, state = ?entry.state, "{message}"),
            }
        }
    }

    /// Makes vectors and indexes that the schema has and a leading shard hasn't. Gives what isn't in force.
    async fn apply_schema(self: &Arc<Self>) -> Vec<String> {
        let Some(schema) = self.schema.current() else { return vec!["no schema was put yet".into()] };
        let due: Vec<(u32, Arc<Shard>)> = self
            .copies
            .lock()
            .iter()
            .filter(|(_, c)| c.state == CopyState::Leading && c.generation != Some(schema.generation))
            .filter_map(|(n, c)| Some((*n, c.shard.clone()?)))
            .collect();
        let mut differences = Vec::new();
        for (number, shard) in due {
            let (convert, asked) = (self.convert.clone(), schema.clone());
            let applying = self
                .node
                .pools
                .update
                .run("Schema", Deadline::after(OPEN_TIME), move |_| apply_to(&shard, &asked, &convert));
            match applying.await.map_err(|e| vec![e.to_string()]).and_then(|r| r) {
                Ok(()) => self.set(number, |c| c.generation = Some(schema.generation)),
                Err(all) => differences.extend(all.into_iter().map(|d| format!("shard {number}: {d}"))),
            }
        }
        differences
    }

    fn publish(&self, known: &BTreeMap<u32, ShardRecord>) {
        let copies = self.copies.lock();
        let places = known.values().map(|record| {
            let place = match record.leader() {
                None => Place::Missing("its record names no primary".into()),
                Some(copy) if copy.pod == self.pod() => match copies.get(&record.shard) {
                    Some(Copy { state: CopyState::Leading, shard: Some(shard), .. }) => {
                        Place::Local(shard.clone())
                    }
                    Some(c) => {
                        Place::Missing(c.message.clone().unwrap_or_else(|| "it is being opened".into()))
                    }
                    None => Place::Missing("it is being opened".into()),
                },
                Some(copy) => match self.addresses.of(&copy.pod) {
                    Some(address) => Place::Remote { pod: copy.pod.clone(), address },
                    None => Place::Missing(format!("nobody knows the address of {}", copy.pod)),
                },
            };
            ShardPlace { shard: record.shard, range: record.range, place }
        });
        let places: Vec<ShardPlace> = places.collect();
        let complete = covers_all(&places);
        let waiting: Vec<String> = copies
            .iter()
            .filter(|(n, c)| c.state != CopyState::Leading && known.get(n).is_some_and(|r| r.primary == c.id))
            .map(|(n, c)| format!("shard {n}: {}", c.message.as_deref().unwrap_or("it is being opened")))
            .collect();
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

    /// What this node says of its copies.
    pub fn statuses(&self) -> Vec<ShardStatus> {
        let copies = self.copies.lock().clone();
        let one = |(number, copy): (u32, Copy)| {
            let stats = copy.shard.as_ref().map(|s| s.stats()).unwrap_or_default();
            ShardStatus {
                shard: number,
                copy_id: copy.id,
                state: copy.state,
                message: copy.message.or(stats.optimizer_error),
                term: copy.term,
                config_version: copy.config_version,
                seq: stats.last_seq,
                points: stats.points,
                indexed_vectors: stats.indexed_vectors,
                segments: u32::try_from(stats.segments).unwrap_or(u32::MAX),
                bytes_disk: stats.bytes_disk,
                optimizing: stats.status == Work::Yellow,
            }
        };
        copies.into_iter().map(one).collect()
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

/// Blocking. Each difference that stays is a sentence.
fn apply_to(shard: &Shard, schema: &SchemaRequest, convert: &Convert) -> Result<(), Vec<String>> {
    let mut differences = Vec::new();
    match (convert.config)(&schema.create) {
        Err(e) => differences.push(e),
        Ok(config) => {
            let view = shard.view();
            let missing =
                config.vectors.iter().filter(|(name, _)| !view.config().vectors.contains_key(*name));
            for (name, params) in missing {
                let op = Operation::CreateVector { name: name.clone(), params: params.clone() };
                if let Err(e) = shard.write(op) {
                    differences.push(format!("vector `{name}`: {e}"));
                }
            }
            let missing = config.sparse_vectors.iter();
            for (name, params) in missing.filter(|(n, _)| !view.config().sparse_vectors.contains_key(*n)) {
                let op = Operation::CreateSparseVector { name: name.clone(), params: *params };
                if let Err(e) = shard.write(op) {
                    differences.push(format!("sparse vector `{name}`: {e}"));
                }
            }
            if differences.is_empty()
                && let Err(e) = shard.update_config(config)
            {
                differences.push(e.to_string());
            }
        }
    }
    let there = shard.view().payload_schema();
    for index in &schema.payload_indexes {
        let result = (convert.index)(&index.field_name, &index.field_schema).and_then(|(field, schema)| {
            if there.iter().any(|(path, now, _)| *path == field && *now == schema) {
                return Ok(());
            }
            shard.write(Operation::CreateIndex { field, schema }).map(|_| ()).map_err(|e| e.to_string())
        });
        if let Err(e) = result {
            differences.push(format!("payload index `{}`: {e}", index.field_name));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences) }
}
