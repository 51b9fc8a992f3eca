//! All collections of a node and their other names.
//!
//! A collection exists once its `collection.json` is durable, which is written last; it is gone once its folder was
//! renamed away, which happens first. Readers of names never wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use quiver_api::collections::{CreateCollection, CreateVector, UpdateCollection, VectorParams};
use quiver_api::quantization::QuantizationUpdate;
use quiver_api::shard_call::ShardWrite;
use quiver_api::sparse::SparseVectorParams;
use quiver_engine::Error as EngineError;
use quiver_engine::file::{Disk, RealDisk, atomic};
use quiver_engine::shard::{GraphThreads, Shard, ShardLimits, ShardOptions};
use quiver_engine::wal::WalIdentity;
use uuid::Uuid;

use super::convert::{self, Defaults};
use super::name::{check_asked_name, check_name};
use super::optimizer::Looked;
use super::shard_keys::{self, Slot};
use super::sparse::{self, Configured};
use super::{Collection, Definition, Route};
use crate::clock;
use crate::cluster::allowed::{self, Allowed, Change};
use crate::cluster::lead::Cluster;
use crate::error::{ApiError, Result};
use crate::node::Node;
use crate::pool::Deadline;

pub const DEFINITION: &str = "collection.json";
const ALIASES: &str = "aliases.json";
/// More shards of one collection on one node help nobody.
pub const SHARDS_MAX: u32 = 1024;

/// What a name means.
#[derive(Clone, Default)]
pub struct Names {
    pub collections: BTreeMap<String, Arc<Collection>>,
    /// Alias → collection.
    pub aliases: BTreeMap<String, String>,
}

/// The collections of this node.
pub struct Registry {
    pub node: Arc<Node>,
    pub disk: Arc<dyn Disk>,
    root: PathBuf,
    names: ArcSwap<Names>,
    open: AtomicBool,
    /// In a managed node set: what the collection is to be.
    pub managed: OnceLock<Arc<Cluster>>,
    /// Held by whoever adds or removes names.
    changing: tokio::sync::Mutex<()>,
}

impl Registry {
    /// An empty registry; [`Self::open_all`] fills it.
    pub fn new(node: Arc<Node>) -> Arc<Self> {
        let root = node.settings.storage.storage_path.clone();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Arc::new(Self {
            node,
            disk,
            root,
            names: ArcSwap::default(),
            open: AtomicBool::new(false),
            managed: OnceLock::new(),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Opens what the data folder holds. Nothing is served before every log has been replayed.
    pub fn open_all(&self) -> anyhow::Result<()> {
        let collections_dir = self.root.join("collections");
        self.disk.create_dir_all(&collections_dir)?;
        self.empty_trash();
        let mut names = Names::default();
        for (dir, definition) in self.definitions(&collections_dir)? {
            let name = definition.name.clone();
            let collection = self
                .open_one(dir, definition)
                .map_err(|e| anyhow::anyhow!("collection `{name}` can't be opened: {}", e.text))?;
            names.collections.insert(name, collection);
        }
        self.node.quotas.load(&*self.disk)?;
        let aliases = self.root.join(ALIASES);
        if self.disk.exists(&aliases) {
            names.aliases = atomic::read_json(&*self.disk, &aliases)?;
            names.aliases.retain(|_, to| names.collections.contains_key(to));
        }
        self.names.store(Arc::new(names));
        Ok(())
    }

    /// Folders of collections and what they hold; what was never finished, or was replaced, is removed.
    fn definitions(&self, collections_dir: &Path) -> anyhow::Result<Vec<(PathBuf, Definition)>> {
        let mut found: Vec<(PathBuf, Definition)> = Vec::new();
        for folder in self.disk.list(collections_dir)? {
            let dir = collections_dir.join(&folder);
            if self.disk.exists(&dir.join(DEFINITION)) {
                let definition = atomic::read_json(&*self.disk, &dir.join(DEFINITION))?;
                found.push((dir, definition));
            } else {
                tracing::info!(folder, "removing a collection that was never finished");
                self.disk.remove_dir_all(&dir)?;
            }
        }
        let replaced: Vec<Uuid> = found.iter().filter_map(|(_, d)| d.replaces).collect();
        for (dir, _) in found.extract_if(.., |(_, d)| replaced.contains(&d.uid)) {
            self.disk.remove_dir_all(&dir)?;
        }
        Ok(found)
    }

    fn open_one(&self, dir: PathBuf, definition: Definition) -> Result<Arc<Collection>> {
        let slots = shard_keys::slots(&definition.settings);
        shard_keys::remove_unknown(&*self.disk, &dir, &definition, &slots)?;
        let open = |slot: &Slot| {
            let options = shard_options(&definition, slot.shard, self.node.shard_limits());
            Shard::open(self.disk.clone(), &definition.shard_dir(&dir, slot.shard), options)
        };
        let shards = slots.iter().map(open).collect::<std::result::Result<_, _>>()?;
        let routes = shard_keys::routes(slots, shards);
        Ok(self.collection(dir, definition, routes))
    }

    /// A collection from its parts; the name is not given yet.
    pub fn collection(&self, dir: PathBuf, definition: Definition, routes: Vec<Route>) -> Arc<Collection> {
        Arc::new(Collection {
            node: self.node.clone(),
            dir,
            definition: ArcSwap::from_pointee(definition),
            routes: ArcSwap::from_pointee(routes),
            changing: tokio::sync::Mutex::default(),
            optimized: parking_lot::Mutex::default(),
            rates: Arc::default(),
            graph_threads: GraphThreads::default(),
        })
    }

    /// Names mean something from now on.
    pub fn set_open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Whether the data folder has been read: before that a missing name says nothing.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// All names as of now.
    pub fn names(&self) -> Arc<Names> {
        self.names.load_full()
    }

    /// A collection by its name or alias.
    pub fn get(&self, name: &str) -> Result<Arc<Collection>> {
        self.find(name).ok_or_else(|| match check_asked_name(name) {
            // No collection has such a name.
            Err(wrong) => wrong,
            Ok(()) => ApiError::no_collection(name),
        })
    }

    /// A collection by its name or alias, if there is one.
    pub fn find(&self, name: &str) -> Option<Arc<Collection>> {
        let names = self.names.load();
        let real = names.aliases.get(name).map_or(name, String::as_str);
        names.collections.get(real).cloned()
    }

    /// Whether REST may change this; always so on a node of its own.
    pub fn allowed(&self, change: &Change<'_>) -> Result<Allowed> {
        if !self.node.settings.cluster.enabled {
            return Ok(Allowed::Do);
        }
        let schema = self.managed.get().and_then(|cluster| cluster.schema.current()).ok_or_else(|| {
            ApiError::unavailable("the operator has not told this node yet what its collection looks like")
        })?;
        allowed::check(&schema, change).map_err(ApiError::forbidden)
    }

    /// Settings' defaults of new collections.
    pub fn defaults(&self) -> Defaults {
        let storage = &self.node.settings.storage;
        Defaults {
            hnsw: storage.hnsw_index.engine(),
            optimizers: storage.optimizers.engine(),
            on_disk_payload: storage.on_disk_payload,
        }
    }

    /// Creates a collection.
    pub async fn create(&self, name: &str, settings: CreateCollection, deadline: Deadline) -> Result<()> {
        check_name(name)?;
        let _guard = self.changing.lock().await;
        let names = self.names();
        if names.collections.contains_key(name) {
            return Err(ApiError::exists(format!("Collection `{name}` already exists!")));
        }
        if names.aliases.contains_key(name) {
            return Err(ApiError::wrong_input(format!(
                "Can't create collection with name {name}. Alias with the same name already exists"
            )));
        }
        if self.node.settings.storage.max_collections.is_some_and(|max| names.collections.len() >= max) {
            return Err(ApiError::bad_request(format!(
                "the node has as many collections as storage.max_collections allows ({}); delete one first",
                names.collections.len()
            )));
        }
        let definition = self.new_definition(name, settings)?;
        let dir = self.root.join("collections").join(definition.uid.simple().to_string());
        let config = convert::collection_config(&definition.settings, &self.defaults())?;
        let (disk, at, made) = (self.disk.clone(), dir.clone(), definition.clone());
        let limits = self.node.shard_limits();
        let shards = self
            .node
            .pools
            .update
            .run("Create collection", deadline, move |_| create_shards(&disk, &at, &made, &config, limits))
            .await??;
        let routes = shard_keys::routes(shard_keys::slots(&definition.settings), shards);
        let collection = self.collection(dir, definition, routes);
        self.insert(name, collection);
        Ok(())
    }

    fn new_definition(&self, name: &str, mut settings: CreateCollection) -> Result<Definition> {
        // Not a client's to say: only what it changes later makes these.
        settings.unquantized_vectors.clear();
        shard_keys::begin(&mut settings);
        let defaults = &self.node.settings.storage.collection;
        let n = settings.shard_number.or(defaults.shard_number).unwrap_or(1);
        if n > SHARDS_MAX {
            return Err(ApiError::bad_request(format!("shard_number {n} is larger than {SHARDS_MAX}")));
        }
        settings.shard_number = Some(n);
        let copies = shard_keys::copies(&settings);
        let created_unix = clock::unix().as_secs();
        Ok(Definition {
            name: name.into(),
            uid: Uuid::new_v4(),
            replaces: None,
            created_unix,
            copies,
            recovered: Default::default(),
            settings,
        })
    }

    /// Gives a collection its name, for all requests from now on.
    pub fn insert(&self, name: &str, collection: Arc<Collection>) {
        let mut names = Names::clone(&self.names.load());
        names.collections.insert(name.to_owned(), collection);
        self.names.store(Arc::new(names));
    }

    /// Puts a collection in the place of the one that has its name, whose data is removed.
    pub async fn replace(&self, name: &str, collection: Arc<Collection>, deadline: Deadline) -> Result<()> {
        let _guard = self.changing.lock().await;
        let old = self.names().collections.get(name).cloned();
        let (disk, root, dir) = (self.disk.clone(), self.root.clone(), collection.dir.clone());
        let mut definition = Definition::clone(&collection.definition.load());
        definition.replaces = old.as_ref().map(|old| old.definition.load().uid);
        let work = move |_: &_| -> Result<Option<PathBuf>> {
            // The new one is whole before the old one goes: whatever happens between, one of them is found.
            atomic::write_json(&*disk, &dir.join(DEFINITION), &definition)?;
            old.map(|old| bury(&*disk, &root, &old.dir)).transpose()
        };
        let gone = self.node.pools.update.run("Recover snapshot", deadline, work).await??;
        self.insert(name, collection);
        self.remove_later(gone);
        Ok(())
    }

    fn remove_later(&self, gone: Option<PathBuf>) {
        let (Some(gone), disk) = (gone, self.disk.clone()) else { return };
        self.node.pools.update.spawn(move || {
            if let Err(e) = disk.remove_dir_all(&gone) {
                tracing::warn!(error = %e, "the data of a removed collection stays in the trash until the next start");
            }
        });
    }

    /// Removes a collection, its data and its aliases. False if there is none of that name.
    pub async fn drop_collection(&self, name: &str, deadline: Deadline) -> Result<bool> {
        let _guard = self.changing.lock().await;
        let before = self.names();
        let mut names = Names::clone(&before);
        let Some(collection) = names.collections.remove(name) else { return Ok(false) };
        names.aliases.retain(|_, to| to != name);
        let aliases = (names.aliases.len() != before.aliases.len()).then(|| names.aliases.clone());
        self.names.store(Arc::new(names));
        let (disk, root, dir) = (self.disk.clone(), self.root.clone(), collection.dir.clone());
        let work = move |_: &_| -> (Result<PathBuf>, bool) {
            let gone = bury(&*disk, &root, &dir).and_then(|gone| {
                // A start leaves out aliases of collections that are gone, so these may come second.
                if let Some(aliases) = aliases {
                    atomic::write_json(&*disk, &root.join(ALIASES), &aliases)?;
                }
                Ok(gone)
            });
            (gone, disk.exists(&dir))
        };
        let buried = self.node.pools.update.run("Delete collection", deadline, work).await;
        let (gone, is_there) = buried.unwrap_or_else(|e| (Err(e.into()), true));
        if is_there {
            // Nothing was removed: the collection is there as before, and not only after the next start.
            self.names.store(before);
        } else {
            self.node.guardrails.forget(name);
            self.node.snapshots.forget(name);
        }
        self.remove_later(Some(gone?));
        Ok(true)
    }

    fn empty_trash(&self) {
        let trash = self.root.join("trash");
        if self.disk.exists(&trash)
            && let Err(e) = self.disk.remove_dir_all(&trash)
        {
            tracing::warn!(error = %e, "the trash could not be emptied");
        }
    }

    /// Applies changes of aliases, all of them or none.
    pub async fn change_aliases(
        &self,
        change: impl FnOnce(&mut Names) -> Result<()>,
        deadline: Deadline,
    ) -> Result<()> {
        let _guard = self.changing.lock().await;
        let mut names = Names::clone(&self.names.load());
        change(&mut names)?;
        let (disk, path, aliases) = (self.disk.clone(), self.root.join(ALIASES), names.aliases.clone());
        let write = move |_: &_| atomic::write_json(&*disk, &path, &aliases);
        self.node.pools.update.run("Change aliases", deadline, write).await??;
        self.names.store(Arc::new(names));
        Ok(())
    }

    /// Changes what may be changed of a collection.
    pub async fn update(&self, name: &str, change: UpdateCollection, deadline: Deadline) -> Result<()> {
        let collection = self.get(name)?;
        let _guard = collection.changing.lock().await;
        let mut definition = Definition::clone(&collection.definition.load());
        merge(&mut definition.settings, change)?;
        self.redefine(&collection, definition, deadline).await
    }

    async fn redefine(
        &self,
        collection: &Collection,
        definition: Definition,
        deadline: Deadline,
    ) -> Result<()> {
        let config = convert::collection_config(&definition.settings, &self.defaults())?;
        let shards = collection.local_shards();
        let (disk, path, written) = (self.disk.clone(), collection.dir.join(DEFINITION), definition.clone());
        let work = move |_: &_| -> Result<()> {
            atomic::write_json(&*disk, &path, &written)?;
            for (_, shard) in shards {
                shard.update_config(config.clone())?;
            }
            Ok(())
        };
        self.node.pools.update.run("Update collection", deadline, work).await??;
        collection.definition.store(Arc::new(definition));
        collection.optimized.lock().values_mut().for_each(Looked::try_again);
        Ok(())
    }

    /// Adds a named vector. The same one again changes nothing.
    pub async fn create_vector(
        &self,
        collection: &Collection,
        name: &str,
        body: CreateVector,
        wait: bool,
        deadline: Deadline,
    ) -> Result<u64> {
        let params = match body {
            CreateVector::Dense(params) => params,
            CreateVector::Sparse(params) => {
                return self.create_sparse_vector(collection, name, params.into(), wait, deadline).await;
            }
        };
        let _guard = collection.changing.lock().await;
        let mut definition = Definition::clone(&collection.definition.load());
        if definition.settings.sparse_vectors.iter().flatten().any(|(n, _)| n == name) {
            return Err(ApiError::wrong_input(format!("Vector `{name}` already exists as a sparse vector")));
        }
        let known: Option<VectorParams> =
            definition.settings.vectors.iter().find(|(n, _)| *n == name).map(|(_, p)| p.clone());
        match known {
            Some(old) if old == params => return Ok(0),
            Some(_) => {
                return Err(ApiError::wrong_input(format!(
                    "Vector `{name}` already exists with a different configuration"
                )));
            }
            None => {}
        }
        convert::vector_params(&params)?;
        let write = ShardWrite::CreateVector { name: name.into(), params: params.clone() };
        let result = collection.update(write, wait, deadline).await?;
        definition.settings.vectors.as_map_mut().insert(name.into(), params);
        self.redefine(collection, definition, deadline).await?;
        Ok(result.operation_id)
    }

    /// [`Self::create_vector`] for a sparse one.
    async fn create_sparse_vector(
        &self,
        collection: &Collection,
        name: &str,
        params: SparseVectorParams,
        wait: bool,
        deadline: Deadline,
    ) -> Result<u64> {
        let _guard = collection.changing.lock().await;
        let mut definition = Definition::clone(&collection.definition.load());
        match sparse::configured(&definition.settings, name) {
            Some(Configured::Sparse(old)) if *old == params => return Ok(0),
            Some(_) => {
                return Err(ApiError::wrong_input(format!(
                    "Vector `{name}` already exists with a different configuration"
                )));
            }
            None if name.is_empty() => {
                return Err(ApiError::wrong_input("Sparse vector name cannot be empty"));
            }
            None => {}
        }
        let result = collection
            .update(ShardWrite::CreateSparseVector { name: name.into(), params }, wait, deadline)
            .await?;
        definition.settings.sparse_vectors.get_or_insert_default().insert(name.into(), params);
        self.redefine(collection, definition, deadline).await?;
        Ok(result.operation_id)
    }

    /// Drops a named vector and its data. Dropping what is not there is fine.
    pub async fn drop_vector(
        &self,
        collection: &Collection,
        name: &str,
        wait: bool,
        deadline: Deadline,
    ) -> Result<u64> {
        let _guard = collection.changing.lock().await;
        let mut definition = Definition::clone(&collection.definition.load());
        match sparse::configured(&definition.settings, name) {
            None => return Ok(0),
            Some(Configured::Dense(_)) => drop(definition.settings.vectors.as_map_mut().remove(name)),
            Some(Configured::Sparse(_)) => {
                if let Some(all) = &mut definition.settings.sparse_vectors {
                    all.remove(name);
                }
            }
        }
        definition.settings.unquantized_vectors.remove(name);
        let result = collection.update(ShardWrite::DropVector { name: name.into() }, wait, deadline).await?;
        self.redefine(collection, definition, deadline).await?;
        Ok(result.operation_id)
    }
}

/// Takes a collection's folder away, durably; what is left is only bytes.
fn bury(disk: &dyn Disk, root: &Path, dir: &Path) -> Result<PathBuf> {
    let io = |e| ApiError::internal(format!("removing the collection's folder: {e}"));
    let trash = root.join("trash");
    let gone = trash.join(Uuid::new_v4().simple().to_string());
    disk.create_dir_all(&trash).map_err(io)?;
    disk.rename(dir, &gone).map_err(io)?;
    disk.sync_dir(&root.join("collections")).map_err(io)?;
    Ok(gone)
}

/// Where a shard's files are if they were made with it, in a collection or in a snapshot.
pub fn shard_dir(dir: &Path, shard: u32) -> PathBuf {
    dir.join("shards").join(shard.to_string())
}

/// Whose shard it is, and what it may take.
pub fn shard_options(definition: &Definition, shard: u32, limits: ShardLimits) -> ShardOptions {
    let copy_id = definition.copies.get(&shard).copied().unwrap_or_default();
    ShardOptions {
        identity: WalIdentity { collection_uid: *definition.uid.as_bytes(), copy_id: *copy_id.as_bytes() },
        limits,
        ..ShardOptions::default()
    }
}

fn create_shards(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    definition: &Definition,
    config: &quiver_engine::config::CollectionConfig,
    limits: ShardLimits,
) -> Result<Vec<Shard>> {
    disk.create_dir_all(dir)
        .map_err(|e| ApiError::internal(format!("making the collection's folder: {e}")))?;
    let mut shards = Vec::new();
    for Slot { shard, .. } in shard_keys::slots(&definition.settings) {
        let options = shard_options(definition, shard, limits);
        shards.push(Shard::create(disk.clone(), &shard_dir(dir, shard), options, config.clone())?);
    }
    atomic::write_json(&**disk, &dir.join(DEFINITION), definition)?;
    Ok(shards)
}

fn merge(settings: &mut CreateCollection, change: UpdateCollection) -> Result<()> {
    for (name, update) in change.sparse_vectors.into_iter().flatten() {
        let Some(params) = settings.sparse_vectors.as_mut().and_then(|all| all.get_mut(&name)) else {
            return Err(EngineError::VectorName(name).into());
        };
        params.merge(&update);
    }
    for (name, update) in change.vectors.into_iter().flatten() {
        let Some(params) = settings.vectors.get_mut(&name) else {
            return Err(EngineError::VectorName(name).into());
        };
        if let Some(hnsw) = update.hnsw_config {
            params.hnsw_config.get_or_insert_default().merge(&hnsw);
        }
        match update.quantization_config {
            Some(QuantizationUpdate::Set(q)) => {
                params.quantization_config = Some(q);
                settings.unquantized_vectors.remove(&name);
            }
            Some(QuantizationUpdate::Disabled) => {
                params.quantization_config = None;
                settings.unquantized_vectors.insert(name);
            }
            None => {}
        }
        params.on_disk = update.on_disk.or(params.on_disk);
        params.memory = update.memory.or(params.memory);
    }
    if let Some(optimizers) = change.optimizers_config {
        settings.optimizers_config.get_or_insert_default().merge(&optimizers);
    }
    if let Some(hnsw) = change.hnsw_config {
        settings.hnsw_config.get_or_insert_default().merge(&hnsw);
    }
    match change.quantization_config {
        Some(QuantizationUpdate::Set(q)) => settings.quantization_config = Some(q),
        Some(QuantizationUpdate::Disabled) => settings.quantization_config = None,
        None => {}
    }
    if let Some(params) = change.params {
        settings.replication_factor = params.replication_factor.or(settings.replication_factor);
        settings.write_consistency_factor =
            params.write_consistency_factor.or(settings.write_consistency_factor);
        settings.read_fan_out_factor = params.read_fan_out_factor.or(settings.read_fan_out_factor);
        settings.read_fan_out_delay_ms = params.read_fan_out_delay_ms.or(settings.read_fan_out_delay_ms);
        settings.on_disk_payload = params.on_disk_payload.or(settings.on_disk_payload);
        settings.payload = params.payload.or(settings.payload);
    }
    if let Some(strict) = change.strict_mode_config {
        settings.strict_mode_config.get_or_insert_default().merge(strict);
    }
    for (key, value) in change.metadata.into_iter().flatten() {
        let metadata = settings.metadata.get_or_insert_default();
        if value.is_null() { drop(metadata.remove(&key)) } else { drop(metadata.insert(key, value)) }
    }
    Ok(())
}
