//! Shards with keys: which there are, which of them a request means, and how keys come and go.
//!
//! A collection with `sharding_method: custom` has no shards at first. Each key brings some, which share the points of that
//! key by the hashes of their ids. A request that names keys is answered by the same collection seen through the shards of
//! those keys alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quiver_api::collections::{CreateCollection, FieldSchema, ShardingMethod};
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardWrite};
use quiver_api::shard_key::{CreateShardKey, KeyShards, ShardKey, ShardKeySelector};
use quiver_engine::file::{Disk, atomic};
use quiver_engine::shard::Shard;
use uuid::Uuid;

use super::registry::{DEFINITION, Registry, SHARDS_MAX, shard_dir, shard_options};
use super::route::HashRange;
use super::{Collection, Definition, Place, Route, call_local, convert};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

/// A shard as the configuration has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub shard: u32,
    pub range: HashRange,
    pub key: Option<ShardKey>,
}

/// All shards of a collection of this node.
pub fn slots(settings: &CreateCollection) -> Vec<Slot> {
    let of = |shards: &[u32], key: Option<&ShardKey>| {
        let n = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        let slot = |(shard, i): (&u32, u32)| Slot {
            shard: *shard,
            range: HashRange::equal(i, n),
            key: key.cloned(),
        };
        shards.iter().zip(0..).map(slot).collect::<Vec<_>>()
    };
    match &settings.keyed {
        Some(keyed) => keyed.keys.iter().flat_map(|k| of(&k.shards, Some(&k.key))).collect(),
        None => {
            let all: Vec<u32> = (0..settings.shard_number.unwrap_or(1)).collect();
            of(&all, None)
        }
    }
}

/// The slots with what serves them.
pub fn routes(slots: Vec<Slot>, shards: Vec<Shard>) -> Vec<Route> {
    let route = |(slot, shard): (Slot, Shard)| Route {
        shard: slot.shard,
        range: slot.range,
        key: slot.key,
        place: Place::Local(Arc::new(shard)),
        fresh: None,
        copy: None,
    };
    slots.into_iter().zip(shards).map(route).collect()
}

/// An id for the copy of each shard.
pub fn copies(settings: &CreateCollection) -> BTreeMap<u32, Uuid> {
    slots(settings).into_iter().map(|slot| (slot.shard, Uuid::new_v4())).collect()
}

/// Removes shards of keys that were never finished, or were dropped, and copies that were never finished, or replaced.
pub fn remove_unknown(disk: &dyn Disk, dir: &Path, definition: &Definition, slots: &[Slot]) -> Result<()> {
    let io = |e| ApiError::internal(format!("looking at the folder of the shards: {e}"));
    let shards = dir.join("shards");
    if !disk.exists(&shards) {
        return Ok(());
    }
    let known: Vec<String> = slots.iter().map(|slot| definition.shard_folder(slot.shard)).collect();
    for name in disk.list(&shards).map_err(io)? {
        let (number, copy) = name.split_once('-').unwrap_or((&name, ""));
        let is_shard = number.parse::<u32>().is_ok() && (copy.is_empty() || Uuid::try_parse(copy).is_ok());
        if is_shard && !known.contains(&name) {
            tracing::info!(shard = name, "removing a shard that the collection does not have");
            disk.remove_dir_all(&shards.join(&name)).map_err(io)?;
        }
    }
    Ok(())
}

/// Settings as a new collection has them: what only the node adds later is cleared.
pub fn begin(settings: &mut CreateCollection) {
    let is_custom = settings.sharding_method == Some(ShardingMethod::Custom);
    settings.keyed = is_custom.then(Default::default);
}

fn missing(key: &ShardKey) -> String {
    format!("Shard key {key} not found")
}

impl Collection {
    /// The collection as a request sees it that names these keys; `kind` is the kind of error if one isn't there.
    pub fn among(
        self: &Arc<Self>,
        selector: Option<&ShardKeySelector>,
        kind: fn(String) -> ApiError,
    ) -> Result<Arc<Self>> {
        let Some(selector) = selector else { return Ok(self.clone()) };
        let routes = self.routes.load();
        let has = |key: &ShardKey| routes.iter().any(|r| r.key.as_ref() == Some(key));
        let keys: Vec<&ShardKey> = match selector {
            ShardKeySelector::One(key) => vec![key],
            ShardKeySelector::Several(keys) => keys.iter().collect(),
            ShardKeySelector::WithFallback { target, fallback } => {
                vec![if has(target) || !has(fallback) { target } else { fallback }]
            }
        };
        if keys.is_empty() {
            return Ok(self.clone());
        }
        if let Some(key) = keys.iter().find(|key| !has(key)) {
            return Err(kind(missing(key)));
        }
        let named = |r: &&Route| r.key.as_ref().is_some_and(|key| keys.contains(&key));
        Ok(self.narrowed(routes.iter().filter(named).cloned().collect()))
    }

    /// The same for a write, which has to name a key if there are any.
    pub fn among_for_write(self: &Arc<Self>, selector: Option<&ShardKeySelector>) -> Result<Arc<Self>> {
        let is_keyed = self.definition.load().settings.keyed.is_some();
        let names_none = selector.is_none_or(|s| s.first().is_none());
        if is_keyed && names_none {
            return Err(ApiError::wrong_input("Shard key not specified"));
        }
        self.among(selector, ApiError::wrong_input)
    }

    /// What the requests of one client share stays shared: the limits are the collection's.
    fn narrowed(&self, routes: Vec<Route>) -> Arc<Self> {
        Arc::new(Self {
            node: self.node.clone(),
            dir: self.dir.clone(),
            definition: ArcSwap::from(self.definition.load_full()),
            routes: ArcSwap::from_pointee(routes),
            changing: tokio::sync::Mutex::default(),
            optimized: parking_lot::Mutex::default(),
            rates: self.rates.clone(),
            graph_threads: Default::default(),
        })
    }
}

/// Notes at every point which key it was found under.
pub fn stamp(mut answer: ShardAnswer, key: &ShardKey) -> ShardAnswer {
    let key = || Some(key.clone());
    match &mut answer {
        ShardAnswer::Found { points, .. } => points.iter_mut().for_each(|p| p.shard_key = key()),
        ShardAnswer::FoundBatch { answers, .. } => {
            answers.iter_mut().flatten().for_each(|p| p.shard_key = key());
        }
        ShardAnswer::Records { points, .. } => points.iter_mut().for_each(|p| p.shard_key = key()),
        _ => {}
    }
    answer
}

impl Registry {
    /// Makes the shards of a new key, with the payload indexes that the others have.
    pub async fn create_shard_key(
        &self,
        collection: &Collection,
        body: CreateShardKey,
        deadline: Deadline,
    ) -> Result<()> {
        let _guard = collection.changing.lock().await;
        let mut definition = Definition::clone(&collection.definition.load());
        let (per_key, name) = (definition.settings.shard_number.unwrap_or(1), definition.name.clone());
        let Some(keyed) = &mut definition.settings.keyed else {
            return Err(ApiError::bad_request("Shard Key cannot be created with Auto sharding method"));
        };
        let key = body.shard_key;
        if keyed.keys.iter().any(|k| k.key == key) {
            return Err(ApiError::bad_request(format!(
                "Sharding key {key} already exists for collection {name}"
            )));
        }
        let n = body.shards_number.unwrap_or(per_key);
        let all = keyed.keys.iter().map(|k| k.shards.len()).sum::<usize>() + n as usize;
        if all > SHARDS_MAX as usize {
            return Err(ApiError::bad_request(format!(
                "the collection would have {all} shards, more than {SHARDS_MAX}"
            )));
        }
        let ids: Vec<u32> = (keyed.next_shard..keyed.next_shard.saturating_add(n)).collect();
        keyed.next_shard = keyed.next_shard.saturating_add(n);
        keyed.keys.push(KeyShards { key: key.clone(), shards: ids.clone() });
        let indexes = keyed.indexes.clone();
        definition.copies.extend(ids.iter().map(|id| (*id, Uuid::new_v4())));
        let shards = self.make_shards(collection, &definition, ids.clone(), deadline).await?;
        let new: Vec<Slot> =
            slots(&definition.settings).into_iter().filter(|s| ids.contains(&s.shard)).collect();
        let new = routes(new, shards);
        for route in &new {
            let Place::Local(shard) = &route.place else { continue };
            for (field, schema) in &indexes {
                let write = ShardWrite::CreateIndex { field: field.clone(), schema: schema.clone() };
                call_local(&collection.node, shard.clone(), None, ShardCall::Write(write), deadline).await?;
            }
        }
        // Only a key that is written down exists: shards that nobody knows are removed at the next start.
        self.write_definition(collection, definition, deadline).await?;
        let mut all = Vec::clone(&collection.routes.load());
        all.extend(new);
        collection.routes.store(Arc::new(all));
        Ok(())
    }

    async fn make_shards(
        &self,
        collection: &Collection,
        definition: &Definition,
        ids: Vec<u32>,
        deadline: Deadline,
    ) -> Result<Vec<Shard>> {
        let config = convert::collection_config(&definition.settings, &self.defaults())?;
        let (disk, dir, definition) = (self.disk.clone(), collection.dir.clone(), definition.clone());
        let limits = self.node.shard_limits();
        let work = move |_: &_| -> Result<Vec<Shard>> {
            let io = |e| ApiError::internal(format!("making the folder of a shard: {e}"));
            disk.create_dir_all(&dir.join("shards")).map_err(io)?;
            let make = |id: u32| -> Result<Shard> {
                let at = shard_dir(&dir, id);
                if disk.exists(&at) {
                    disk.remove_dir_all(&at).map_err(io)?;
                }
                Ok(Shard::create(disk.clone(), &at, shard_options(&definition, id, limits), config.clone())?)
            };
            ids.into_iter().map(make).collect()
        };
        self.node.pools.update.run("Create shard key", deadline, work).await?
    }

    /// Removes a key, its shards and their points.
    pub async fn drop_shard_key(
        &self,
        collection: &Collection,
        key: &ShardKey,
        deadline: Deadline,
    ) -> Result<()> {
        let _guard = collection.changing.lock().await;
        let mut definition = Definition::clone(&collection.definition.load());
        let name = definition.name.clone();
        let Some(keyed) = &mut definition.settings.keyed else {
            return Err(ApiError::bad_request(
                "Shard Key cannot be removed from a collection with Auto sharding method",
            ));
        };
        let Some(at) = keyed.keys.iter().position(|k| k.key == *key) else {
            return Err(ApiError::bad_request(format!(
                "Sharding key {key} does not exist for collection {name}"
            )));
        };
        let gone = keyed.keys.remove(at).shards;
        let folders: Vec<_> = gone.iter().map(|id| definition.shard_dir(&collection.dir, *id)).collect();
        definition.copies.retain(|id, _| !gone.contains(id));
        definition.recovered.retain(|id| !gone.contains(id));
        self.write_definition(collection, definition, deadline).await?;
        let mut all = Vec::clone(&collection.routes.load());
        all.retain(|r| r.key.as_ref() != Some(key));
        collection.routes.store(Arc::new(all));
        collection.optimized.lock().retain(|id, _| !gone.contains(id));
        let disk = self.disk.clone();
        self.node.pools.update.spawn(move || {
            for folder in folders {
                if let Err(e) = disk.remove_dir_all(&folder) {
                    tracing::warn!(error = %e, "the data of a removed shard key stays until the next start");
                }
            }
        });
        Ok(())
    }

    /// Creates or drops a payload index of a collection with keys, whose later shards are to have the same.
    pub async fn keep_index(
        &self,
        collection: &Collection,
        field: &str,
        schema: Option<FieldSchema>,
        deadline: Deadline,
    ) -> Result<()> {
        if collection.definition.load().settings.keyed.is_none() {
            return Ok(());
        }
        let field = convert::path(field)?.to_string();
        let _guard = collection.changing.lock().await;
        let mut definition = Definition::clone(&collection.definition.load());
        let Some(keyed) = &mut definition.settings.keyed else { return Ok(()) };
        match schema {
            Some(schema) => drop(keyed.indexes.insert(field, schema)),
            None => drop(keyed.indexes.remove(&field)),
        }
        self.write_definition(collection, definition, deadline).await
    }

    /// Makes a definition durable; it is not in force yet.
    pub(super) async fn keep_definition(
        &self,
        operation: &'static str,
        collection: &Collection,
        definition: Definition,
        deadline: Deadline,
    ) -> Result<()> {
        let (disk, path) = (self.disk.clone(), collection.dir.join(DEFINITION));
        let write = move |_: &_| atomic::write_json(&*disk, &path, &definition);
        Ok(self.node.pools.update.run(operation, deadline, write).await??)
    }

    async fn write_definition(
        &self,
        collection: &Collection,
        definition: Definition,
        deadline: Deadline,
    ) -> Result<()> {
        self.keep_definition("Update collection", collection, definition.clone(), deadline).await?;
        collection.definition.store(Arc::new(definition));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(settings: serde_json::Value, expected: &[(u32, u64, Option<&str>)]) {
        let settings: CreateCollection = serde_json::from_value(settings).expect("settings");
        let found: Vec<_> = slots(&settings)
            .into_iter()
            .map(|s| (s.shard, s.range.from, s.key.map(|k| k.to_string())))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(shard, from, key)| (*shard, *from, key.map(str::to_owned))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_shards_of_each_key_cover_every_hash() {
        check(json!({}), &[(0, 0, None)]);
        check(json!({"shard_number": 2}), &[(0, 0, None), (1, 1 << 63, None)]);
        check(json!({"sharding_method": "custom", "keyed": {}}), &[]);
        let keys = json!([{"key": "eu", "shards": [0, 1]}, {"key": 7, "shards": [4]}]);
        let expected = [(0, 0, Some("\"eu\"")), (1, 1 << 63, Some("\"eu\"")), (4, 0, Some("7"))];
        check(json!({"sharding_method": "custom", "keyed": {"keys": keys}}), &expected);
    }
}
