//! One pass over one VectorSnapshot: each shard is uploaded by its own node, the manifest is written last.

mod cleanup;
mod upload;

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use quiver_crds::condition::{kind, reason};
use quiver_crds::s3::{CredentialsType, Destination};
use quiver_crds::snapshot::{SnapshotDeletionPolicy, VectorSnapshotStatus};
use quiver_crds::{COLLECTION_LABEL, VectorCollection, VectorSnapshot};
use serde_json::json;

use crate::apply::nulls;
use crate::context::Context;
use crate::{clock, metrics, words};

/// Keeps a VectorSnapshot until its objects are gone.
pub const FINALIZER: &str = "quiver.dev/snapshot-objects";
/// The pause between two attempts.
const AGAIN: Duration = Duration::from_secs(5);

/// Why a snapshot isn't complete.
pub enum Trouble {
    /// It will never be.
    Final(&'static str, String),
    /// It may be, when the next attempt goes better.
    Passing(String),
}

/// One pass. Gives the time until the next, or nothing if only a change can bring anything new.
pub async fn reconcile(ctx: &Context, snapshot: &VectorSnapshot) -> Result<Option<Duration>> {
    if snapshot.metadata.deletion_timestamp.is_some() {
        return cleanup::cleanup(ctx, snapshot).await;
    }
    keep_finalizer(ctx, snapshot).await?;
    let mut status = snapshot.status.clone().unwrap_or_default();
    if matches!(status.state.as_str(), "Complete" | "Failed") {
        return Ok(None);
    }
    let now = clock::now();
    let began = status.start_time.get_or_insert(Time(words::whole_seconds(now))).0;
    let deadline = began + SignedDuration::from_secs(snapshot.spec.deadline_seconds);
    let result = if now > deadline {
        let last = if status.message.is_empty() { "nobody began it" } else { &status.message };
        let text = format!("not complete within {} s; the last word: {last}", snapshot.spec.deadline_seconds);
        Err(Trouble::Final(reason::DEADLINE_EXCEEDED, text))
    } else {
        attempt(ctx, snapshot, &mut status, deadline).await?
    };
    let again = finish(ctx, snapshot, &mut status, result).await;
    write_status(ctx, snapshot, &status).await?;
    Ok(again)
}

async fn attempt(
    ctx: &Context,
    snapshot: &VectorSnapshot,
    status: &mut VectorSnapshotStatus,
    deadline: Timestamp,
) -> Result<Result<(), Trouble>> {
    let namespace = snapshot.namespace().context("a VectorSnapshot has a namespace")?;
    let collections: Api<VectorCollection> = Api::namespaced(ctx.client.clone(), &namespace);
    let name = &snapshot.spec.collection_ref.name;
    let found = collections.get_opt(name).await.context("reading the collection of a snapshot")?;
    let (collection, destination) = match subject(snapshot, found) {
        Ok(found) => found,
        Err(trouble) => return Ok(Err(trouble)),
    };
    if collection.spec.paused {
        return Ok(Err(Trouble::Passing(format!("the VectorCollection {name} is paused"))));
    }
    status.state = "Uploading".into();
    status.destination = Some(destination.clone());
    status.collection_uid = collection.uid().unwrap_or_default();
    status.attempts = status.attempts.max(1);
    status.conditions = conditions(snapshot, status, reason::REQUESTED, &status.message.clone());
    write_status(ctx, snapshot, status).await?;
    upload::upload(ctx, snapshot, &collection, &destination, status, deadline).await
}

/// The collection and the place, if there are both and its nodes can sign in there.
fn subject(
    snapshot: &VectorSnapshot,
    found: Option<VectorCollection>,
) -> Result<(VectorCollection, Destination), Trouble> {
    let name = &snapshot.spec.collection_ref.name;
    let fits = |c: &VectorCollection| {
        snapshot.spec.collection_ref.uid.as_ref().is_none_or(|uid| c.uid().as_ref() == Some(uid))
    };
    let Some(collection) = found.filter(|c| c.metadata.deletion_timestamp.is_none() && fits(c)) else {
        let text = format!("there is no VectorCollection {name} (any more) in this namespace");
        return Err(Trouble::Final(reason::COLLECTION_NOT_FOUND, text));
    };
    let own = collection.spec.snapshots.as_ref().map(|s| s.destination.clone());
    let Some(destination) = snapshot.spec.destination.clone().or_else(|| own.clone()) else {
        let text = format!(
            "neither this VectorSnapshot nor the VectorCollection {name} says where to: set spec.snapshots.destination there"
        );
        return Err(Trouble::Final(reason::NO_DESTINATION, text));
    };
    let credentials = &destination.s3.credentials;
    let known = own.is_some_and(|own| own.s3.credentials == *credentials);
    if credentials.kind == CredentialsType::Secret && !known {
        let text = format!(
            "the nodes of {name} have only the credentials of its own spec.snapshots.destination: set those there, or leave out the destination here"
        );
        return Err(Trouble::Final(reason::INVALID_SPEC, text));
    }
    Ok((collection, destination))
}

async fn finish(
    ctx: &Context,
    snapshot: &VectorSnapshot,
    status: &mut VectorSnapshotStatus,
    result: Result<(), Trouble>,
) -> Option<Duration> {
    let about = snapshot.object_ref(&());
    let (reason, again) = match result {
        Ok(()) => {
            status.state = "Complete".into();
            status.completion_time = Some(Time(words::whole_seconds(clock::now())));
            status.message = format!("{} sent, {} in all", status.uploaded, status.size);
            ctx.event(&about, false, "SnapshotComplete", status.message.clone()).await;
            (reason::UPLOADED, None)
        }
        Err(Trouble::Final(reason, why)) => {
            status.state = "Failed".into();
            status.message = words::shorten(&why, 1000);
            ctx.event(&about, true, "SnapshotFailed", why).await;
            let of =
                metrics::of(&snapshot.namespace().unwrap_or_default(), &snapshot.spec.collection_ref.name);
            ctx.metrics.snapshots_failed.get_or_create(&of).inc();
            (reason, None)
        }
        Err(Trouble::Passing(why)) => {
            if status.message != why {
                tracing::warn!(snapshot = %snapshot.name_any(), "{why}");
            }
            status.message = words::shorten(&why, 1000);
            (reason::RETRYING, Some(AGAIN))
        }
    };
    if status.state.is_empty() {
        status.state = "Pending".into();
    }
    status.conditions = conditions(snapshot, status, reason, &status.message.clone());
    again
}

/// The state in the form of conditions.
fn conditions(
    snapshot: &VectorSnapshot,
    status: &VectorSnapshotStatus,
    reason: &str,
    message: &str,
) -> Vec<Condition> {
    let before = snapshot.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let now = Time(words::whole_seconds(clock::now()));
    let is = |kind: &str| match kind {
        kind::COMPLETE => status.state == "Complete",
        kind::FAILED => status.state == "Failed",
        _ => status.state == "Uploading",
    };
    let condition = |kind: &'static str| {
        let wanted = if is(kind) { "True" } else { "False" };
        let old = before.iter().find(|c| c.type_ == kind && c.status == wanted);
        Condition {
            type_: kind.into(),
            status: wanted.into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: snapshot.metadata.generation,
            last_transition_time: old.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
        }
    };
    [kind::COMPLETE, kind::FAILED, kind::UPLOADING].map(condition).to_vec()
}

async fn write_status(ctx: &Context, snapshot: &VectorSnapshot, status: &VectorSnapshotStatus) -> Result<()> {
    let mut status = status.clone();
    status.observed_generation = snapshot.metadata.generation.unwrap_or_default();
    if snapshot.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let patch = nulls(serde_json::to_value(&status)?, serde_json::to_value(&snapshot.status)?);
    let api = api(ctx, snapshot)?;
    let patch = Patch::Merge(json!({ "status": patch }));
    api.patch_status(&snapshot.name_any(), &PatchParams::default(), &patch)
        .await
        .context("writing a snapshot's status")?;
    Ok(())
}

fn api(ctx: &Context, snapshot: &VectorSnapshot) -> Result<Api<VectorSnapshot>> {
    let namespace = snapshot.namespace().context("a VectorSnapshot has a namespace")?;
    Ok(Api::namespaced(ctx.client.clone(), &namespace))
}

/// There before the first byte is sent, gone when nothing has to be removed; and the label that people select by.
async fn keep_finalizer(ctx: &Context, snapshot: &VectorSnapshot) -> Result<()> {
    let wanted = snapshot.spec.deletion_policy == SnapshotDeletionPolicy::Delete;
    let has = snapshot.finalizers().iter().any(|f| f == FINALIZER);
    let of = &snapshot.spec.collection_ref.name;
    let labelled = snapshot.labels().get(COLLECTION_LABEL) == Some(of);
    if wanted == has && labelled {
        return Ok(());
    }
    set_finalizer(ctx, snapshot, wanted, json!({ (COLLECTION_LABEL): of })).await
}

async fn set_finalizer(
    ctx: &Context,
    snapshot: &VectorSnapshot,
    wanted: bool,
    labels: serde_json::Value,
) -> Result<()> {
    let mut finalizers: Vec<String> =
        snapshot.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    if wanted {
        finalizers.push(FINALIZER.into());
    }
    // With the version that was read: somebody else's finalizer is never lost.
    let patch = json!({ "metadata": {
        "resourceVersion": snapshot.resource_version(),
        "finalizers": finalizers,
        "labels": labels,
    } });
    let patched =
        api(ctx, snapshot)?.patch(&snapshot.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await;
    match patched {
        Err(kube::Error::Api(e)) if e.is_not_found() => Ok(()),
        other => other.map(drop).context("setting the finalizer of a snapshot"),
    }
}
