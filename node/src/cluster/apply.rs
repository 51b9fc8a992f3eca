//! The schema's way into shards: vectors and payload indexes through the log of the copy that leads, settings into each copy.

use std::sync::Arc;
use std::time::Duration;

use quiver_api::internal::SchemaRequest;
use quiver_engine::operation::Operation;
use quiver_engine::shard::Shard;

use super::lead::{Cluster, Convert};
use crate::pool::Deadline;
use crate::replica::Input;

/// Settings may make a shard write files.
const APPLY_TIME: Duration = Duration::from_secs(3600);

impl Cluster {
    /// Puts the schema in force in all shards of this node that haven't got it. Gives what isn't in force.
    pub(super) async fn apply_schema(self: &Arc<Self>) -> Vec<String> {
        let Some(schema) = self.schema.current() else { return vec!["no schema was put yet".into()] };
        let min_in_sync = self.min_in_sync();
        let due: Vec<(u32, bool, Arc<Shard>)> = self
            .copies
            .lock()
            .iter()
            .filter(|(_, c)| c.standing.is_some() && c.generation != Some(schema.generation))
            .filter_map(|(n, c)| {
                c.replica.as_ref()?.inbox().put(Input::MinInSync(min_in_sync));
                Some((*n, c.leads(), c.shard.clone()?))
            })
            .collect();
        let mut differences = Vec::new();
        for (number, leads, shard) in due {
            let (convert, asked, changed) = (self.convert.clone(), schema.clone(), shard.clone());
            let applying =
                self.node.pools.update.run("Schema", Deadline::after(APPLY_TIME), move |_| match leads {
                    true => apply_to(&changed, &asked, &convert),
                    false => settle(&changed, &asked, &convert),
                });
            match applying.await.map_err(|e| vec![e.to_string()]).and_then(|r| r) {
                Ok(()) => {
                    let mut copies = self.copies.lock();
                    let same = |c: &&mut super::lead::Copy| {
                        c.leads() == leads && c.shard.as_ref().is_some_and(|s| Arc::ptr_eq(s, &shard))
                    };
                    if let Some(copy) = copies.get_mut(&number).filter(same) {
                        copy.generation = Some(schema.generation);
                    }
                }
                Err(all) => differences.extend(all.into_iter().map(|d| format!("shard {number}: {d}"))),
            }
        }
        differences
    }

    /// So many copies of a shard have to be in sync for it to take writes.
    pub(super) fn min_in_sync(&self) -> usize {
        self.schema.current().map_or(1, |s| s.min_in_sync.max(1)) as usize
    }
}

/// Settings that aren't in the log. Blocking.
fn settle(shard: &Shard, schema: &SchemaRequest, convert: &Convert) -> Result<(), Vec<String>> {
    let config = (convert.config)(&schema.create).map_err(|e| vec![e])?;
    shard.update_config(config).map_err(|e| vec![e.to_string()])
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
