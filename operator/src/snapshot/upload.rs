//! The upload itself: every shard by the node that leads it, then the manifest.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use quiver_api::internal::{
    PutManifestRequest, S3Destination, SNAPSHOT_FORMAT_VERSION, ShardManifest, SnapshotManifest,
    UploadRequest,
};
use quiver_crds::condition::reason;
use quiver_crds::s3::Destination;
use quiver_crds::snapshot::{SnapshotShard, VectorSnapshotStatus};
use quiver_crds::{VectorCollection, VectorShard, VectorSnapshot};

use super::Trouble;
use crate::build::{names, schema};
use crate::context::Context;
use crate::node_client::{CallError, NodeClient};
use crate::{clock, peer_secret, words};

/// Shards that are uploaded at a time.
const UPLOADS: usize = 4;

/// A place as nodes are told of it.
pub fn place(to: &Destination) -> S3Destination {
    let s3 = &to.s3;
    S3Destination {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        region: s3.region.clone(),
        endpoint: s3.endpoint.clone(),
        force_path_style: s3.force_path_style,
    }
}

/// The client of a collection's nodes, knowing where its pods are. `None`: it never had any.
pub async fn nodes(
    ctx: &Context,
    collection: &VectorCollection,
) -> Result<Option<(NodeClient, Vec<String>)>> {
    let namespace = collection.namespace().context("a VectorCollection has a namespace")?;
    let (name, uid) = (collection.name_any(), collection.uid().unwrap_or_default());
    let Some(tls) = peer_secret::read(&ctx.client, &namespace, &names::peer_tls(&name)).await? else {
        return Ok(None);
    };
    let client = ctx.nodes.of(&uid, &tls)?;
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), &namespace);
    let selected = ListParams::default().labels(&format!("{}={name}", quiver_crds::COLLECTION_LABEL));
    let mut hosts = Vec::new();
    for pod in pods.list(&selected).await.context("reading the pods of a collection")? {
        let ip = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
        let Some(ip) = ip else { continue };
        let host = names::host(&name, &namespace, &pod.name_any());
        client.locate(&host, ip);
        hosts.push(host);
    }
    Ok(Some((client, hosts)))
}

/// Uploads everything that the store doesn't have.
pub async fn upload(
    ctx: &Context,
    snapshot: &VectorSnapshot,
    collection: &VectorCollection,
    destination: &Destination,
    status: &mut VectorSnapshotStatus,
    deadline: Timestamp,
) -> Result<Result<(), Trouble>> {
    let namespace = collection.namespace().context("a VectorCollection has a namespace")?;
    let (name, uid) = (collection.name_any(), collection.uid().unwrap_or_default());
    let Some((client, _)) = nodes(ctx, collection).await? else {
        return Ok(Err(Trouble::Passing(format!("the VectorCollection {name} has no nodes yet"))));
    };
    let records: Api<VectorShard> = Api::namespaced(ctx.client.clone(), &namespace);
    let of_name = ListParams::default().fields(&format!("spec.collection={name}"));
    let mut records = records.list(&of_name).await.context("reading the shards of a collection")?.items;
    records.retain(|r| r.spec.collection_uid == uid);
    records.sort_by_key(|r| r.spec.shard);
    if usize::try_from(collection.spec.shards).is_ok_and(|n| n != records.len()) {
        return Ok(Err(Trouble::Passing(format!(
            "only {} of {} shards exist",
            records.len(),
            collection.spec.shards
        ))));
    }
    let request = UploadRequest {
        destination: place(destination),
        snapshot: snapshot.name_any(),
        collection_uid: uid.clone(),
    };
    let left = Duration::try_from(deadline.duration_since(clock::now())).unwrap_or(Duration::from_secs(1));
    let leaders: Vec<(String, i32)> = records
        .iter()
        .map(|r| {
            let leader = r.spec.copies.iter().find(|c| c.id == r.spec.primary);
            (leader.map(|c| c.pod.clone()).unwrap_or_default(), r.spec.shard)
        })
        .collect();
    let uploads = leaders.into_iter().map(|(pod, shard)| {
        let (client, request) = (client.clone(), request.clone());
        let host = names::host(&name, &namespace, &pod);
        async move { (pod, shard, client.upload(&host, shard, &request, left).await) }
    });
    let mut answers: Vec<(String, i32, Result<ShardManifest, CallError>)> =
        futures::stream::iter(uploads).buffer_unordered(UPLOADS).collect().await;
    answers.sort_by_key(|(_, shard, _)| *shard);
    status.attempts += 1;
    let mut shards = Vec::new();
    for (pod, shard, answer) in answers {
        match answer {
            Ok(manifest) => shards.push((pod, manifest)),
            Err(e) => return Ok(Err(trouble(&format!("shard {shard} on {pod}"), &e))),
        }
    }
    status.attempts -= 1;
    let manifest = SnapshotManifest {
        format_version: SNAPSHOT_FORMAT_VERSION,
        name: snapshot.name_any(),
        collection: collection.spec.rest_name(&name).into(),
        collection_uid: uid,
        created_at: words::whole_seconds(clock::now()).to_string(),
        schema: schema::create(&collection.spec),
        payload_indexes: schema::payload_indexes(&collection.spec),
        aliases: collection.spec.aliases.clone(),
        shards: shards.iter().map(|(_, manifest)| manifest.clone()).collect(),
    };
    let writer =
        names::host(&name, &namespace, &shards.first().map(|(pod, _)| pod.clone()).unwrap_or_default());
    let put = PutManifestRequest { destination: place(destination), manifest };
    match client.put_manifest(&writer, &put).await {
        Err(e) => Ok(Err(trouble("the manifest", &e))),
        Ok(answer) => {
            note(status, &shards, answer.size_bytes);
            status.manifest_key = answer.manifest_key;
            Ok(Ok(()))
        }
    }
}

fn trouble(what: &str, error: &CallError) -> Trouble {
    match error.is_retryable() {
        true => Trouble::Passing(format!("{what}: {error}")),
        false => Trouble::Final(reason::INVALID_SPEC, format!("{what}: {error}")),
    }
}

/// What was uploaded, for people.
fn note(status: &mut VectorSnapshotStatus, shards: &[(String, ShardManifest)], size: u64) {
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let sent: u64 = shards.iter().map(|(_, m)| m.uploaded_bytes).sum();
    status.size_bytes = signed(size);
    status.size = words::bytes(size);
    status.uploaded_bytes = signed(sent);
    status.uploaded = words::bytes(sent);
    status.points = signed(shards.iter().map(|(_, m)| m.points).sum());
    status.engine_version = shards.first().map(|(_, m)| m.engine_version.clone()).unwrap_or_default();
    status.shards = shards
        .iter()
        .map(|(pod, m)| SnapshotShard {
            shard: i32::try_from(m.shard).unwrap_or(i32::MAX),
            pod: pod.clone(),
            term: m.term,
            seq_no: signed(m.seq),
            points: signed(m.points),
            bytes: signed(m.files.iter().map(|f| f.size_bytes).sum()),
        })
        .collect();
}
