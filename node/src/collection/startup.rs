//! Snapshots that the command line names: collections that a node of its own starts with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use quiver_engine::Cancel;

use super::backup;
use super::name::check_name;
use super::registry::Registry;
use crate::pool::Deadline;
use crate::snapshot::catalog::{Catalog, Kept, Scratch};
use crate::snapshot::storage;

/// What the command line says of snapshots.
#[derive(clap::Args, Debug, Default)]
pub struct FromSnapshots {
    /// Snapshot of the whole storage, whose collections and aliases the node starts with
    #[arg(long, value_name = "PATH", conflicts_with = "snapshot")]
    pub storage_snapshot: Option<PathBuf>,
    /// Snapshot of a collection, and the name that the collection gets; may be given several times
    #[arg(long, value_name = "PATH:NAME", alias = "collection-snapshot")]
    pub snapshot: Vec<String>,
    /// Replace collections and aliases that are there already
    #[arg(short, long)]
    pub force_snapshot: bool,
}

/// What is to be made of them.
#[derive(Default)]
struct Wanted {
    collections: BTreeMap<String, Kept>,
    aliases: BTreeMap<String, String>,
    /// Holds what was unpacked.
    _scratch: Option<Scratch>,
}

impl FromSnapshots {
    /// Whether there is anything to start with.
    pub fn is_empty(&self) -> bool {
        self.storage_snapshot.is_none() && self.snapshot.is_empty()
    }

    /// Recovers them, one after the other. Nothing is touched if one of the names is taken, unless that is allowed.
    pub async fn recover(&self, registry: &Arc<Registry>, catalog: &Catalog) -> Result<()> {
        let wanted = match &self.storage_snapshot {
            Some(path) => of_storage(registry, catalog, path).await?,
            None => of_collections(&self.snapshot)?,
        };
        let names = registry.names();
        for name in wanted.collections.keys() {
            check_name(name).map_err(|e| anyhow::anyhow!("the collection `{name}`: {}", e.text))?;
            let is_free = registry.find(name).is_none();
            ensure!(
                is_free || self.force_snapshot,
                "the collection `{name}` exists: --force-snapshot replaces it"
            );
        }
        for (alias, name) in &wanted.aliases {
            let is_free = names.aliases.get(alias).is_none_or(|now| now == name);
            ensure!(
                is_free || self.force_snapshot,
                "the alias `{alias}` exists: --force-snapshot replaces it"
            );
            let is_collection =
                names.collections.contains_key(alias) || wanted.collections.contains_key(alias);
            ensure!(!is_collection, "the alias `{alias}` is the name of a collection");
        }
        let deadline = Deadline::after(std::time::Duration::MAX);
        for (name, from) in wanted.collections {
            let recovered = backup::recover(registry, catalog, &name, from, None, deadline).await;
            recovered.map_err(|e| anyhow::anyhow!("recovering the collection `{name}`: {}", e.text))?;
            tracing::info!(collection = name, "recovered from a snapshot");
        }
        let aliases = wanted.aliases;
        let changed = registry.change_aliases(
            move |names| {
                names.aliases.extend(aliases);
                Ok(())
            },
            deadline,
        );
        changed.await.map_err(|e| anyhow::anyhow!("recovering aliases: {}", e.text))
    }
}

/// Collections by `PATH:NAME`.
fn of_collections(all: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    for text in all {
        let parts = text.rsplit_once(':').filter(|(path, name)| !path.is_empty() && !name.is_empty());
        let (path, name) = parts.with_context(|| format!("--snapshot {text}: it has to be PATH:NAME"))?;
        let before = wanted.collections.insert(name.to_owned(), Kept::at(path.into()));
        ensure!(before.is_none(), "--snapshot {text}: another one has the same name");
    }
    Ok(wanted)
}

/// Collections and aliases of a snapshot of the storage: a tar, or the folder that a node keeps.
async fn of_storage(registry: &Arc<Registry>, catalog: &Catalog, path: &Path) -> Result<Wanted> {
    let (disk, scratch, from) = (registry.disk.clone(), catalog.scratch()?, Kept::at(path.to_owned()));
    let into = scratch.path().to_owned();
    let read = move |cancel: &Cancel| match from {
        Kept::Folder(path) => storage::read_config(&*disk, &path).map(|config| (config, path)),
        Kept::Archive(path) => storage::unpack(&*disk, &path, &into, cancel).map(|config| (config, into)),
    };
    let pool = &registry.node.pools.update;
    let read = pool.run("Recover snapshot", Deadline::after(std::time::Duration::MAX), read).await?;
    let (config, dir) = match read {
        Ok(read) => read,
        Err(e) => bail!("--storage-snapshot {}: {e}", path.display()),
    };
    let place = |(name, snapshot): (String, String)| (name, Kept::at(dir.join(snapshot)));
    let collections = config.collections_mapping.into_iter().map(place).collect();
    Ok(Wanted { collections, aliases: config.collections_aliases, _scratch: Some(scratch) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_and_its_name_are_parted_by_the_last_colon() {
        let check = |all: &[&str], expected: Option<&[(&str, &str)]>| {
            let all: Vec<String> = all.iter().map(|&text| text.to_owned()).collect();
            let found = of_collections(&all).ok().map(|wanted| wanted.collections);
            let place = |&(name, path): &(&str, &str)| (name.to_owned(), Kept::Archive(path.into()));
            assert_eq!(found, expected.map(|all| all.iter().map(place).collect()), "{all:?}");
        };
        check(&[], Some(&[]));
        check(&["a.snapshot:docs"], Some(&[("docs", "a.snapshot")]));
        check(&["/x:y/a.snapshot:docs", "b:b"], Some(&[("docs", "/x:y/a.snapshot"), ("b", "b")]));
        for wrong in ["a.snapshot", "a.snapshot:", ":docs", ""] {
            check(&[wrong], None);
        }
        check(&["a:docs", "b:docs"], None);
    }
}
