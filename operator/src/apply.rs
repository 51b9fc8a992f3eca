//! Does what was planned. Each action can be done again; a failed one leaves the rest for the next reconcile.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::{Client, Resource, ResourceExt};
use quiver_crds::{VectorCollection, VectorShard, VectorSnapshot};
use serde_json::json;

use crate::build::{Kind, Object, certificate, names};
use crate::context::Context;
use crate::observe::World;
use crate::plan::{Action, Plan};
use crate::validate::Valid;
use crate::{clock, peer_secret};

/// The one field manager: what it leaves out, it gives up.
pub const MANAGER: &str = "quiver-operator";

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Done {
    /// What nodes said to the schema, each with its pod.
    pub schema_differences: Vec<String>,
    /// Volumes that could not be made larger.
    pub claims_refused: Vec<String>,
    /// The moment for which a snapshot was created.
    pub scheduled: Option<Timestamp>,
    /// Actions that changed something.
    pub changes: usize,
}

/// The API for a kind of owned objects.
pub fn api(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    let (group, name, plural) = kind.names();
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", name), plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Does everything in order. Stops at the first failure of the API server, not at that of a node.
pub async fn apply(ctx: &Context, v: &Valid, world: &World, plan: &Plan) -> Result<Done> {
    let mut done = Done::default();
    let about = world.collection.as_ref().map(|c| c.object_ref(&()));
    for action in &plan.actions {
        act(ctx, v, world, action, &mut done).await?;
        if let (Some((reason, note)), Some(about)) = (action.event(), &about) {
            tracing::info!(collection = %v.name, namespace = %v.namespace, "{reason}: {note}");
            ctx.event(about, false, reason, note).await;
        }
        if !matches!(action, Action::PushSchema { .. }) {
            done.changes += 1;
        }
    }
    Ok(done)
}

async fn act(ctx: &Context, v: &Valid, world: &World, action: &Action, done: &mut Done) -> Result<()> {
    let client = &ctx.client;
    match action {
        Action::MakePeerCertificate => {
            let headless = names::headless(&v.name);
            let tls = certificate::make(&headless, &v.namespace, clock::now(), world.peer_tls.as_ref())?;
            put(client, &v.namespace, &peer_secret::object(v, &tls)).await?;
        }
        Action::CreateShard(shard) => {
            let api: Api<VectorShard> = Api::namespaced(client.clone(), &v.namespace);
            match api.create(&PostParams::default(), shard).await {
                Err(kube::Error::Api(e)) if e.is_already_exists() => {
                    // Of this life, and not seen yet: fine. Of an earlier one: it goes with its owner, wait for that.
                    let there =
                        api.get(&shard.name_any()).await.context("reading a shard that is there already")?;
                    anyhow::ensure!(
                        there.spec.collection_uid == v.uid,
                        "the VectorShard {} of an earlier VectorCollection is still being deleted",
                        shard.name_any()
                    );
                }
                other => {
                    drop(other.with_context(|| format!("creating the VectorShard {}", shard.name_any()))?)
                }
            }
        }
        Action::Apply(object) => put(client, &v.namespace, object).await?,
        Action::Remove { kind, name } => {
            gone(api(client, &v.namespace, *kind).delete(name, &DeleteParams::default()).await)
                .with_context(|| format!("removing {} {name}", kind.names().1))?
        }
        Action::GrowClaim { name, size } => grow(client, &v.namespace, name, size, done).await?,
        Action::ReplacePod { pod, uid, .. } => {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &v.namespace);
            let only = Preconditions { uid: Some(uid.clone()), resource_version: None };
            let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
            gone(pods.delete(pod, &params).await).with_context(|| format!("replacing the pod {pod}"))?;
        }
        Action::PushSchema { pod, host, boot, digest, schema } => {
            let Some(tls) = &world.peer_tls else { return Ok(()) };
            match ctx.nodes.of(&v.uid, tls)?.put_schema(host, schema).await {
                Ok(answer) => {
                    ctx.remember_pushed(&v.uid, pod, boot, *digest);
                    done.changes += 1;
                    done.schema_differences.extend(answer.differences.iter().map(|d| format!("{pod}: {d}")));
                }
                Err(e) => done.schema_differences.push(format!("{pod}: {e}")),
            }
        }
        Action::CreateSnapshot { snapshot, at } => {
            let api: Api<VectorSnapshot> = Api::namespaced(client.clone(), &v.namespace);
            match api.create(&PostParams::default(), snapshot).await {
                // Made by an earlier life of the operator: the name says for which moment.
                Err(kube::Error::Api(e)) if e.is_already_exists() => {}
                other => drop(
                    other.with_context(|| format!("creating the VectorSnapshot {}", snapshot.name_any()))?,
                ),
            }
            done.scheduled = Some(*at);
        }
        Action::ExpireSnapshot { name } => {
            let api: Api<VectorSnapshot> = Api::namespaced(client.clone(), &v.namespace);
            gone(api.delete(name, &DeleteParams::default()).await)
                .with_context(|| format!("removing {name}"))?;
        }
    }
    Ok(())
}

async fn put(client: &Client, namespace: &str, object: &Object) -> Result<()> {
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(&object.value);
    let put = api(client, namespace, object.kind).patch(&object.name, &params, &patch).await;
    put.map(drop).with_context(|| format!("applying {} {}", object.kind.names().1, object.name))
}

/// Deleting what is gone, or another object of the name, is no failure.
fn gone<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(e)) if e.is_not_found() || e.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}

async fn grow(client: &Client, namespace: &str, name: &str, size: &str, done: &mut Done) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
    match claims.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(e)) if e.code == 403 || e.code == 422 => {
            done.claims_refused.push(format!("{name}: {}", e.message));
            Ok(())
        }
        other => other.map(drop).with_context(|| format!("growing the claim {name}")),
    }
}

/// Writes a collection's status if it differs from what is there.
pub async fn write_status(
    client: &Client,
    collection: &VectorCollection,
    status: &quiver_crds::VectorCollectionStatus,
) -> Result<bool> {
    if collection.status.as_ref() == Some(status) {
        return Ok(false);
    }
    let api: Api<VectorCollection> = Api::namespaced(
        client.clone(),
        &collection.namespace().context("a VectorCollection has a namespace")?,
    );
    // A merge that names every field: a list is replaced as a whole, and what is `null` goes.
    let patch =
        json!({ "status": nulls(serde_json::to_value(status)?, serde_json::to_value(&collection.status)?) });
    api.patch_status(&collection.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .context("writing the status")?;
    Ok(true)
}

/// The merge patch that leads from `old` to `new`.
pub fn nulls(mut new: serde_json::Value, old: serde_json::Value) -> serde_json::Value {
    if let (Some(new), serde_json::Value::Object(old)) = (new.as_object_mut(), old) {
        for (key, value) in old {
            match new.get_mut(&key) {
                None => drop(new.insert(key, serde_json::Value::Null)),
                Some(inner) if inner.is_object() => *inner = nulls(inner.take(), value),
                Some(_) => {}
            }
        }
    }
    new
}
