//! A VectorSnapshot that is deleted: what nothing else needs is removed from the store, by a node that can sign in
//! there. A snapshot never stays for ever because nobody can: after a while it goes, and says what is left.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use quiver_api::internal::DeleteSnapshotRequest;
use quiver_crds::s3::Destination;
use quiver_crds::snapshot::SnapshotDeletionPolicy;
use quiver_crds::{SKIP_REMOTE_CLEANUP, VectorCollection, VectorSnapshot};
use serde_json::json;

use super::{FINALIZER, api, set_finalizer, upload};
use crate::context::Context;
use crate::plan::snapshots;
use crate::{clock, words};

/// The pause between two attempts.
const AGAIN: Duration = Duration::from_secs(3);
/// After so long without anybody who could remove the objects, the VectorSnapshot goes without them.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// One pass over a snapshot that is being deleted.
pub async fn cleanup(ctx: &Context, snapshot: &VectorSnapshot) -> Result<Option<Duration>> {
    if !snapshot.finalizers().iter().any(|f| f == FINALIZER) {
        return Ok(None);
    }
    let status = snapshot.status.clone().unwrap_or_default();
    let Some(destination) = status.destination.filter(|_| wanted(snapshot)) else {
        return release(ctx, snapshot).await;
    };
    if others_run(ctx, snapshot, &status.collection_uid).await? {
        // An upload that is just running may rely on objects that nothing names yet.
        return Ok(Some(AGAIN));
    }
    let request = DeleteSnapshotRequest {
        destination: upload::place(&destination),
        collection_uid: status.collection_uid,
        snapshot: snapshot.name_any(),
        grace_seconds: 0,
    };
    match remove(ctx, snapshot, &destination, &request).await? {
        Ok(removed) => {
            tracing::info!(snapshot = %snapshot.name_any(), removed = %words::bytes(removed), "objects are removed");
            release(ctx, snapshot).await
        }
        Err(why) => {
            let since = snapshot.metadata.deletion_timestamp.as_ref().map(|t| t.0);
            let waited = since.is_some_and(|since| clock::now().duration_since(since) > PATIENCE);
            if !waited && !namespace_goes(ctx, snapshot).await? {
                tracing::warn!(snapshot = %snapshot.name_any(), "objects can't be removed yet: {why}");
                return Ok(Some(AGAIN));
            }
            let note = format!(
                "objects of this snapshot stay in the bucket {} below {}: {why}",
                destination.s3.bucket, destination.s3.prefix
            );
            ctx.event(&snapshot.object_ref(&()), true, "ObjectsLeft", note).await;
            release(ctx, snapshot).await
        }
    }
}

fn wanted(snapshot: &VectorSnapshot) -> bool {
    snapshot.spec.deletion_policy == SnapshotDeletionPolicy::Delete
        && !snapshot.annotations().contains_key(SKIP_REMOTE_CLEANUP)
}

async fn release(ctx: &Context, snapshot: &VectorSnapshot) -> Result<Option<Duration>> {
    set_finalizer(ctx, snapshot, false, json!({})).await?;
    Ok(None)
}

async fn others_run(ctx: &Context, snapshot: &VectorSnapshot, uid: &str) -> Result<bool> {
    let all =
        api(ctx, snapshot)?.list(&ListParams::default()).await.context("reading the other snapshots")?;
    let of_same = |s: &&VectorSnapshot| s.status.as_ref().is_some_and(|s| s.collection_uid == uid);
    Ok(all.iter().filter(of_same).any(snapshots::is_running))
}

async fn namespace_goes(ctx: &Context, snapshot: &VectorSnapshot) -> Result<bool> {
    let namespaces: Api<Namespace> = Api::all(ctx.client.clone());
    let name = snapshot.namespace().unwrap_or_default();
    // Without the right to read namespaces nothing is known, and patience decides.
    let found = namespaces.get_opt(&name).await.unwrap_or_default();
    Ok(found.is_some_and(|n| n.metadata.deletion_timestamp.is_some()))
}

/// Asks nodes that can sign in at the store, those of the snapshot's own collection first. Gives the bytes removed,
/// or why nobody could.
async fn remove(
    ctx: &Context,
    snapshot: &VectorSnapshot,
    destination: &Destination,
    request: &DeleteSnapshotRequest,
) -> Result<Result<u64, String>> {
    let namespace = snapshot.namespace().context("a VectorSnapshot has a namespace")?;
    let collections: Api<VectorCollection> = Api::namespaced(ctx.client.clone(), &namespace);
    let mut all = collections.list(&ListParams::default()).await.context("reading collections")?.items;
    all.retain(|c| {
        let own = c.spec.snapshots.as_ref().map(|s| &s.destination.s3.credentials);
        own == Some(&destination.s3.credentials)
    });
    all.sort_by_key(|c| c.name_any() != snapshot.spec.collection_ref.name);
    let mut why = "no VectorCollection of this namespace has nodes with these credentials".to_owned();
    for collection in &all {
        let Some((client, hosts)) = upload::nodes(ctx, collection).await? else { continue };
        for host in hosts {
            match client.delete_snapshot(&host, request).await {
                Ok(answer) => return Ok(Ok(answer.bytes_deleted)),
                Err(e) => why = e.to_string(),
            }
        }
    }
    Ok(Err(why))
}
