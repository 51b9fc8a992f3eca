//! Watches, triggers, retries: when a reconcile runs. What it does is in reconcile.rs and snapshot.rs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt, Shared, join_all};
use futures::stream::{self, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use quiver_crds::condition::kind;
use quiver_crds::{COLLECTION_LABEL, VectorCollection, VectorShard, VectorSnapshot};
use tokio::sync::mpsc;

use crate::drive::Told;
use crate::error::Error;
use crate::liveness::{self, Liveness};
use crate::machines::Machines;
use crate::metrics::Metrics;
use crate::node_client::NodeClients;
use crate::validate::Defaults;
use crate::{reconcile, snapshot};

/// Collections reconciled at a time.
const CONCURRENCY: u16 = 16;
/// Changes that come close together are one.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// The API server takes no longer name of an action.
const ACTION_MAX: usize = 128;

/// Nodes that turned silent and that nobody has looked at yet.
const TURNED_MAX: usize = 256;

/// What every reconcile has at hand.
pub struct Context {
    pub client: Client,
    pub defaults: Defaults,
    pub nodes: NodeClients,
    pub told: Told,
    pub metrics: Arc<Metrics>,
    pub liveness: Arc<Liveness>,
    pub machines: Machines,
    recorder: Recorder,
    attempts: Mutex<HashMap<String, u32>>,
    stores: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Not to be tried before.
    put_off: Mutex<HashMap<String, Instant>>,
}

impl Context {
    pub fn new(
        client: Client,
        defaults: Defaults,
        metrics: Arc<Metrics>,
        liveness: Arc<Liveness>,
        identity: &str,
    ) -> Self {
        let reporter = Reporter { controller: "quiver-operator".into(), instance: Some(identity.into()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            defaults,
            nodes: NodeClients::default(),
            told: Told::default(),
            metrics,
            liveness,
            machines: Machines::default(),
            attempts: Mutex::new(HashMap::new()),
            stores: Mutex::new(HashMap::new()),
            put_off: Mutex::new(HashMap::new()),
        }
    }

    /// Drops what is kept in memory of a collection that is gone.
    pub fn forget(&self, uid: &str, namespace: &str, name: &str) {
        self.nodes.forget(uid);
        self.told.forget(uid);
        self.liveness.forget(namespace, name);
        self.metrics.forget(namespace, name);
    }

    /// Held while a snapshot of a collection is written or removed: a removal must not take an object that an upload
    /// has just found in the bucket. `None`: somebody holds it.
    pub fn store(&self, collection_uid: &str) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let store = self.stores.lock().entry(collection_uid.to_owned()).or_default().clone();
        store.try_lock_owned().ok()
    }

    /// Leaves an object alone for some time. What a try writes into its status calls for the next one at once.
    pub fn put_off<K: Resource<DynamicType = ()>>(&self, object: &K, wait: Duration) -> Action {
        let mut put_off = self.put_off.lock();
        let now = crate::clock::instant();
        put_off.retain(|_, until| *until > now);
        put_off.insert(key(object), now + wait);
        Action::requeue(wait)
    }

    /// How long an object is still left alone.
    pub fn is_put_off<K: Resource<DynamicType = ()>>(&self, object: &K) -> Option<Duration> {
        let until = *self.put_off.lock().get(&key(object))?;
        Some(until.saturating_duration_since(crate::clock::instant())).filter(|left| !left.is_zero())
    }

    /// Tells of one thing that happened. An event that can't be written is no reason to stop.
    pub async fn event(&self, about: &ObjectReference, warning: bool, reason: &str, note: &str) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.into(),
            // The API server takes at most 1,024 bytes.
            note: Some(note.chars().take(250).collect()),
            // Events of one action are told as one with a count, under the first one's note.
            action: note.chars().take(ACTION_MAX).collect(),
            secondary: None,
        };
        if let Err(e) = self.recorder.publish(&event, about).await {
            tracing::warn!(reason, "an event could not be written: {e}");
        }
    }

    /// Tells which conditions of a collection changed.
    pub async fn tell(&self, collection: &VectorCollection, now: &[Condition]) {
        let before = collection.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
        for condition in now {
            let old = before.iter().find(|c| c.type_ == condition.type_);
            let same = old.is_some_and(|o| o.status == condition.status && o.reason == condition.reason);
            let told = [
                kind::READY,
                kind::PROGRESSING,
                kind::REPLICATED,
                kind::SNAPSHOTS_HEALTHY,
                kind::STORAGE_RESIZED,
            ];
            // The first state of all is no transition, and what only starts is no news.
            if same
                || !told.contains(&condition.type_.as_str())
                || (old.is_none() && condition.status != "False")
            {
                continue;
            }
            tracing::info!(
                collection = collection.name_any(),
                namespace = collection.namespace().unwrap_or_default(),
                condition = condition.type_,
                status = condition.status,
                reason = condition.reason,
                "{}",
                condition.message
            );
            let bad = condition.status == "False" && old.is_some() && condition.type_ != kind::PROGRESSING;
            let note = format!("{} is {}: {}", condition.type_, condition.status, condition.message);
            self.event(&collection.object_ref(&()), bad, &condition.reason, &note).await;
        }
    }

    fn retry<K: Resource<DynamicType = ()>>(&self, object: &K, error: &Error) -> Action {
        let kind: &'static str =
            if K::kind(&()) == "VectorCollection" { "VectorCollection" } else { "VectorSnapshot" };
        self.metrics.failed(kind, error.reason());
        let attempt = {
            let mut attempts = self.attempts.lock();
            let count = attempts.entry(key(object)).or_insert(0);
            *count += 1;
            *count - 1
        };
        let wait = error.backoff(attempt);
        tracing::warn!(kind, object = key(object), attempt, wait_ms = wait.as_millis() as u64, "{error}");
        Action::requeue(wait)
    }

    fn succeeded<K: Resource<DynamicType = ()>>(&self, object: &K) {
        self.attempts.lock().remove(&key(object));
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    let meta = object.meta();
    let namespace = meta.namespace.clone().unwrap_or_default();
    format!("{}/{namespace}/{}", K::kind(&()), meta.name.clone().unwrap_or_default())
}

/// Done when the process is asked to end.
pub type Stop = Shared<BoxFuture<'static, ()>>;

/// Runs both controllers in every namespace (none: all of them) until `stop` is done, and lets reconciles that run
/// come to their end.
pub async fn run(ctx: Arc<Context>, namespaces: &[String], stop: Stop) {
    let mut running: Vec<BoxFuture<'_, ()>> = Vec::new();
    for scope in liveness::scopes(namespaces) {
        let stop_snapshots = stop.clone();
        let (turned, heard) = mpsc::channel(TURNED_MAX);
        running.push(leases(ctx.clone(), scope.cloned(), turned, stop.clone()).boxed());
        running.push(collections(ctx.clone(), scope.cloned(), heard, stop.clone()).boxed());
        running.push(snapshots(ctx.clone(), scope.cloned(), stop_snapshots).boxed());
    }
    join_all(running).await;
}

fn api<K>(client: &Client, scope: Option<&String>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

type Turned = ObjectRef<VectorCollection>;

async fn leases(ctx: Arc<Context>, scope: Option<String>, turned: mpsc::Sender<Turned>, stop: Stop) {
    tokio::select! {
        () = liveness::watch(&ctx.client, &ctx.liveness, scope.as_ref(), turned) => {}
        () = stop => {}
    }
}

async fn collections(ctx: Arc<Context>, scope: Option<String>, turned: mpsc::Receiver<Turned>, stop: Stop) {
    let scope = scope.as_ref();
    let turned =
        stream::unfold(turned, |mut turned| async { turned.recv().await.map(|next| (next, turned)) });
    let ours = watcher::Config::default().labels(COLLECTION_LABEL);
    let of_pod = |pod: Pod| {
        let name = pod.labels().get(COLLECTION_LABEL)?;
        Some(ObjectRef::<VectorCollection>::new(name).within(&pod.namespace()?))
    };
    let of_snapshot = |snapshot: VectorSnapshot| {
        let name = &snapshot.spec.collection_ref.name;
        Some(ObjectRef::<VectorCollection>::new(name).within(&snapshot.namespace()?))
    };
    Controller::new(api::<VectorCollection>(&ctx.client, scope), watcher::Config::default())
        .owns(api::<StatefulSet>(&ctx.client, scope), ours.clone())
        .owns(api::<VectorShard>(&ctx.client, scope), ours.clone())
        .owns(api::<Service>(&ctx.client, scope), ours.clone())
        .owns(api::<PodDisruptionBudget>(&ctx.client, scope), ours.clone())
        .watches(api::<Pod>(&ctx.client, scope), ours, of_pod)
        .watches(api::<VectorSnapshot>(&ctx.client, scope), watcher::Config::default(), of_snapshot)
        .reconcile_on(turned)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on(stop)
        .run(
            |object, ctx: Arc<Context>| async move {
                let result = reconcile::collection(object.clone(), ctx.clone()).await;
                if result.is_ok() {
                    ctx.succeeded(object.as_ref());
                }
                result
            },
            |object, error, ctx| ctx.retry(object.as_ref(), error),
            ctx.clone(),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn snapshots(ctx: Arc<Context>, scope: Option<String>, stop: Stop) {
    Controller::new(api::<VectorSnapshot>(&ctx.client, scope.as_ref()), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop)
        .run(
            |object, ctx: Arc<Context>| async move {
                let result = snapshot::snapshot(object.clone(), ctx.clone()).await;
                if result.is_ok() {
                    ctx.succeeded(object.as_ref());
                }
                result
            },
            |object, error, ctx| ctx.retry(object.as_ref(), error),
            ctx.clone(),
        )
        .for_each(|_| std::future::ready(()))
        .await;
}
