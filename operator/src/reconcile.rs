//! One pass over one VectorCollection: observe → validate → plan → apply → status. Nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use quiver_crds::shard::VectorShardStatus;
use quiver_crds::{VectorCollection, VectorShard, VectorSnapshot};
use serde_json::json;
use uuid::Uuid;

use crate::apply::{self, Done, nulls};
use crate::context::Context;
use crate::observe::{World, observe};
use crate::plan::plan;
use crate::status::{self, Outcome};
use crate::{clock, validate};

/// The next look at a collection where something is under way.
const SOON: Duration = Duration::from_secs(3);
/// The next look at one where nothing is.
const LATER: Duration = Duration::from_secs(15);

/// One pass. Gives the time until the next.
pub async fn reconcile(ctx: &Context, collection: &VectorCollection) -> Result<Duration> {
    if collection.metadata.deletion_timestamp.is_some() {
        // Everything is owned: the garbage collector does the rest, and the volumes follow the StatefulSet's policy.
        ctx.forget(&collection.uid().unwrap_or_default());
        return Ok(LATER);
    }
    let world = observe(ctx, collection).await?;
    let now = clock::now();
    let valid = validate::validate(&world, &ctx.defaults);
    let shards = write_shards(ctx, &world).await?;
    let (plan, done);
    let outcome = match &valid {
        Err(problem) => Outcome::Invalid(problem),
        Ok(v) if v.spec.paused => Outcome::Paused,
        Ok(v) => {
            plan = self::plan(v, &world, now, &mut || Uuid::new_v4().simple().to_string());
            done = apply::apply(ctx, v, &world, &plan).await?;
            Outcome::Acted(v, &plan, &done)
        }
    };
    let status = status::of_collection(&world, &outcome, &shards, now);
    tell_changes(ctx, collection, &status).await;
    ctx.metrics.observe(collection, &status, now);
    let wrote = apply::write_status(&ctx.client, collection, &status).await?;
    Ok(next(&outcome, &status, wrote))
}

fn next(outcome: &Outcome<'_>, status: &quiver_crds::VectorCollectionStatus, wrote: bool) -> Duration {
    let changed = match outcome {
        Outcome::Acted(_, plan, Done { changes, .. }) => *changes > 0 || !plan.changing.is_empty(),
        Outcome::Invalid(_) | Outcome::Paused => false,
    };
    let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    if changed || wrote || !ready { SOON } else { LATER }
}

/// Writes what nodes said of each shard, where it differs from what is there.
async fn write_shards(ctx: &Context, world: &World) -> Result<BTreeMap<i32, VectorShardStatus>> {
    let mut all = BTreeMap::new();
    for (number, shard) in &world.shards {
        let status = status::of_shard(shard, world);
        if shard.status.as_ref() != Some(&status) {
            let namespace = shard.namespace().context("a VectorShard has a namespace")?;
            let api: Api<VectorShard> = Api::namespaced(ctx.client.clone(), &namespace);
            let patch = nulls(serde_json::to_value(&status)?, serde_json::to_value(&shard.status)?);
            let patch = Patch::Merge(json!({ "status": patch }));
            match api.patch_status(&shard.name_any(), &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(e)) if e.is_not_found() => {}
                other => drop(other.context("writing the status of a shard")?),
            }
        }
        all.insert(*number, status);
    }
    Ok(all)
}

/// An Event for each condition that turned.
async fn tell_changes(
    ctx: &Context,
    collection: &VectorCollection,
    now: &quiver_crds::VectorCollectionStatus,
) {
    let before = collection.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    for condition in &now.conditions {
        let old = before.iter().find(|c| c.type_ == condition.type_);
        let turned = old.is_some_and(|old| old.status != condition.status);
        if turned && condition.type_ != "ProductionReady" {
            let reason =
                format!("{}{}", if condition.status == "True" { "" } else { "Not" }, condition.type_);
            let warning =
                condition.status != "True" && ["Ready", "Available"].contains(&condition.type_.as_str());
            ctx.event(&collection.object_ref(&()), warning, &reason, condition.message.clone()).await;
        }
    }
}

/// The collection that a snapshot is of.
pub fn collection_of(snapshot: &VectorSnapshot) -> &str {
    &snapshot.spec.collection_ref.name
}
