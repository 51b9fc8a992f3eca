//! REST snapshots of the whole storage: one of each collection, and the aliases.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use quiver_engine::Cancel;
use quiver_engine::file::Disk;

use super::Collection;
use super::backup::{dated, linked, name_of, now};
use super::registry::Registry;
use crate::error::Result;
use crate::pool::Deadline;
use crate::snapshot::catalog::{Catalog, Description, STORAGE};
use crate::snapshot::contents::Contents;
use crate::snapshot::folder::Folder;
use crate::snapshot::name::SafeName;
use crate::snapshot::storage::{StorageConfig, StorageFolder};

/// Takes a snapshot of all collections, each shard as of one moment of its own.
pub async fn create(registry: &Arc<Registry>, catalog: &Catalog, deadline: Deadline) -> Result<Description> {
    let (catalog, all) = (catalog.clone(), registry.clone());
    let work = move |cancel: &Cancel| -> Result<Description> {
        let scratch = catalog.scratch()?;
        let (names, at) = (all.names(), now());
        let (mut config, mut folders) = (StorageConfig::default(), Vec::new());
        for (collection_name, collection) in &names.collections {
            cancel.check()?;
            let linked = match link_one(&*all.disk, scratch.path(), collection, at) {
                // Deleted since the names were read.
                Err(_) if !is_there(&all, collection) => continue,
                linked => linked?,
            };
            config.collections_mapping.insert(collection_name.clone(), linked.0.to_string());
            folders.push(linked);
        }
        config.collections_aliases = names.aliases.clone();
        config.collections_aliases.retain(|_, to| config.collections_mapping.contains_key(to));
        let reserved = catalog.reserve(STORAGE, &format!("full-snapshot-{}", dated(at)));
        let contents = Contents::Storage(StorageFolder::new(scratch.path(), &config, folders)?);
        Ok(catalog.add_to(STORAGE, SafeName::parse(reserved.name())?, contents, &scratch, cancel)?)
    };
    registry.node.pools.update.run("Create snapshot", deadline, work).await?
}

fn is_there(registry: &Registry, collection: &Arc<Collection>) -> bool {
    registry.names().collections.values().any(|current| Arc::ptr_eq(current, collection))
}

fn link_one(
    disk: &dyn Disk,
    root: &Path,
    collection: &Collection,
    at: Timestamp,
) -> Result<(SafeName, Folder)> {
    let name = SafeName::parse(&name_of(&collection.definition.load(), at))?;
    let dir = root.join(name.as_str());
    // Also if it has no shards yet.
    disk.create_dir_all(&dir).map_err(|e| crate::snapshot::io(format!("making {}", dir.display()))(e))?;
    let manifest = linked(disk, &dir, collection, None, name.to_string(), at)?;
    Ok((name, Folder::new(&dir, manifest)?))
}
