//! Reads what is there: the collection, what it owns, its pods, and what the nodes say of themselves.
//! Decides nothing; a node that doesn't answer is an observation, not an error.

use std::collections::BTreeMap;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::metadata::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use quiver_api::internal::{FetchManifestRequest, NodeStatus, SnapshotManifest};
use quiver_crds::collection::BootstrapType;
use quiver_crds::condition::kind;
use quiver_crds::s3::{Credentials, Destination, S3Location};
use quiver_crds::{COLLECTION_LABEL, VectorCollection, VectorShard, VectorSnapshot};
use serde::de::DeserializeOwned;

use crate::certificates::PeerCertificates;
use crate::error::{Error, Result};
use crate::liveness::Standing;
use crate::names;
use crate::node_client::{NodeClient, destination_of};
use crate::plan::splits::covered;

/// One collection and all that belongs to it, as it was read.
pub struct Observed {
    pub collection: VectorCollection,
    pub stateful_set: Option<StatefulSet>,
    /// By ordinal.
    pub pods: Vec<Pod>,
    pub volumes: Vec<PersistentVolumeClaim>,
    /// Of this collection's uid, by number.
    pub shards: Vec<VectorShard>,
    pub snapshots: Vec<VectorSnapshot>,
    /// What each pod's node answered.
    pub nodes: BTreeMap<String, std::result::Result<NodeStatus, String>>,
    pub missing_secrets: Vec<String>,
    pub certificates: Option<PeerCertificates>,
    pub disruption_budget: bool,
    pub network_policy: bool,
    pub source: Source,
    /// Credentials of the VectorSnapshot that the first data comes from, while it is there.
    pub source_credentials: Option<Credentials>,
    /// Which nodes live, by their Leases.
    pub standing: BTreeMap<String, Standing>,
    /// By pod: zone and machine, as far as they are known.
    pub machines: BTreeMap<String, (Option<String>, Option<String>)>,
    pub now: Timestamp,
}

/// Where the first data comes from, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Nothing to fetch, or the shards are there already.
    Empty,
    /// Not known yet, and why.
    Waits(String),
    /// It can't be used, and what to do.
    Unusable(String),
    Manifest {
        location: S3Location,
        key: String,
        manifest: Box<SnapshotManifest>,
    },
}

impl Observed {
    pub fn name(&self) -> String {
        self.collection.name_any()
    }

    pub fn uid(&self) -> String {
        self.collection.uid().unwrap_or_default()
    }

    /// Whether shards were made once, by any sign of it.
    pub fn bootstrapped(&self) -> bool {
        self.collection.status.as_ref().is_some_and(|s| s.bootstrapped)
    }
}

/// The destination that a snapshot went or goes to, if that is known.
pub fn destination_of_snapshot(snapshot: &VectorSnapshot) -> Option<&Destination> {
    snapshot.spec.destination.as_ref().or(snapshot.status.as_ref().and_then(|s| s.destination.as_ref()))
}

/// Whether a condition of that type is true.
pub fn is_true(snapshot: &VectorSnapshot, condition: &str) -> bool {
    snapshot
        .status
        .as_ref()
        .is_some_and(|s| s.conditions.iter().any(|c| c.type_ == condition && c.status == "True"))
}

/// Reads all of it. `nodes` is a client for the pods' internal ports, if there are certificates yet; nodes that are `late`
/// aren't waited for long.
pub async fn observe(
    client: &Client,
    collection: VectorCollection,
    certificates: Option<PeerCertificates>,
    nodes: Option<&NodeClient>,
    late: &BTreeMap<String, Standing>,
) -> Result<Observed> {
    let namespace = collection.namespace().ok_or(Error::Malformed("namespace"))?;
    let (name, uid) = (collection.name_any(), collection.uid().ok_or(Error::Malformed("uid"))?);
    let labelled = ListParams::default().labels(&format!("{COLLECTION_LABEL}={name}"));
    let of_collection = ListParams::default().fields(&format!("spec.collectionRef.name={name}"));
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &namespace);
    let (set, pods, volumes, shards, snapshots, budgets, policies) = tokio::try_join!(
        sets.get_opt(&name),
        list::<Pod>(client, &namespace, &labelled),
        list::<PersistentVolumeClaim>(client, &namespace, &labelled),
        list::<VectorShard>(client, &namespace, &labelled),
        list::<VectorSnapshot>(client, &namespace, &of_collection),
        list::<PodDisruptionBudget>(client, &namespace, &labelled),
        list::<NetworkPolicy>(client, &namespace, &labelled),
    )?;
    let mut pods: Vec<Pod> =
        pods.into_iter().filter(|p| names::ordinal(&name, &p.name_any()).is_some()).collect();
    pods.sort_by_key(|p| names::ordinal(&name, &p.name_any()));
    let mut shards: Vec<_> = shards.into_iter().filter(|s| s.spec.collection_uid == uid).collect();
    shards.sort_by_key(|s| s.spec.shard);
    let statuses = match nodes {
        Some(nodes) => statuses(nodes, &pods, late).await,
        None => BTreeMap::new(),
    };
    let reference = referenced(client, &namespace, &collection).await?;
    let source_credentials =
        reference.as_ref().and_then(destination_of_snapshot).map(|d| d.s3.credentials.clone());
    let source = source(reference.as_ref(), &collection, &shards, nodes, &statuses).await?;
    let missing_secrets = missing_secrets(client, &namespace, &collection).await?;
    Ok(Observed {
        stateful_set: set.filter(|s| s.metadata.deletion_timestamp.is_none()),
        pods,
        volumes,
        shards,
        snapshots,
        nodes: statuses,
        missing_secrets,
        certificates,
        disruption_budget: !budgets.is_empty(),
        network_policy: !policies.is_empty(),
        source,
        source_credentials,
        standing: BTreeMap::new(),
        machines: BTreeMap::new(),
        collection,
        now: crate::clock::now(),
    })
}

async fn list<K>(
    client: &Client,
    namespace: &str,
    params: &ListParams,
) -> std::result::Result<Vec<K>, kube::Error>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    Ok(Api::<K>::namespaced(client.clone(), namespace).list(params).await?.items)
}

async fn statuses(
    nodes: &NodeClient,
    pods: &[Pod],
    late: &BTreeMap<String, Standing>,
) -> BTreeMap<String, std::result::Result<NodeStatus, String>> {
    nodes.locate(pods);
    let running = pods.iter().filter(|p| nodes.knows(&p.name_any()));
    let asked = running.map(|pod| async {
        let pod = pod.name_any();
        let answer =
            nodes.status(&pod, late.get(&pod).copied().unwrap_or_default()).await.map_err(|e| e.to_string());
        (pod, answer)
    });
    join_all(asked).await.into_iter().collect()
}

/// Names the Secrets that the spec refers to and that aren't there. Only their metadata is read.
async fn missing_secrets(
    client: &Client,
    namespace: &str,
    collection: &VectorCollection,
) -> Result<Vec<String>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let spec = &collection.spec;
    let security = &spec.security;
    let keys = [&security.api_key_secret_ref, &security.read_only_api_key_secret_ref];
    let mut wanted: Vec<&str> = keys.into_iter().flatten().map(|k| k.name.as_str()).collect();
    wanted.extend(security.tls.iter().map(|t| t.secret_name.as_str()));
    let s3 = spec.snapshots.as_ref().and_then(|s| s.destination.s3.credentials.secret_ref.as_ref());
    wanted.extend(s3.map(|s| s.name.as_str()));
    let mut missing = Vec::new();
    for name in wanted {
        let found: Option<PartialObjectMeta<Secret>> = api.get_metadata_opt(name).await?;
        if found.is_none() {
            missing.push(name.to_owned());
        }
    }
    Ok(missing)
}

/// The VectorSnapshot that the first data comes from, if it is there.
async fn referenced(
    client: &Client,
    namespace: &str,
    collection: &VectorCollection,
) -> Result<Option<VectorSnapshot>> {
    let source = collection.spec.bootstrap.as_ref().and_then(|b| b.snapshot.as_ref());
    let Some(reference) = source.and_then(|s| s.reference.as_ref()) else { return Ok(None) };
    let api: Api<VectorSnapshot> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(&reference.name).await?)
}

/// What the first data comes from. The manifest is read by a node: only nodes have the credentials.
async fn source(
    referenced: Option<&VectorSnapshot>,
    collection: &VectorCollection,
    shards: &[VectorShard],
    nodes: Option<&NodeClient>,
    statuses: &BTreeMap<String, std::result::Result<NodeStatus, String>>,
) -> Result<Source> {
    let bootstrap = match &collection.spec.bootstrap {
        Some(b) if b.kind == BootstrapType::Snapshot => b.snapshot.as_ref(),
        _ => None,
    };
    let Some(wanted) = bootstrap.filter(|_| !covered(shards)) else {
        return Ok(Source::Empty);
    };
    let (destination, key) = if let Some(reference) = &wanted.reference {
        let name = &reference.name;
        let Some(snapshot) = referenced else {
            return Ok(Source::Waits(format!("there is no VectorSnapshot {name} in this namespace")));
        };
        if is_true(snapshot, kind::FAILED) {
            return Ok(Source::Unusable(format!(
                "the VectorSnapshot {name} has failed: delete this VectorCollection and name a complete one"
            )));
        }
        let key = snapshot.status.as_ref().map(|s| s.manifest_key.clone()).unwrap_or_default();
        match destination_of_snapshot(snapshot) {
            Some(d) if is_true(snapshot, kind::COMPLETE) && !key.is_empty() => (d.clone(), key),
            _ => return Ok(Source::Waits(format!("the VectorSnapshot {name} is not complete yet"))),
        }
    } else if let Some(manifest) = &wanted.manifest {
        (manifest.destination.clone(), manifest.key.clone())
    } else {
        return Ok(Source::Unusable(
            "bootstrap.snapshot names neither a VectorSnapshot nor a manifest".into(),
        ));
    };
    let location = S3Location::from(&destination.s3);
    let answering = statuses.iter().find(|(_, s)| s.is_ok());
    let (Some(nodes), Some((pod, _))) = (nodes, answering) else {
        return Ok(Source::Waits("no node runs yet that could read the snapshot".into()));
    };
    let request = FetchManifestRequest { destination: destination_of(&location), manifest_key: key.clone() };
    Ok(match nodes.fetch_manifest(pod, &request).await {
        Ok(manifest) => Source::Manifest { location, key, manifest: Box::new(manifest) },
        Err(Error::Node { message, retryable: false, .. }) => {
            Source::Unusable(format!("the snapshot at {key} in {} can't be read: {message}", location.bucket))
        }
        Err(e) => {
            Source::Waits(format!("the snapshot at {key} in {} can't be read yet: {e}", location.bucket))
        }
    })
}
