//! What is done for each copy of this node: its folder is opened or made, its replica started and told of the record; copies
//! that no record lists any more are stopped and put away.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quiver_api::internal::{CopyState, HandOverRequest, HashRange};
use quiver_engine::config::CollectionConfig;
use quiver_engine::shard::Shard;
use quiver_replica::Settings;
use quiver_replica::lease::Timing;
use quiver_replica::record::{Boot, CopyId};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::copy::{CopyError, CopyFolder, empty_trash, held};
use super::lead::{Cluster, Copy, NotThere, PlacedCopy};
use super::record::{CopyRecord, RestoreSource, ShardRecord, number};
use super::transport::{Transport, live};
use crate::clock;
use crate::pool::Deadline;
use crate::replica::{Asked, Inbox, Input, Pace, Parts, Replica};
use crate::snapshot::SnapshotError;
use crate::snapshot::store::Store;

/// Replaying a long log and fetching a shard take their time.
const OPEN_TIME: Duration = Duration::from_secs(24 * 3600);

/// A copy that no record lists is kept for so long after it was made or asked for last, in seconds. An operator lists it at
/// once; one that was stopped just then asks again when it has started.
const UNLISTED_KEPT: u64 = 3600;

/// What follows may answer ordinary reads for two seconds after it heard from the leader; with the way of that message, what it
/// says is at most three seconds old.
const TIMING: Timing = Timing { lease: 6_000, grant: 10_000, fresh: 2_000 };

impl Cluster {
    /// Brings one copy as far as its record allows.
    pub(super) async fn attend(
        self: &Arc<Self>,
        record: &ShardRecord,
        copy: &CopyRecord,
    ) -> Result<(), NotThere> {
        let id = copy.number().map_err(NotThere::Other)?;
        let known = record.replica().map_err(NotThere::Other)?;
        let runs = |c: &Copy| c.replica.as_ref().is_some_and(|r| r.id() == id);
        if !self.copies.lock().get(&record.shard).is_some_and(runs) {
            self.stop_copy(record.shard).await;
            let folder = self.copy_folder(record.shard, &copy.id)?;
            let opened = Arc::new(self.open(record, copy, &folder).await?);
            self.start(record.shard, copy, id, &folder, opened)?;
            self.placed.lock().remove(&record.shard);
        }
        self.tell(record);
        let seen = |c: &Copy| Some((c.replica.clone()?, c.standing?.config_version));
        let running = self.copies.lock().get(&record.shard).and_then(seen);
        if let Some((replica, seen)) = running
            && seen > known.config_version
            && let Some(answer) = live(self, record.shard, Asked(seen)).await
        {
            // A watch lags behind, or the store was set back: only the store itself knows.
            replica.inbox().put(answer);
        }
        Ok(())
    }

    /// Tells the copy that runs here of its record, if that may be news to it.
    pub(super) fn tell(&self, record: &ShardRecord) {
        let Ok(known) = record.replica() else { return };
        let mut copies = self.copies.lock();
        let Some(entry) = copies.get_mut(&record.shard) else { return };
        let Some(replica) = entry.replica.clone() else { return };
        let seen = entry.standing.map_or(0, |s| s.config_version);
        let news = entry.told != record.config_version || seen < known.config_version;
        entry.told = record.config_version;
        if news && seen <= known.config_version {
            replica.inbox().put(Input::Record { record: Arc::new(known), asked: None });
        }
    }

    fn start(
        self: &Arc<Self>,
        shard: u32,
        copy: &CopyRecord,
        id: CopyId,
        folder: &CopyFolder,
        opened: Arc<Shard>,
    ) -> Result<(), NotThere> {
        let boot = number(&self.node.boot).map_err(NotThere::Other)?;
        let outside = Transport {
            cluster: Arc::downgrade(self),
            shard,
            id,
            runtime: Handle::current(),
            pods: BTreeMap::new(),
        };
        let parts = Parts {
            settings: Settings { min_in_sync: self.min_in_sync(), timing: TIMING, ..Settings::default() },
            boot: Boot(boot),
            id,
            shard: opened.clone(),
            disk: self.disk.clone(),
            dir: folder.path().to_owned(),
            outside,
            pace: Pace::default(),
        };
        // Nothing is told before the record is, and that comes after the copy is known here.
        let replica = Replica::start(parts).map_err(|e| NotThere::Other(format!("{e:#}")))?;
        let entry = Copy {
            id: copy.id.clone(),
            shard: Some(opened),
            replica: Some(Arc::new(replica)),
            ..Copy::default()
        };
        self.copies.lock().insert(shard, entry);
        Ok(())
    }

    async fn open(
        self: &Arc<Self>,
        record: &ShardRecord,
        copy: &CopyRecord,
        folder: &CopyFolder,
    ) -> Result<Shard, NotThere> {
        let opening = folder.clone();
        if folder.exists() {
            tracing::info!(shard = record.shard, copy = copy.id, "opening");
            let range = record.range;
            let opened = self.node.pools.update.run("Open", Deadline::after(OPEN_TIME), move |_| {
                let made_for = opening.recall()?.range;
                // The copy's own log says what of it was given to other shards.
                if !made_for.holds(range) {
                    let text = "the record has other hashes than the data of this copy";
                    return Err(CopyError::ConfigLost(text.into()));
                }
                opening.open()
            });
            return Ok(opened.await??);
        }
        let genesis = record.primary_boot.is_empty() && record.primary == copy.id && copy.in_sync;
        if !genesis {
            return Err(CopyError::ConfigLost(self.lacks(record, copy)).into());
        }
        let config = self.config()?;
        let fetched = match &record.restore {
            None => None,
            Some(source) => Some(self.fetch(record, copy, source).await?),
        };
        tracing::info!(shard = record.shard, copy = copy.id, restored = fetched.is_some(), "creating");
        let (files, range, now) = (fetched.clone(), record.range, clock::unix().as_secs());
        let created = self.node.pools.update.run("Create", Deadline::after(OPEN_TIME), move |_| {
            opening.create(range, config, files.as_deref(), now)
        });
        let created = created.await??;
        if let Some(files) = fetched
            && let Err(e) = self.disk.remove_dir_all(&files)
        {
            tracing::warn!("{} could not be removed: {e}", files.display());
        }
        Ok(created)
    }

    /// What is said of a copy that is listed and has no folder.
    fn lacks(&self, record: &ShardRecord, copy: &CopyRecord) -> String {
        let (name, id, pod) = (&record.name, &copy.id, self.pod());
        if copy.in_sync {
            return format!(
                "the record {name} says that copy {id} has data, and its folder is not on this volume. Was the volume of \
                 {pod} emptied or replaced? Put it back, or restore a snapshot into a new VectorCollection"
            );
        }
        format!(
            "the record {name} lists copy {id}, and its folder is not on this volume: the volume of {pod} was emptied or \
             replaced, or no record listed the copy for an hour and it was put away. Another one takes its place"
        )
    }

    /// What a shard made now is to be.
    fn config(&self) -> Result<CollectionConfig, NotThere> {
        let schema = self.schema.current().ok_or_else(|| {
            NotThere::Waiting("the operator has not said yet what the collection looks like".into())
        })?;
        (self.convert.config)(&schema.create)
            .map_err(|e| NotThere::Waiting(format!("the collection can't be made as the schema says: {e}")))
    }

    /// Fetches the files of a shard from a snapshot into a folder of their own.
    async fn fetch(
        &self,
        record: &ShardRecord,
        copy: &CopyRecord,
        from: &RestoreSource,
    ) -> Result<PathBuf, NotThere> {
        let message = Some(format!("fetching {}", from.manifest_key));
        let restoring = Copy { id: copy.id.clone(), tried: CopyState::Restoring, message, ..Copy::default() };
        self.copies.lock().insert(record.shard, restoring);
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

    /// Makes an empty copy of a shard for a record to list, and gives its id; that of one that is there already, if it is
    /// of use.
    ///
    /// # Errors
    /// It can't be made.
    pub async fn place(self: &Arc<Self>, shard: u32, range: HashRange) -> Result<String, NotThere> {
        let _turn = self.looking.lock().await;
        let asked = clock::unix().as_secs();
        if let Some(copy) = self.placed.lock().get_mut(&shard) {
            copy.asked = asked;
            return Ok(copy.id.clone());
        }
        let listed = self.record(shard).and_then(|r| r.copy_of(self.pod()).cloned());
        if let Some(listed) = &listed
            && self.copies.lock().get(&shard).is_some_and(|c| c.id == listed.id && !c.is_lost())
        {
            return Ok(listed.id.clone());
        }
        let config = self.config()?;
        let cluster = self.clone();
        let making = self.node.pools.update.run("Place", Deadline::after(OPEN_TIME), move |_| {
            for (number, id) in held(&*cluster.disk, &cluster.storage())? {
                let folder = cluster.copy_folder(number, &id)?;
                if number == shard && !folder.was_listed() && folder.recall()?.range == range {
                    return Ok(id);
                }
            }
            let id = Uuid::new_v4().simple().to_string();
            cluster.copy_folder(shard, &id)?.create(range, config, None, asked)?;
            Ok::<_, CopyError>(id)
        });
        let id = making.await??;
        tracing::info!(shard, copy = id, "placed");
        self.placed.lock().insert(shard, PlacedCopy { id: id.clone(), asked });
        Ok(id)
    }

    /// Lets another copy lead.
    ///
    /// # Errors
    /// This node doesn't lead the shard, or the ids aren't UUIDs.
    pub fn hand_over(&self, shard: u32, request: &HandOverRequest) -> Result<(), String> {
        let (to, boot) = (CopyId(number(&request.to)?), Boot(number(&request.boot)?));
        let leading = self.leading_inbox(shard)?;
        tracing::info!(shard, to = request.to, "handing over");
        leading.put(Input::HandOver { to, boot });
        Ok(())
    }

    /// What the copy that leads a shard here is told goes there.
    pub(super) fn leading_inbox(&self, shard: u32) -> Result<Inbox, String> {
        let copies = self.copies.lock();
        let leading = copies.get(&shard).filter(|c| c.leads()).and_then(|c| c.replica.as_ref());
        leading.map(|r| r.inbox()).ok_or_else(|| format!("this node does not lead shard {shard}"))
    }

    /// Stops the replica of a shard, if one runs.
    pub(super) async fn stop_copy(&self, shard: u32) {
        let stopped = self.copies.lock().remove(&shard);
        crate::replica::end(stopped).await;
    }

    /// Stops copies that their record lists no more, and puts their folders away once the store itself says that another
    /// copy has everything. So goes what was made and never listed, when it is of no use any more.
    pub(super) async fn retire(self: &Arc<Self>, known: &BTreeMap<u32, ShardRecord>) {
        let gone: Vec<u32> = {
            let copies = self.copies.lock();
            let listed = |n: &u32| known.get(n).is_none_or(|r| r.copy_of(self.pod()).is_some());
            copies.keys().copied().filter(|n| !listed(n)).collect()
        };
        for shard in gone {
            tracing::info!(shard, "the record lists the copy on this node no more: it is closed");
            self.stop_copy(shard).await;
        }
        if let Err(e) = self.put_away(known).await {
            tracing::warn!("copies that are not listed any more could not be put away: {e}");
        }
    }

    async fn put_away(self: &Arc<Self>, known: &BTreeMap<u32, ShardRecord>) -> Result<(), NotThere> {
        let (cluster, now, pool) = (self.clone(), clock::unix().as_secs(), &self.node.pools.update);
        let looking = pool.run("Trash", Deadline::after(OPEN_TIME), move |_| {
            let (disk, storage) = (&*cluster.disk, cluster.storage());
            empty_trash(disk, &storage, now)?;
            let folder = |(shard, id): (u32, String)| {
                let folder = cluster.copy_folder(shard, &id)?;
                let never_listed = if folder.was_listed() { None } else { Some(folder.made()?) };
                Ok((shard, id, never_listed, folder))
            };
            held(disk, &storage)?.into_iter().map(folder).collect::<Result<Vec<_>, CopyError>>()
        });
        for (shard, id, never_listed, folder) in looking.await?? {
            let Some(heard) = known.get(&shard).filter(|r| r.copies.iter().all(|c| c.id != id)) else {
                continue;
            };
            let open = self.copies.lock().get(&shard).is_some_and(|c| c.id == id);
            let useless = |r: &ShardRecord| never_listed.is_none_or(|made| self.useless(r, &id, made, now));
            if open || !useless(heard) {
                continue;
            }
            let live = self.records.get(shard).await.map_err(|e| NotThere::Other(e.to_string()))?;
            let unlisted = |r: &ShardRecord| r.copies.iter().all(|c| c.id != id);
            if live.is_some_and(|r| unlisted(&r) && r.copies.iter().any(|c| c.in_sync) && useless(&r)) {
                tracing::info!(shard, copy = id, "no record lists the copy: its folder goes to the trash");
                // An operator that heard of it before and lists it now is told that it is gone.
                self.placed.lock().retain(|_, c| c.id != id);
                pool.run("Trash", Deadline::after(OPEN_TIME), move |_| folder.discard(now)).await??;
            }
        }
        Ok(())
    }

    /// Whether a copy that no record ever listed is of no use: the one that is listed here is sound, or nobody came for it.
    fn useless(&self, record: &ShardRecord, id: &str, made: u64, now: u64) -> bool {
        let copies = self.copies.lock();
        let held = copies.get(&record.shard).filter(|c| c.standing.is_some() && !c.is_lost());
        let sound = record.copy_of(self.pod()).is_some_and(|l| held.is_some_and(|c| c.id == l.id));
        let placed = self.placed.lock();
        let asked = placed.get(&record.shard).filter(|c| c.id == id).map_or(0, |c| c.asked);
        sound || now.saturating_sub(made.max(asked)) > UNLISTED_KEPT
    }
}
