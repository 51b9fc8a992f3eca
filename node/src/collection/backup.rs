//! REST snapshots of a collection: taken while writes go on, each shard as of one moment of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use quiver_api::collections::CreateCollection;
use quiver_api::internal::{
    HashRange as WireRange, PayloadIndex, SNAPSHOT_FORMAT_VERSION, ShardManifest, SnapshotFile,
    SnapshotManifest,
};
use quiver_engine::Cancel;
use quiver_engine::file::Disk;
use quiver_engine::shard::{Shard, ShardLimits};

use super::registry::{Registry, shard_dir, shard_options};
use super::shard_keys::{self, Slot};
use super::{Collection, Definition, Place, Route};
use crate::clock;
use crate::error::{ApiError, Result};
use crate::pool::Deadline;
use crate::snapshot::archive;
use crate::snapshot::catalog::{Catalog, Description, Kept};
use crate::snapshot::folder::{Folder, UNKNOWN_DIGEST};

/// Takes a snapshot of the shards that this node holds.
pub async fn create(
    registry: &Arc<Registry>,
    catalog: &Catalog,
    collection: Arc<Collection>,
    deadline: Deadline,
) -> Result<Description> {
    let (catalog, disk) = (catalog.clone(), registry.disk.clone());
    let name = collection.name();
    let _running = registry.node.snapshots.creating(&name);
    let work = move |cancel: &Cancel| -> Result<Description> {
        let scratch = catalog.scratch()?;
        let at = now();
        let reserved = catalog.reserve(&collection.name(), &name_of(&collection.definition.load(), at));
        let manifest = linked(&*disk, scratch.path(), &collection, None, reserved.name().to_owned(), at)?;
        Ok(catalog.add(manifest, &scratch, cancel)?)
    };
    let made = registry.node.pools.update.run("Create snapshot", deadline, work).await??;
    registry.node.snapshots.created(&name);
    Ok(made)
}

/// Links the files of the shards that this node holds, or of the one that is named, below `dir`, and says what they are.
pub(super) fn linked(
    disk: &dyn Disk,
    dir: &Path,
    collection: &Collection,
    only: Option<u32>,
    name: String,
    at: Timestamp,
) -> Result<SnapshotManifest> {
    let definition = collection.definition.load_full();
    let (mut shards, mut payload_indexes) = (Vec::new(), Vec::new());
    for route in collection.routes.load().iter().filter(|r| only.is_none_or(|shard| r.shard == shard)) {
        if let Place::Local(shard) = &route.place {
            shards.push(link(disk, dir, route, shard)?);
            payload_indexes = indexes_of(shard)?;
        }
    }
    Ok(SnapshotManifest {
        format_version: SNAPSHOT_FORMAT_VERSION,
        name,
        collection: definition.name.clone(),
        collection_uid: definition.uid.to_string(),
        created_at: at.to_string(),
        schema: serde_json::to_value(&definition.settings).map_err(ApiError::internal)?,
        payload_indexes,
        aliases: Vec::new(),
        shards,
    })
}

/// The second that snapshots are named for.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(i64::try_from(clock::unix().as_secs()).unwrap_or(0)).unwrap_or_default()
}

/// How names of snapshots end.
pub(super) fn dated(at: Timestamp) -> impl std::fmt::Display {
    at.strftime("%Y-%m-%d-%H-%M-%S.snapshot")
}

/// What a snapshot of a collection is called.
pub(super) fn name_of(definition: &Definition, at: Timestamp) -> String {
    format!("{}-{}-{}", safe(&definition.name), peer(definition), dated(at))
}

/// A collection's name as part of a file name.
pub(super) fn safe(name: &str) -> String {
    let kept = name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' });
    let text: String = kept.take(128).collect();
    text.trim_start_matches('.').to_owned()
}

/// A number where the protocol has its peer's.
fn peer(definition: &Definition) -> u64 {
    definition.uid.as_u64_pair().0 >> 12
}

fn link(disk: &dyn Disk, root: &Path, route: &Route, shard: &Shard) -> Result<ShardManifest> {
    let dir = shard_dir(root, route.shard);
    let parent = dir.parent().unwrap_or(root);
    disk.create_dir_all(parent)
        .map_err(|e| ApiError::internal(format!("making {}: {e}", parent.display())))?;
    let linked = shard.snapshot_to(&dir)?;
    // Digests are made later: they take longer than everything else.
    let file = |name: &PathBuf| -> Result<SnapshotFile> {
        let path = dir.join(name);
        let size_bytes = disk.size(&path);
        let size_bytes =
            size_bytes.map_err(|e| ApiError::internal(format!("looking at {}: {e}", path.display())))?;
        let name = name.to_string_lossy().into_owned();
        Ok(SnapshotFile { name, sha256: UNKNOWN_DIGEST.into(), size_bytes })
    };
    let files = linked.files.iter().map(file).collect::<Result<Vec<_>>>()?;
    Ok(ShardManifest {
        shard: route.shard,
        range: WireRange { first: route.range.from, last: route.range.to },
        term: 1,
        seq: linked.seq,
        points: linked.points,
        engine_version: crate::VERSION.into(),
        files,
        uploaded_bytes: 0,
        reused_bytes: 0,
    })
}

fn indexes_of(shard: &Shard) -> Result<Vec<PayloadIndex>> {
    let all = shard.view().payload_schema();
    let index = |(path, schema, _): (
        quiver_engine::json_path::JsonPath,
        quiver_engine::config::FieldSchema,
        usize,
    )| {
        let shown = super::convert::wire_field_schema(&schema);
        let field_schema = serde_json::to_value(shown).map_err(ApiError::internal)?;
        Ok(PayloadIndex { field_name: path.to_string(), field_schema })
    };
    all.into_iter().map(index).collect()
}

/// Replaces a collection by what a snapshot holds, or creates it. Everything is verified before anything is touched.
pub async fn recover(
    registry: &Arc<Registry>,
    catalog: &Catalog,
    name: &str,
    from: Kept,
    checksum: Option<String>,
    deadline: Deadline,
) -> Result<()> {
    let scratch = catalog.scratch()?;
    let real_name = registry.find(name).map_or_else(|| name.to_owned(), |c| c.name());
    let _running = registry.node.snapshots.recovering(&real_name);
    let (catalog, disk, for_work) = (catalog.clone(), registry.disk.clone(), real_name.clone());
    let root = registry.node.settings.storage.storage_path.join("collections");
    let unpacked = scratch.path().join("unpacked");
    let limits = registry.node.shard_limits();
    let work = move |cancel: &Cancel| -> Result<(PathBuf, Definition, Vec<Shard>)> {
        let manifest = unpack(&catalog, &disk, from, checksum.as_deref(), &unpacked, cancel)?;
        let definition = definition_of(&for_work, &manifest)?;
        let dir = root.join(definition.uid.simple().to_string());
        let restored = restore_shards(&disk, &unpacked, &dir, &definition, limits);
        if restored.is_err() {
            // What was made so far has no definition: the next start would remove it too.
            let _ = disk.remove_dir_all(&dir);
        }
        Ok((dir, definition, restored?))
    };
    let (dir, definition, shards) =
        registry.node.pools.update.run("Recover snapshot", deadline, work).await??;
    drop(scratch);
    let routes = shard_keys::routes(shard_keys::slots(&definition.settings), shards);
    let collection = registry.collection(dir, definition, routes);
    registry.replace(&real_name, collection, deadline).await
}

/// The files of a snapshot in `dir`, which must not exist: unpacked, or linked. What the snapshot says of itself is checked.
pub(super) fn unpack(
    catalog: &Catalog,
    disk: &Arc<dyn Disk>,
    from: Kept,
    checksum: Option<&str>,
    dir: &Path,
    cancel: &Cancel,
) -> Result<SnapshotManifest> {
    match from {
        Kept::Folder(path) => Ok(Folder::read(&**disk, &path)?.link_into(disk, dir, checksum, cancel)?),
        Kept::Archive(path) => {
            catalog.check(&path, checksum, cancel)?;
            Ok(archive::unpack(&**disk, &path, dir, cancel)?)
        }
    }
}

fn definition_of(name: &str, manifest: &SnapshotManifest) -> Result<Definition> {
    let settings: CreateCollection = serde_json::from_value(manifest.schema.clone())
        .map_err(|e| ApiError::bad_request(format!("the snapshot's schema can't be read: {e}")))?;
    let slots = shard_keys::slots(&settings);
    let fits = manifest.shards.len() == slots.len()
        && slots.iter().zip(&manifest.shards).all(|(slot, s)| {
            let range = WireRange { first: slot.range.from, last: slot.range.to };
            s.shard == slot.shard && s.range == range
        });
    if !fits {
        return Err(ApiError::bad_request(
            "the snapshot holds only a part of its collection's shards: recover it with a VectorCollection",
        ));
    }
    Ok(Definition {
        name: name.to_owned(),
        uid: uuid::Uuid::new_v4(),
        replaces: None,
        created_unix: clock::unix().as_secs(),
        copies: shard_keys::copies(&settings),
        recovered: BTreeSet::new(),
        settings,
    })
}

fn restore_shards(
    disk: &Arc<dyn Disk>,
    from: &Path,
    dir: &Path,
    definition: &Definition,
    limits: ShardLimits,
) -> Result<Vec<Shard>> {
    let io = |e| ApiError::internal(format!("making the collection's folder: {e}"));
    disk.create_dir_all(&dir.join("shards")).map_err(io)?;
    let mut shards = Vec::new();
    for Slot { shard, .. } in shard_keys::slots(&definition.settings) {
        let options = shard_options(definition, shard, limits);
        let (from, to) = (shard_dir(from, shard), shard_dir(dir, shard));
        shards.push(Shard::restore_from(disk.clone(), &from, &to, options)?);
    }
    Ok(shards)
}
