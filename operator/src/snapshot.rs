//! One reconcile of a VectorSnapshot: has every shard uploaded by its own node, the manifest written last, and the
//! objects removed when the VectorSnapshot goes. No byte of a snapshot passes through the operator.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use quiver_api::internal::{
    PutManifestRequest, SNAPSHOT_FORMAT_VERSION, ShardManifest, SnapshotManifest, UploadRequest,
};
use quiver_crds::condition::{kind, reason};
use quiver_crds::s3::{Destination, S3Location};
use quiver_crds::snapshot::{SnapshotDeletionPolicy, SnapshotShard, VectorSnapshotStatus};
use quiver_crds::{COLLECTION_LABEL, VectorCollection, VectorShard, VectorSnapshot};
use serde_json::json;

use crate::apply::Applier;
use crate::build::schema;
use crate::certificates::PeerCertificates;
use crate::controller::Context;
use crate::error::{Error, Result};
use crate::finalize;
use crate::names::{self, SNAPSHOT_FINALIZER};
use crate::node_client::{NodeClient, destination_of};
use crate::observe::{destination_of_snapshot, is_true};
use crate::plan::splits::covers;

/// Shards uploaded at a time: enough to keep the network busy, few enough to leave room for searches.
const UPLOADS: usize = 4;
const RETRY: Duration = Duration::from_secs(10);
/// Reason of the condition `Uploading` from the begin of a try to its end.
const UPLOADS_RUN: &str = "Uploading";

/// Reconciles one snapshot.
///
/// Guarantees: `Complete` is set only after a node has checked every object and written the manifest. A failure is
/// retried until the deadline; what was uploaded by then is found in the bucket and not sent again.
pub async fn snapshot(snapshot: Arc<VectorSnapshot>, ctx: Arc<Context>) -> Result<Action> {
    let _measured = ctx.metrics.reconcile("VectorSnapshot");
    let namespace = snapshot.namespace().ok_or(Error::Malformed("namespace"))?;
    let api: Api<VectorSnapshot> = Api::namespaced(ctx.client.clone(), &namespace);
    let Some(snapshot) = api.get_opt(&snapshot.name_any()).await? else { return Ok(Action::await_change()) };
    if snapshot.metadata.deletion_timestamp.is_some() {
        return finalize::snapshot(&ctx, &api, &snapshot, &namespace).await;
    }
    finalizer(&api, &snapshot).await?;
    if is_true(&snapshot, kind::COMPLETE) || is_true(&snapshot, kind::FAILED) {
        return Ok(Action::await_change());
    }
    let apply = Applier { client: &ctx.client, namespace: &namespace };
    let mut run = Run { ctx: &ctx, apply: &apply, namespace: &namespace, snapshot: &snapshot };
    run.take().await
}

/// Where the objects shall go with the VectorSnapshot, it waits for that; where they stay, it doesn't.
async fn finalizer(api: &Api<VectorSnapshot>, snapshot: &VectorSnapshot) -> Result<()> {
    let has = snapshot.finalizers().iter().any(|f| f == SNAPSHOT_FINALIZER);
    let wants = snapshot.spec.deletion_policy == SnapshotDeletionPolicy::Delete;
    if has == wants {
        return Ok(());
    }
    let mut finalizers: Vec<&str> =
        snapshot.finalizers().iter().map(String::as_str).filter(|f| *f != SNAPSHOT_FINALIZER).collect();
    if wants {
        finalizers.push(SNAPSHOT_FINALIZER);
    }
    let patch = json!({
        "metadata": { "finalizers": finalizers, "resourceVersion": snapshot.resource_version() }
    });
    api.patch(&snapshot.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

struct Run<'a> {
    ctx: &'a Context,
    apply: &'a Applier<'a>,
    namespace: &'a str,
    snapshot: &'a VectorSnapshot,
}

/// Why a try came to nothing.
enum Stop {
    /// Worth another try.
    Later(&'static str, String),
    /// Nothing will change by itself.
    Never(&'static str, String),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        match e {
            Error::Node { retryable: false, .. } => Stop::Never(reason::RETRYING, e.to_string()),
            other => Stop::Later(reason::RETRYING, other.to_string()),
        }
    }
}

/// What a finished snapshot has.
struct Taken {
    manifest: SnapshotManifest,
    pods: Vec<String>,
    key: String,
    size_bytes: u64,
}

impl Run<'_> {
    async fn take(&mut self) -> Result<Action> {
        let now = crate::clock::now();
        let before = self.snapshot.status.clone().unwrap_or_default();
        let start = before.start_time.as_ref().map_or(now, |t| t.0);
        let deadline = deadline(self.snapshot, now);
        if now > deadline {
            let why =
                format!("not complete after {} s; {}", self.snapshot.spec.deadline_seconds, before.message);
            return self.fail(before, reason::DEADLINE_EXCEEDED, why).await;
        }
        if let Some(left) = self.ctx.is_put_off(self.snapshot) {
            return Ok(Action::requeue(left));
        }
        let (mut status, stop) = match self.attempt(before, start, deadline).await? {
            (status, Ok(taken)) => return self.complete(status, &taken).await,
            (status, Err(stop)) => (status, stop),
        };
        match stop {
            Stop::Never(reason, why) => self.fail(status, reason, why).await,
            Stop::Later(reason, why) => {
                status.state = if status.attempts > 0 { "Uploading" } else { "Pending" }.into();
                status.message = why.clone();
                self.set(&mut status, kind::UPLOADING, true, reason, &why);
                self.write(&status).await?;
                Ok(self.ctx.put_off(self.snapshot, RETRY))
            }
        }
    }

    /// One try, up to the written manifest.
    async fn attempt(
        &self,
        mut status: VectorSnapshotStatus,
        start: Timestamp,
        deadline: Timestamp,
    ) -> Result<(VectorSnapshotStatus, std::result::Result<Taken, Stop>)> {
        let source = match self.source(&status).await {
            Ok(source) => source,
            Err(stop) => return Ok((status, Err(stop))),
        };
        let Some(_alone) = self.ctx.store(&source.uid) else {
            let why = "another snapshot of the collection is being written or removed".to_owned();
            return Ok((status, Err(Stop::Later(reason::RETRYING, why))));
        };
        status.start_time = Some(Time(start));
        status.destination = Some(source.destination.clone());
        status.collection_uid = source.uid.clone();
        // One that an operator's death cut short goes on: counted anew it would change the status, and so each life would begin with a write.
        if !under_way(&status) {
            status.attempts += 1;
        }
        status.state = "Uploading".into();
        self.set(&mut status, kind::UPLOADING, true, UPLOADS_RUN, "the nodes upload their shards");
        self.write(&status).await?;
        let result = self.upload(&source, start, deadline).await;
        Ok((status, result))
    }

    /// What is to be saved, and by whom.
    async fn source(&self, status: &VectorSnapshotStatus) -> std::result::Result<Source, Stop> {
        let spec = &self.snapshot.spec;
        let name = &spec.collection_ref.name;
        let api: Api<VectorCollection> = Api::namespaced(self.ctx.client.clone(), self.namespace);
        let Some(collection) = api.get_opt(name).await.map_err(Error::from)? else {
            let why = format!("there is no VectorCollection {name} in this namespace");
            return Err(Stop::Later(reason::COLLECTION_NOT_FOUND, why));
        };
        let uid = collection.uid().unwrap_or_default();
        let expected =
            spec.collection_ref.uid.clone().or(Some(status.collection_uid.clone()).filter(|u| !u.is_empty()));
        if expected.is_some_and(|e| e != uid) {
            let why = format!("the VectorCollection {name} is another one than this snapshot was meant for");
            return Err(Stop::Never(reason::COLLECTION_NOT_FOUND, why));
        }
        let own = collection.spec.snapshots.as_ref().map(|s| s.destination.clone());
        let Some(destination) = destination_of_snapshot(self.snapshot).cloned().or(own) else {
            let why = format!(
                "where to? set spec.snapshots.destination of {name}, or spec.destination of this snapshot"
            );
            return Err(Stop::Later(reason::NO_DESTINATION, why));
        };
        let nodes = client_of(self.ctx, self.namespace, name, &uid).await?;
        let Some(nodes) = nodes else {
            return Err(Stop::Later(reason::NODES_STARTING, format!("the nodes of {name} don't run yet")));
        };
        let labelled = ListParams::default().labels(&format!("{COLLECTION_LABEL}={name}"));
        let shards: Api<VectorShard> = Api::namespaced(self.ctx.client.clone(), self.namespace);
        let listed = shards.list(&labelled).await.map_err(Error::from)?;
        let mut shards: Vec<VectorShard> =
            listed.items.into_iter().filter(|s| s.spec.collection_uid == uid).collect();
        shards.sort_by_key(|s| s.spec.shard);
        if shards.len() as i32 != collection.spec.shards || shards.iter().any(|s| s.spec.split.is_some()) {
            let why = format!("{} of {} shards of {name} are placed", shards.len(), collection.spec.shards);
            return Err(Stop::Later(reason::SHARDS_UNAVAILABLE, why));
        }
        Ok(Source { collection, uid, destination, nodes, shards })
    }

    async fn upload(
        &self,
        source: &Source,
        start: Timestamp,
        deadline: Timestamp,
    ) -> std::result::Result<Taken, Stop> {
        let location = S3Location::from(&source.destination.s3);
        let name = self.snapshot.name_any();
        let request = UploadRequest {
            destination: destination_of(&location),
            snapshot: name.clone(),
            collection_uid: source.uid.clone(),
        };
        let left = deadline.duration_since(crate::clock::now());
        let patience = Duration::try_from(left).unwrap_or(Duration::ZERO).max(Duration::from_secs(10));
        let request = &request;
        let uploads: Vec<_> = source
            .shards
            .iter()
            .map(|shard| async move {
                let primary = shard.spec.copies.iter().find(|c| c.id == shard.spec.primary);
                let pod = primary.map(|c| c.pod.clone()).unwrap_or_default();
                let done = source.nodes.upload(&pod, shard.spec.shard, request, patience).await?;
                Ok::<_, Error>((pod, done))
            })
            .collect();
        let done: Vec<(String, ShardManifest)> =
            stream::iter(uploads).buffered(UPLOADS).try_collect().await?;
        let (pods, shards): (Vec<_>, Vec<_>) = done.into_iter().unzip();
        if !covers(shards.iter().map(|s| (s.range.first, s.range.last)).collect()) {
            let why = "a shard was split while the snapshot was taken";
            return Err(Stop::Later(reason::SHARDS_UNAVAILABLE, why.to_owned()));
        }
        let spec = &source.collection.spec;
        let manifest = SnapshotManifest {
            format_version: SNAPSHOT_FORMAT_VERSION,
            name,
            collection: spec.rest_name(&source.collection.name_any()).to_owned(),
            collection_uid: source.uid.clone(),
            created_at: start.to_string(),
            schema: schema::create_body(spec),
            payload_indexes: schema::payload_indexes(spec),
            aliases: spec.aliases.clone(),
            shards,
        };
        let put = PutManifestRequest { destination: destination_of(&location), manifest: manifest.clone() };
        let first = pods.first().cloned().unwrap_or_default();
        let written = source.nodes.put_manifest(&first, &put).await?;
        Ok(Taken { manifest, pods, key: written.manifest_key, size_bytes: written.size_bytes })
    }

    async fn complete(&self, mut status: VectorSnapshotStatus, taken: &Taken) -> Result<Action> {
        let shards = &taken.manifest.shards;
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let uploaded: u64 = shards.iter().map(|s| s.uploaded_bytes).sum();
        status.state = "Complete".into();
        status.message = String::new();
        status.completion_time = Some(Time(crate::clock::now()));
        status.manifest_key = taken.key.clone();
        status.size_bytes = number(taken.size_bytes);
        status.uploaded_bytes = number(uploaded);
        status.size = amount(taken.size_bytes);
        status.uploaded = amount(uploaded);
        status.points = shards.iter().map(|s| number(s.points)).sum();
        status.engine_version = shards.first().map(|s| s.engine_version.clone()).unwrap_or_default();
        status.shards = shards
            .iter()
            .zip(&taken.pods)
            .map(|(s, pod)| SnapshotShard {
                shard: s.shard as i32,
                pod: pod.clone(),
                term: s.term,
                seq_no: number(s.seq),
                points: number(s.points),
                bytes: s.files.iter().map(|f| number(f.size_bytes)).sum(),
            })
            .collect();
        let message = format!("{} in the bucket, {} of it sent now", status.size, status.uploaded);
        self.set(&mut status, kind::UPLOADING, false, reason::UPLOADED, "");
        self.set(&mut status, kind::COMPLETE, true, reason::UPLOADED, &message);
        self.write(&status).await?;
        self.ctx.metrics.snapshot(self.namespace, &self.snapshot.spec.collection_ref.name, true);
        self.ctx.event(&self.snapshot.object_ref(&()), false, "SnapshotComplete", &message).await;
        Ok(Action::await_change())
    }

    async fn fail(
        &self,
        mut status: VectorSnapshotStatus,
        reason: &'static str,
        why: String,
    ) -> Result<Action> {
        status.state = "Failed".into();
        status.message = why.clone();
        status.completion_time = Some(Time(crate::clock::now()));
        self.set(&mut status, kind::UPLOADING, false, reason, "");
        self.set(&mut status, kind::FAILED, true, reason, &why);
        self.write(&status).await?;
        self.ctx.metrics.snapshot(self.namespace, &self.snapshot.spec.collection_ref.name, false);
        self.ctx.event(&self.snapshot.object_ref(&()), true, "SnapshotFailed", &why).await;
        Ok(Action::await_change())
    }

    fn set(&self, status: &mut VectorSnapshotStatus, kind: &str, on: bool, reason: &str, message: &str) {
        let value = if on { "True" } else { "False" };
        let old = status.conditions.iter().position(|c| c.type_ == kind).map(|i| status.conditions.remove(i));
        let since = old.filter(|c| c.status == value).map(|c| c.last_transition_time);
        status.observed_generation = self.snapshot.metadata.generation.unwrap_or_default();
        status.conditions.push(Condition {
            type_: kind.into(),
            status: value.into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: self.snapshot.metadata.generation,
            last_transition_time: since.unwrap_or_else(|| Time(crate::clock::now())),
        });
    }

    async fn write(&self, status: &VectorSnapshotStatus) -> Result<()> {
        if self.snapshot.status.as_ref() == Some(status) {
            return Ok(());
        }
        self.apply.status::<VectorSnapshot, _>(&self.snapshot.name_any(), status).await
    }
}

struct Source {
    collection: VectorCollection,
    uid: String,
    destination: Destination,
    nodes: Arc<NodeClient>,
    shards: Vec<VectorShard>,
}

/// Whether a try was begun of which no end is known.
fn under_way(status: &VectorSnapshotStatus) -> bool {
    status.conditions.iter().any(|c| c.type_ == kind::UPLOADING && c.reason == UPLOADS_RUN)
}

/// When a snapshot fails that isn't complete: so long after it was begun, or after it was made if it never could be.
fn deadline(snapshot: &VectorSnapshot, now: Timestamp) -> Timestamp {
    let begun = snapshot.status.as_ref().and_then(|s| s.start_time.as_ref());
    let since = begun.or(snapshot.metadata.creation_timestamp.as_ref()).map_or(now, |t| t.0);
    since + SignedDuration::from_secs(snapshot.spec.deadline_seconds)
}

/// A client that knows the pods of a collection; `None` before there are certificates.
pub async fn client_of(
    ctx: &Context,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<Option<Arc<NodeClient>>> {
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let secret = secrets.get_opt(&names::peer_secret(name)).await?;
    let Some(certificates) = secret.as_ref().and_then(PeerCertificates::read) else { return Ok(None) };
    let nodes = ctx.nodes.of(uid, name, namespace, &certificates)?;
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let labelled = ListParams::default().labels(&format!("{COLLECTION_LABEL}={name}"));
    nodes.locate(&pods.list(&labelled).await?.items);
    Ok(Some(nodes))
}

/// Bytes for people.
fn amount(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::{UPLOADS_RUN, deadline, kind, reason, under_way};

    #[test]
    fn a_snapshot_that_never_begins_does_not_wait_for_ever() {
        let now = "2026-03-05T12:00:00Z".parse().unwrap();
        let mut snapshot = crate::fixtures::scheduled("docs-1", "Pending", "2026-03-05T10:00:00Z");
        snapshot.metadata.creation_timestamp = Some(Time("2026-03-05T09:00:00Z".parse().unwrap()));
        assert_eq!(deadline(&snapshot, now).to_string(), "2026-03-05T11:00:00Z");
        snapshot.status.as_mut().unwrap().start_time = Some(Time("2026-03-05T10:30:00Z".parse().unwrap()));
        assert_eq!(deadline(&snapshot, now).to_string(), "2026-03-05T12:30:00Z");
    }

    #[test]
    fn a_try_without_an_end_is_under_way() {
        for (reason, expected) in
            [(UPLOADS_RUN, true), (reason::RETRYING, false), (reason::COLLECTION_NOT_FOUND, false)]
        {
            let snapshot = crate::fixtures::scheduled("docs-1", "Pending", "2026-03-05T10:00:00Z");
            let mut status = snapshot.status.expect("a snapshot with a status");
            assert!(!under_way(&status), "before the first try");
            status.conditions[0].type_ = kind::UPLOADING.into();
            status.conditions[0].reason = reason.into();
            assert_eq!(under_way(&status), expected, "{reason}");
        }
    }

    #[test]
    fn amounts_are_for_people() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(super::amount(bytes), text);
        }
    }
}
