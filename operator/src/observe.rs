//! What there is: everything that decisions about one collection rest on, read before any of them is made.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use quiver_api::internal::NodeStatus;
use quiver_crds::s3::S3;
use quiver_crds::{COLLECTION_LABEL, VectorCollection, VectorShard, VectorSnapshot};
use serde_json::Value;

use crate::build::certificate::PeerTls;
use crate::build::{Kind, names};
use crate::context::Context;
use crate::{apply, peer_secret};

/// Everything about one collection.
#[derive(Clone, Default)]
pub struct World {
    pub collection: Option<VectorCollection>,
    /// Objects that the operator makes, as they are.
    pub objects: BTreeMap<(Kind, String), Value>,
    /// Records of this collection, by number; those of an earlier life of the name are left out.
    pub shards: BTreeMap<i32, VectorShard>,
    pub pods: BTreeMap<String, Pod>,
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
    pub snapshots: Vec<VectorSnapshot>,
    /// Secrets that the spec refers to: their keys and version, or nothing if one isn't there.
    pub secrets: BTreeMap<String, Option<SecretFacts>>,
    pub peer_tls: Option<PeerTls>,
    /// What each pod's node said of itself, or why it said nothing.
    pub nodes: BTreeMap<String, Result<NodeStatus, String>>,
    /// Digest of the schema that was pushed to each pod's present process.
    pub pushed: BTreeMap<String, u64>,
    pub source: Source,
}

/// What is known of a Secret; never what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    pub keys: BTreeSet<String>,
    pub version: String,
}

/// Where the first data comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Source {
    #[default]
    Empty,
    Snapshot(Restore),
    /// The snapshot isn't complete yet.
    Waits(String),
    /// It never will be.
    Impossible(String),
}

/// A snapshot to begin from.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    pub s3: S3,
    pub manifest_key: String,
    /// How many shards the snapshot has, if that is known.
    pub shards: Option<usize>,
}

/// Reads everything.
pub async fn observe(ctx: &Context, collection: &VectorCollection) -> Result<World> {
    let namespace = collection.namespace().context("a VectorCollection has a namespace")?;
    let (name, uid) = (collection.name_any(), collection.uid().unwrap_or_default());
    let client = &ctx.client;
    let selected = ListParams::default().labels(&format!("{COLLECTION_LABEL}={name}"));
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let shards: Api<VectorShard> = Api::namespaced(client.clone(), &namespace);
    let snapshots: Api<VectorSnapshot> = Api::namespaced(client.clone(), &namespace);
    let of_name = ListParams::default().fields(&format!("spec.collection={name}"));
    let of_ref = ListParams::default().fields(&format!("spec.collectionRef.name={name}"));
    let (pods, claims, shards, snapshots) = futures::try_join!(
        pods.list(&selected),
        claims.list(&selected),
        shards.list(&of_name),
        snapshots.list(&of_ref)
    )
    .context("reading pods, claims, shards and snapshots")?;

    let mut world = World {
        pods: pods.items.into_iter().map(|p| (p.name_any(), p)).collect(),
        claims: claims.items.into_iter().map(|c| (c.name_any(), c)).collect(),
        shards: shards
            .items
            .into_iter()
            .filter(|s| s.spec.collection_uid == uid)
            .map(|s| (s.spec.shard, s))
            .collect(),
        snapshots: snapshots.items,
        collection: Some(collection.clone()),
        ..World::default()
    };
    world.objects = objects(client, &namespace, &name, &uid).await?;
    world.secrets = secrets(client, &namespace, collection).await?;
    world.source = source(client, &namespace, collection).await?;
    world.peer_tls = peer_secret::read(client, &namespace, &names::peer_tls(&name)).await?;
    if let Some(tls) = world.peer_tls.clone() {
        ask_nodes(ctx, &mut world, &namespace, &name, &uid, &tls).await?;
    }
    Ok(world)
}

/// The objects that the operator makes, by their names; those of another owner count too, to be refused later.
async fn objects(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
) -> Result<BTreeMap<(Kind, String), Value>> {
    let account = names::account(name);
    let wanted = [
        (Kind::ServiceAccount, account.clone()),
        (Kind::Role, account.clone()),
        (Kind::RoleBinding, account),
        (Kind::Service, name.to_owned()),
        (Kind::Service, names::headless(name)),
        (Kind::NetworkPolicy, name.to_owned()),
        (Kind::PodDisruptionBudget, name.to_owned()),
        (Kind::StatefulSet, name.to_owned()),
    ];
    let read = wanted.into_iter().map(|(kind, name)| async move {
        let found = apply::api(client, namespace, kind).get_opt(&name).await;
        let found = found.with_context(|| format!("reading {} {name}", kind.names().1))?;
        anyhow::Ok(found.map(|o| ((kind, name), serde_json::to_value(o).expect("an object is plain data"))))
    });
    let mut objects = BTreeMap::new();
    for found in join_all(read).await {
        let Some((key, object)) = found? else { continue };
        let ours = object["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|o| o.iter().any(|o| o["uid"] == uid));
        anyhow::ensure!(
            ours || object["metadata"]["deletionTimestamp"].is_string(),
            "the {} {} is there already and belongs to somebody else: remove it, or give the VectorCollection another name",
            key.0.names().1,
            key.1
        );
        if ours {
            objects.insert(key, object);
        }
    }
    Ok(objects)
}

async fn secrets(
    client: &Client,
    namespace: &str,
    collection: &VectorCollection,
) -> Result<BTreeMap<String, Option<SecretFacts>>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut facts = BTreeMap::new();
    for name in crate::validate::secret_names(&collection.spec) {
        let found = api.get_opt(&name).await.with_context(|| format!("reading the Secret {name}"))?;
        let found = found.map(|s| SecretFacts {
            version: s.resource_version().unwrap_or_default(),
            keys: s.data.unwrap_or_default().into_keys().collect(),
        });
        facts.insert(name, found);
    }
    Ok(facts)
}

async fn source(client: &Client, namespace: &str, collection: &VectorCollection) -> Result<Source> {
    let Some(from) = collection.spec.bootstrap.as_ref().and_then(|b| b.snapshot.as_ref()) else {
        return Ok(Source::Empty);
    };
    if let Some(manifest) = &from.manifest {
        let s3 = manifest.destination.s3.clone();
        return Ok(Source::Snapshot(Restore { s3, manifest_key: manifest.key.clone(), shards: None }));
    }
    let Some(reference) = &from.reference else { return Ok(Source::Empty) };
    let api: Api<VectorSnapshot> = Api::namespaced(client.clone(), namespace);
    let name = &reference.name;
    let Some(snapshot) = api.get_opt(name).await.context("reading the snapshot to begin from")? else {
        return Ok(Source::Waits(format!("there is no VectorSnapshot {name} in namespace {namespace}")));
    };
    let status = snapshot.status.unwrap_or_default();
    Ok(match (status.state.as_str(), status.destination) {
        ("Complete", Some(to)) => Source::Snapshot(Restore {
            s3: to.s3,
            manifest_key: status.manifest_key,
            shards: Some(status.shards.len()),
        }),
        ("Failed", _) => {
            Source::Impossible(format!("the VectorSnapshot {name} has failed: {}", status.message))
        }
        _ => Source::Waits(format!("the VectorSnapshot {name} isn't complete yet")),
    })
}

async fn ask_nodes(
    ctx: &Context,
    world: &mut World,
    namespace: &str,
    name: &str,
    uid: &str,
    tls: &PeerTls,
) -> Result<()> {
    let nodes = ctx.nodes.of(uid, tls)?;
    let asked = world.pods.iter().map(|(pod, object)| {
        let (nodes, host) = (nodes.clone(), names::host(name, namespace, pod));
        let ip = object.status.as_ref().and_then(|s| s.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
        async move {
            let Some(ip) = ip else { return (pod.clone(), Err("the pod has no address yet".into())) };
            nodes.locate(&host, ip);
            (pod.clone(), nodes.status(&host).await.map_err(|e| e.to_string()))
        }
    });
    world.nodes = join_all(asked).await.into_iter().collect();
    let boots = world.nodes.iter().filter_map(|(pod, n)| n.as_ref().ok().map(|n| (pod, &n.boot)));
    world.pushed = boots.filter_map(|(pod, boot)| Some((pod.clone(), ctx.pushed(uid, pod, boot)?))).collect();
    Ok(())
}
