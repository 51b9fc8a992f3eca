//! Watches, triggers, back-off. Two controllers in one process: collections and snapshots.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{controller, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use quiver_crds::{COLLECTION_LABEL, VectorCollection, VectorShard, VectorSnapshot};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::{clock, reconcile, snapshot};

/// Longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A failed reconcile.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Failure(anyhow::Error);

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Runs both controllers in a namespace, or in all, until `stop`; running reconciles are finished.
pub async fn run(ctx: Arc<Context>, namespace: Option<String>, stop: CancellationToken) {
    let namespace = namespace.as_deref();
    futures::join!(collections(ctx.clone(), namespace, stop.clone()), snapshots(ctx, namespace, stop));
}

fn ours() -> watcher::Config {
    watcher::Config::default().labels(COLLECTION_LABEL)
}

async fn collections(ctx: Arc<Context>, namespace: Option<&str>, stop: CancellationToken) {
    let client = ctx.client.clone();
    let root: Api<VectorCollection> = api(&client, namespace);
    let config = controller::Config::default().concurrency(8).debounce(Duration::from_millis(200));
    let by_label = |pod: Pod| of_label(&pod);
    let by_ref =
        |s: VectorSnapshot| Some(ObjectRef::new(reconcile::collection_of(&s)).within(&s.namespace()?));
    Controller::new(root, watcher::Config::default())
        .with_config(config)
        .owns(api::<StatefulSet>(&client, namespace), ours())
        .owns(api::<Service>(&client, namespace), ours())
        .owns(api::<ServiceAccount>(&client, namespace), ours())
        .owns(api::<Role>(&client, namespace), ours())
        .owns(api::<RoleBinding>(&client, namespace), ours())
        .owns(api::<PodDisruptionBudget>(&client, namespace), ours())
        .owns(api::<NetworkPolicy>(&client, namespace), ours())
        .owns(api::<VectorShard>(&client, namespace), watcher::Config::default())
        .watches(api::<Pod>(&client, namespace), ours(), by_label)
        .watches(api::<VectorSnapshot>(&client, namespace), watcher::Config::default(), by_ref)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_collection, retry::<VectorCollection>, ctx)
        .for_each(|done| async move { report(done) })
        .await;
}

async fn snapshots(ctx: Arc<Context>, namespace: Option<&str>, stop: CancellationToken) {
    let root: Api<VectorSnapshot> = api(&ctx.client, namespace);
    let config = controller::Config::default().concurrency(4).debounce(Duration::from_millis(200));
    Controller::new(root, watcher::Config::default())
        .with_config(config)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_snapshot, retry::<VectorSnapshot>, ctx)
        .for_each(|done| async move { report(done) })
        .await;
}

/// Something that carries the name of its collection in a label.
fn of_label<K: Resource<DynamicType = ()>>(object: &K) -> Option<ObjectRef<VectorCollection>> {
    let name = object.meta().labels.as_ref()?.get(COLLECTION_LABEL)?;
    Some(ObjectRef::new(name).within(object.meta().namespace.as_deref()?))
}

async fn reconcile_collection(
    collection: Arc<VectorCollection>,
    ctx: Arc<Context>,
) -> Result<Action, Failure> {
    let began = clock::instant();
    let result = reconcile::reconcile(&ctx, &collection).await;
    ctx.metrics.reconciled("VectorCollection", began.elapsed(), result.is_err());
    if collection.metadata.deletion_timestamp.is_some() {
        ctx.metrics.forget(&collection.namespace().unwrap_or_default(), &collection.name_any());
    }
    finished(&ctx, &*collection, result)
}

async fn reconcile_snapshot(snapshot: Arc<VectorSnapshot>, ctx: Arc<Context>) -> Result<Action, Failure> {
    let began = clock::instant();
    let result = snapshot::reconcile(&ctx, &snapshot).await;
    ctx.metrics.reconciled("VectorSnapshot", began.elapsed(), result.is_err());
    match result {
        Ok(None) => {
            ctx.succeeded(&key(&*snapshot));
            Ok(Action::await_change())
        }
        Ok(Some(after)) => finished(&ctx, &*snapshot, Ok(after)),
        Err(e) => finished(&ctx, &*snapshot, Err(e)),
    }
}

fn finished<K: Resource<DynamicType = ()>>(
    ctx: &Context,
    object: &K,
    result: anyhow::Result<Duration>,
) -> Result<Action, Failure> {
    let after = result.map_err(Failure)?;
    ctx.succeeded(&key(object));
    Ok(Action::requeue(after))
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

/// 1, 2, 4 … seconds after each failure in a row.
fn retry<K>(object: Arc<K>, failure: &Failure, ctx: Arc<Context>) -> Action
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
{
    let conflict = failure
        .0
        .downcast_ref::<kube::Error>()
        .is_some_and(|e| matches!(e, kube::Error::Api(e) if e.is_conflict()));
    if conflict {
        return Action::requeue(Duration::from_millis(100));
    }
    let key = key(&*object);
    let count = ctx.failed(&key);
    let pause = Duration::from_secs(1 << count.saturating_sub(1).min(6)).min(PAUSE_MAX);
    tracing::warn!(object = %key, again_in = ?pause, "{failure}");
    Action::requeue(pause)
}

fn report<K, E>(done: Result<(ObjectRef<K>, Action), controller::Error<Failure, E>>)
where
    K: Resource<DynamicType = ()>,
    E: std::error::Error + 'static,
{
    match done {
        Ok(_) | Err(controller::Error::ReconcilerFailed(..) | controller::Error::ObjectNotFound(_)) => {}
        Err(e) => tracing::warn!("watching {}: {e}", K::kind(&())),
    }
}
