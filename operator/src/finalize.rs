//! The end of a VectorSnapshot: its objects are removed by a node, or it says why they stay. It never hangs: what it
//! needs may be gone already when a namespace goes.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use quiver_api::internal::DeleteSnapshotRequest;
use quiver_crds::s3::S3Location;
use quiver_crds::snapshot::SnapshotDeletionPolicy;
use quiver_crds::{SKIP_REMOTE_CLEANUP, VectorCollection, VectorSnapshot};
use serde_json::json;
use std::time::Duration;

use crate::controller::Context;
use crate::error::Result;
use crate::names::SNAPSHOT_FINALIZER;
use crate::node_client::destination_of;
use crate::observe::destination_of_snapshot;
use crate::snapshot::client_of;

/// No grace: the operator lets nothing else write into the store while a node removes, and an upload whose caller is
/// gone still has its pending file, which protects what it names.
const GRACE_SECONDS: u64 = 0;
/// Nodes that don't come back by then are not waited for.
const PATIENCE_SECONDS: i64 = 600;
const RETRY: Duration = Duration::from_secs(10);

enum Removal {
    Done,
    /// The objects stay, and why.
    Skipped(String),
    Later(String),
    /// Another snapshot is being written or removed; that comes to an end.
    Busy,
}

/// Removes the objects, then lets the VectorSnapshot go.
pub async fn snapshot(
    ctx: &Context,
    api: &Api<VectorSnapshot>,
    snapshot: &VectorSnapshot,
    namespace: &str,
) -> Result<Action> {
    if !snapshot.finalizers().iter().any(|f| f == SNAPSHOT_FINALIZER) {
        return Ok(Action::await_change());
    }
    let since = snapshot.metadata.deletion_timestamp.as_ref().map_or(crate::clock::now(), |t| t.0);
    let late = crate::clock::now().duration_since(since).as_secs() > PATIENCE_SECONDS;
    match remove(ctx, snapshot, namespace).await? {
        Removal::Busy => return Ok(Action::requeue(RETRY)),
        Removal::Later(why) if !late => {
            tracing::debug!(
                snapshot = snapshot.name_any(),
                why,
                "the objects of a snapshot are removed later"
            );
            return Ok(Action::requeue(RETRY));
        }
        Removal::Done => {}
        Removal::Skipped(why) | Removal::Later(why) => {
            let note = format!("the objects of this snapshot stay in the bucket: {why}");
            ctx.event(&snapshot.object_ref(&()), true, "ObjectsKept", &note).await;
        }
    }
    let_go(api, snapshot).await?;
    Ok(Action::await_change())
}

/// Takes the finalizer; whether there was one.
pub async fn let_go(api: &Api<VectorSnapshot>, snapshot: &VectorSnapshot) -> Result<bool> {
    let rest: Vec<&String> = snapshot.finalizers().iter().filter(|f| *f != SNAPSHOT_FINALIZER).collect();
    if rest.len() == snapshot.finalizers().len() {
        return Ok(false);
    }
    let patch = json!({ "metadata": { "finalizers": rest, "resourceVersion": snapshot.resource_version() } });
    match api.patch(&snapshot.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(e) => Err(e.into()),
    }
}

async fn remove(ctx: &Context, snapshot: &VectorSnapshot, namespace: &str) -> Result<Removal> {
    let skipped = |why: &str| Ok(Removal::Skipped(why.into()));
    if snapshot.annotations().contains_key(SKIP_REMOTE_CLEANUP) {
        return skipped("the annotation quiver.dev/skip-remote-cleanup asks for it");
    }
    if snapshot.spec.deletion_policy == SnapshotDeletionPolicy::Retain {
        return Ok(Removal::Done);
    }
    let status = snapshot.status.clone().unwrap_or_default();
    let Some(destination) = destination_of_snapshot(snapshot).filter(|_| status.attempts > 0) else {
        return Ok(Removal::Done);
    };
    if terminating(ctx, namespace).await? {
        return skipped("the namespace is going, and the credentials with it");
    }
    let name = &snapshot.spec.collection_ref.name;
    let collections: Api<VectorCollection> = Api::namespaced(ctx.client.clone(), namespace);
    let collection = match collections.get_opt(name).await {
        Ok(Some(collection)) => collection,
        Ok(None) => {
            return skipped("the VectorCollection is gone, and no node is left that could remove them");
        }
        // Rights that were given in this namespace go with it, perhaps before the VectorSnapshot.
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return skipped("the operator has no rights in this namespace any more");
        }
        Err(e) => return Err(e.into()),
    };
    let uid = collection.uid().unwrap_or_default();
    let Some(nodes) = client_of(ctx, namespace, name, &uid).await? else {
        return Ok(Removal::Later("the collection has no nodes yet".into()));
    };
    let Some(_alone) = ctx.store(&status.collection_uid) else {
        return Ok(Removal::Busy);
    };
    let request = DeleteSnapshotRequest {
        destination: destination_of(&S3Location::from(&destination.s3)),
        collection_uid: status.collection_uid,
        snapshot: snapshot.name_any(),
        grace_seconds: GRACE_SECONDS,
    };
    let mut why = "no node runs".to_owned();
    for ordinal in 0..collection.spec.nodes {
        let pod = crate::names::pod(name, ordinal);
        if !nodes.knows(&pod) {
            continue;
        }
        match nodes.delete_snapshot(&pod, &request).await {
            Ok(done) => {
                tracing::info!(
                    snapshot = snapshot.name_any(),
                    ?done,
                    "the objects of a snapshot are removed"
                );
                return Ok(Removal::Done);
            }
            Err(e) => why = e.to_string(),
        }
    }
    Ok(Removal::Later(why))
}

/// Whether the namespace is being deleted. Not being allowed to know is no.
async fn terminating(ctx: &Context, namespace: &str) -> Result<bool> {
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    match api.get_opt(namespace).await {
        Ok(found) => Ok(found.is_none_or(|n| n.metadata.deletion_timestamp.is_some())),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
        Err(e) => Err(e.into()),
    }
}
