//! REST snapshots of one shard. A shard that is recovered gets a folder of its own beside the one that it replaces; the
//! collection's definition names which of them is the shard's, so writing it is the moment of the change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quiver_api::internal::{HashRange as WireRange, SnapshotManifest};
use quiver_api::shard_call::{ShardCall, ShardWrite};
use quiver_engine::Cancel;
use quiver_engine::config::CollectionConfig;
use quiver_engine::file::{Disk, atomic};
use quiver_engine::shard::{Shard, ShardOptions};
use quiver_engine::wal::WalIdentity;
use uuid::Uuid;

use super::backup::{dated, linked, now, safe, unpack};
use super::registry::{DEFINITION, Registry, shard_dir};
use super::{Collection, Definition, Place, Route, call_local, convert};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;
use crate::snapshot::catalog::{Catalog, Description, Kept, Scratch, of_shard};
use crate::snapshot::folder::Folder;
use crate::snapshot::layout::Layout;

impl Definition {
    /// What a shard's folder is called.
    pub fn shard_folder(&self, shard: u32) -> String {
        match self.copies.get(&shard).filter(|_| self.recovered.contains(&shard)) {
            Some(copy) => format!("{shard}-{}", copy.simple()),
            None => shard.to_string(),
        }
    }

    /// Where a shard's files are.
    pub fn shard_dir(&self, dir: &Path, shard: u32) -> PathBuf {
        dir.join("shards").join(self.shard_folder(shard))
    }
}

impl Collection {
    /// A shard that this node holds.
    pub fn local_shard(&self, shard: u32) -> Result<(Route, Arc<Shard>)> {
        let missing = || ApiError::not_found(format!("shard {shard} not found"));
        let routes = self.routes.load();
        let route = routes.iter().find(|r| r.shard == shard).ok_or_else(missing)?;
        match &route.place {
            Place::Local(local) => Ok((route.clone(), local.clone())),
            Place::Remote { pod, .. } => Err(missing().hint(format!("{pod} holds it: ask there"))),
            Place::Missing(why) => Err(missing().hint(why.clone())),
        }
    }
}

/// Takes a snapshot of a shard.
pub async fn create(
    registry: &Arc<Registry>,
    catalog: &Catalog,
    collection: Arc<Collection>,
    shard: u32,
    deadline: Deadline,
) -> Result<Description> {
    let snapshots = &registry.node.snapshots;
    let collection_name = collection.name();
    let _running = snapshots.creating(&collection_name);
    let (catalog, disk) = (catalog.clone(), registry.disk.clone());
    let work = move |cancel: &Cancel| -> Result<Description> {
        let scratch = catalog.scratch()?;
        let owner = of_shard(&collection.name(), shard);
        let mut reserved = None;
        let reserve = |name: String| reserved.insert(catalog.reserve(&owner, &name)).name().to_owned();
        let manifest = link_one(&*disk, &scratch, &collection, shard, reserve)?;
        let name = crate::snapshot::name::SafeName::parse(&manifest.name)?;
        let contents = Folder::new(scratch.path(), manifest)?.into();
        Ok(catalog.add_to(&owner, name, contents, &scratch, cancel)?)
    };
    let made = registry.node.pools.update.run("Create snapshot", deadline, work).await??;
    snapshots.created(&collection_name);
    Ok(made)
}

/// A snapshot of a shard that is kept nowhere: its name, its tar, and the folder that the tar is read from.
pub async fn stream(
    registry: &Arc<Registry>,
    catalog: &Catalog,
    collection: Arc<Collection>,
    shard: u32,
    deadline: Deadline,
) -> Result<(String, Layout, Scratch)> {
    let _running = registry.node.snapshots.creating(&collection.name());
    let (kept, disk, pool) = (catalog.clone(), registry.disk.clone(), &registry.node.pools.update);
    let work = move |_: &_| -> Result<(String, Folder, Scratch)> {
        let scratch = kept.scratch()?;
        let manifest = link_one(&*disk, &scratch, &collection, shard, |name| name)?;
        Ok((manifest.name.clone(), Folder::new(scratch.path(), manifest)?, scratch))
    };
    let (name, folder, scratch) = pool.run("Create snapshot", deadline, work).await??;
    Ok((name, catalog.tar_of(pool, folder, deadline).await?, scratch))
}

fn link_one(
    disk: &dyn Disk,
    scratch: &Scratch,
    collection: &Collection,
    shard: u32,
    reserve: impl FnOnce(String) -> String,
) -> Result<SnapshotManifest> {
    // It may have gone since the request was looked at.
    collection.local_shard(shard)?;
    let at = now();
    let name = reserve(format!("{}-shard-{shard}-{}", safe(&collection.name()), dated(at)));
    linked(disk, scratch.path(), collection, Some(shard), name, at)
}

/// Replaces a shard's data by what a snapshot of a shard holds. Everything is verified before anything is touched.
pub async fn recover(
    registry: &Arc<Registry>,
    catalog: &Catalog,
    collection: Arc<Collection>,
    shard: u32,
    from: Kept,
    checksum: Option<String>,
    deadline: Deadline,
) -> Result<()> {
    let _running = registry.node.snapshots.recovering(&collection.name());
    let copy = Uuid::new_v4();
    let folder = collection.dir.join("shards").join(format!("{shard}-{}", copy.simple()));
    let restored = {
        let (catalog, disk, into) = (catalog.clone(), registry.disk.clone(), folder.clone());
        let (route, _) = collection.local_shard(shard)?;
        let uid = collection.definition.load().uid;
        let identity = WalIdentity { collection_uid: *uid.as_bytes(), copy_id: *copy.as_bytes() };
        let limits = registry.node.shard_limits();
        let work = move |cancel: &Cancel| -> Result<Shard> {
            let scratch = catalog.scratch()?;
            let unpacked = scratch.path().join("unpacked");
            let manifest = unpack(&catalog, &disk, from, checksum.as_deref(), &unpacked, cancel)?;
            let number = the_only_shard(&manifest, &route)?;
            let options = ShardOptions { identity, limits, ..ShardOptions::default() };
            Ok(Shard::restore_from(disk.clone(), &shard_dir(&unpacked, number), &into, options)?)
        };
        registry.node.pools.update.run("Recover snapshot", deadline, work).await
    };
    let taken = match restored {
        Ok(Ok(restored)) => registry.take_over(&collection, shard, copy, Arc::new(restored), deadline).await,
        Ok(Err(e)) => Err(Refused { error: e, is_named: false }),
        Err(e) => Err(Refused { error: e.into(), is_named: false }),
    };
    let Err(refused) = taken else { return Ok(()) };
    if !refused.is_named {
        registry.remove_copy(folder);
    }
    Err(refused.error)
}

/// Why a copy was not taken, and whether the definition may name it all the same.
struct Refused {
    error: ApiError,
    is_named: bool,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { error, is_named: false }
    }
}

/// A snapshot's shard, if it has one alone and that owns the same points.
fn the_only_shard(manifest: &SnapshotManifest, route: &Route) -> Result<u32> {
    let [only] = manifest.shards.as_slice() else {
        return Err(ApiError::bad_request(format!(
            "the snapshot holds {} shards: one of a single shard is needed here",
            manifest.shards.len()
        )));
    };
    let range = WireRange { first: route.range.from, last: route.range.to };
    if only.range != range {
        return Err(ApiError::bad_request(format!(
            "the snapshot's shard owns the points with hashes from {:016x} to {:016x}, shard {} those from {:016x} to {:016x}: \
             the collections have different numbers of shards",
            only.range.first, only.range.last, route.shard, range.first, range.last
        )));
    }
    Ok(only.shard)
}

/// Vectors can't be other ones in one shard than in the others; their settings are the collection's.
fn check_vectors(ours: &CollectionConfig, restored: &CollectionConfig) -> Result<()> {
    let dense = |config: &CollectionConfig| {
        let vectors = config.vectors.iter();
        vectors
            .map(|(name, p)| (name.clone(), (p.size, p.distance, p.multivector, p.datatype)))
            .collect::<BTreeMap<_, _>>()
    };
    let is_same =
        dense(ours) == dense(restored) && ours.sparse_vectors.keys().eq(restored.sparse_vectors.keys());
    if is_same {
        return Ok(());
    }
    Err(ApiError::bad_request("the snapshot's shard has other vectors than the collection")
        .hint("Recover it into a collection that was created with the same vectors"))
}

impl Registry {
    /// Puts a restored copy in the place of a shard, with the settings and payload indexes that the collection has.
    async fn take_over(
        &self,
        collection: &Arc<Collection>,
        shard: u32,
        copy: Uuid,
        restored: Arc<Shard>,
        deadline: Deadline,
    ) -> std::result::Result<(), Refused> {
        let _guard = collection.changing.lock().await;
        let name = collection.name();
        if !self.find(&name).is_some_and(|current| Arc::ptr_eq(&current, collection)) {
            return Err(ApiError::no_collection(&name).into());
        }
        let (_, old) = collection.local_shard(shard)?;
        let mut definition = Definition::clone(&collection.definition.load());
        let config = convert::collection_config(&definition.settings, &self.defaults())?;
        check_vectors(&config, restored.view().config())?;
        let new = restored.clone();
        let set = move |_: &_| new.update_config(config);
        let pool = &self.node.pools.update;
        pool.run("Recover snapshot", deadline, set).await.map_err(ApiError::from)?.map_err(ApiError::from)?;
        self.same_indexes(&old, &restored, deadline).await?;
        let old_folder = definition.shard_dir(&collection.dir, shard);
        definition.copies.insert(shard, copy);
        definition.recovered.insert(shard);
        let written =
            self.keep_definition("Recover snapshot", collection, definition.clone(), deadline).await;
        let named = match &written {
            Ok(()) => true,
            Err(_) => self.names_copy(collection, shard, copy),
        };
        if named {
            // What the next start would find is what is served, whether or not writing it ended well.
            let mut routes = Vec::clone(&collection.routes.load());
            let mine = routes.iter_mut().filter(|r| r.shard == shard);
            mine.for_each(|r| r.place = Place::Local(restored.clone()));
            collection.routes.store(Arc::new(routes));
            collection.definition.store(Arc::new(definition));
            collection.optimized.lock().remove(&shard);
        }
        written.map_err(|error| Refused { error, is_named: true })?;
        self.remove_copy(old_folder);
        Ok(())
    }

    /// Gives a restored shard the payload indexes of the one that it replaces.
    async fn same_indexes(&self, old: &Shard, restored: &Arc<Shard>, deadline: Deadline) -> Result<()> {
        let all = |shard: &Shard| {
            let indexes = shard.view().payload_schema().into_iter();
            indexes.map(|(path, schema, _)| (path.to_string(), schema)).collect::<BTreeMap<_, _>>()
        };
        let (wanted, there) = (all(old), all(restored));
        let dropped = there.keys().filter(|field| !wanted.contains_key(*field));
        let mut writes: Vec<ShardWrite> =
            dropped.map(|field| ShardWrite::DropIndex { field: field.clone() }).collect();
        for (field, schema) in wanted.iter().filter(|(field, schema)| there.get(*field) != Some(schema)) {
            let schema = convert::wire_field_schema(schema);
            writes.push(ShardWrite::CreateIndex { field: field.clone(), schema });
        }
        for write in writes {
            call_local(&self.node, restored.clone(), None, ShardCall::Write(write), deadline).await?;
        }
        Ok(())
    }

    /// Whether the definition, as it can be read now, names this copy.
    fn names_copy(&self, collection: &Collection, shard: u32, copy: Uuid) -> bool {
        let read = atomic::read_json::<Definition>(&*self.disk, &collection.dir.join(DEFINITION));
        read.is_ok_and(|d| d.copies.get(&shard) == Some(&copy))
    }

    /// Removes a copy that no definition names.
    fn remove_copy(&self, folder: PathBuf) {
        let disk = self.disk.clone();
        self.node.pools.update.spawn(move || {
            if disk.exists(&folder)
                && let Err(e) = disk.remove_dir_all(&folder)
            {
                tracing::warn!(error = %e, "the data of a replaced shard stays until the next start");
            }
        });
    }
}
