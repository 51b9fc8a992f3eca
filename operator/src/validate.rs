//! From a spec to what the rest may rely on. What the API server can't check is checked here, once; after this
//! nothing looks for errors in the spec again.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use quiver_api::collections::CreateCollection;
use quiver_api::internal::PayloadIndex;
use quiver_crds::collection::VectorCollectionSpec;
use quiver_crds::condition::reason;
use quiver_crds::s3::{Credentials, CredentialsType};
use quiver_crds::{COLLECTION_UID_LABEL, VectorCollection};
use serde_json::Value;

use crate::build::schema;
use crate::names;
use crate::observe::Observed;
use crate::plan::schedule::Cron;

/// Settings of the operator that end up in what it makes.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Image of the nodes, with its tag.
    pub node_image: String,
    /// When the image is pulled, if the collection doesn't say.
    pub pull_policy: Option<String>,
}

/// A collection that can be built.
pub struct Valid {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: i64,
    pub rest_name: String,
    pub spec: VectorCollectionSpec,
    pub owner: OwnerReference,
    pub image: String,
    pub pull_policy: Option<String>,
    pub cron: Option<Cron>,
    /// Body that makes the collection in REST.
    pub create: Value,
    pub indexes: Vec<PayloadIndex>,
    /// How the pods prove who they are to the object store; `None`: there is no store.
    pub credentials: Option<Credentials>,
}

/// Why a collection can't be built: a reason and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub reason: &'static str,
    pub message: String,
}

fn invalid(message: impl Into<String>) -> Invalid {
    Invalid { reason: reason::INVALID_SPEC, message: message.into() }
}

/// Checks everything.
pub fn validate(observed: &Observed, defaults: &Defaults) -> Result<Valid, Invalid> {
    let collection = &observed.collection;
    let spec = collection.spec.clone();
    let name = collection.name_any();
    let create = schema::create_body(&spec);
    let parsed: CreateCollection =
        serde_json::from_value(create.clone()).map_err(|e| invalid(format!("the schema is not one: {e}")))?;
    parsed.validate().map_err(|e| invalid(format!("the schema is not one: {e}")))?;
    if !observed.missing_secrets.is_empty() {
        return Err(Invalid {
            reason: reason::SECRET_MISSING,
            message: format!(
                "create the Secret {} in namespace {}: the spec refers to it",
                observed.missing_secrets.join(", "),
                collection.namespace().unwrap_or_default()
            ),
        });
    }
    predecessor(observed, &name)?;
    let cron = match spec.snapshots.as_ref().and_then(|s| s.schedule.as_ref()) {
        Some(schedule) => Some(
            Cron::parse(&schedule.cron, &schedule.time_zone, observed.now)
                .map_err(|e| invalid(format!("spec.snapshots.schedule: {e}")))?,
        ),
        None => None,
    };
    Ok(Valid {
        namespace: collection.namespace().unwrap_or_default(),
        uid: observed.uid(),
        generation: collection.metadata.generation.unwrap_or_default(),
        rest_name: spec.rest_name(&name).to_owned(),
        owner: owner(collection),
        image: image(&spec, defaults),
        pull_policy: spec
            .image
            .pull_policy
            .map(|p| format!("{p:?}"))
            .or_else(|| defaults.pull_policy.clone()),
        indexes: schema::payload_indexes(&spec),
        credentials: credentials(observed)?,
        cron,
        create,
        name,
        spec,
    })
}

/// The volumes of an earlier collection of the same name would come back with the pods.
fn predecessor(observed: &Observed, name: &str) -> Result<(), Invalid> {
    let uid = observed.uid();
    let of_another = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get(COLLECTION_UID_LABEL).is_some_and(|l| *l != uid)
    };
    let old: Vec<String> = observed
        .volumes
        .iter()
        .filter(|v| v.metadata.deletion_timestamp.is_none() && of_another(v.labels()))
        .map(|v| v.name_any())
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    Err(invalid(format!(
        "the volumes {} hold the data of an earlier VectorCollection {name}: delete them (kubectl delete pvc {}) or choose \
         another name; to get the data back, bootstrap from a snapshot",
        old.join(", "),
        old.join(" ")
    )))
}

fn owner(collection: &VectorCollection) -> OwnerReference {
    let mut owner =
        collection.controller_owner_ref(&()).expect("an object that was read has a name and a uid");
    // Needs a permission that nothing here depends on: the garbage collector removes children either way.
    owner.block_owner_deletion = None;
    owner
}

fn image(spec: &VectorCollectionSpec, defaults: &Defaults) -> String {
    let default = &defaults.node_image;
    // The tag is what follows the last colon, unless that colon belongs to a registry's port.
    let (repository, tag) = match default.rsplit_once(':') {
        Some((r, t)) if !t.contains('/') => (r, Some(t)),
        _ => (default.as_str(), None),
    };
    let chosen = spec.image.repository.as_deref();
    if chosen.is_none() && spec.image.tag.is_none() {
        return default.clone();
    }
    let repository = chosen.unwrap_or(repository);
    match spec.image.tag.as_deref().or(tag) {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.to_owned(),
    }
}

/// One identity for each pod: of the destination, else of the place that the first data comes from.
fn credentials(observed: &Observed) -> Result<Option<Credentials>, Invalid> {
    let spec = &observed.collection.spec;
    let own = spec.snapshots.as_ref().map(|s| s.destination.s3.credentials.clone());
    let source = spec.bootstrap.as_ref().and_then(|b| b.snapshot.as_ref());
    let manifest = source.and_then(|s| s.manifest.as_ref()).map(|m| m.destination.s3.credentials.clone());
    match (own, manifest) {
        (Some(own), Some(manifest)) if own != manifest && !observed.bootstrapped() => Err(invalid(
            "snapshots.destination and bootstrap.snapshot.manifest.destination have different credentials, but a pod \
             has one identity: use the same Secret for both",
        )),
        (Some(own), _) => Ok(Some(own)),
        (None, Some(manifest)) => Ok(Some(manifest)),
        // From a VectorSnapshot: what the pods were made with stays, whatever becomes of that object.
        (None, None) => Ok(source.and(observed.source_credentials.clone()).or_else(|| current(observed))),
    }
}

/// The identity that the pods have now.
fn current(observed: &Observed) -> Option<Credentials> {
    let template = observed.stateful_set.as_ref()?.spec.as_ref()?.template.spec.as_ref()?;
    let env = template.containers.iter().find(|c| c.name == names::CONTAINER)?.env.as_ref()?;
    let key =
        env.iter().find(|e| e.name == "AWS_ACCESS_KEY_ID")?.value_from.as_ref()?.secret_key_ref.as_ref()?;
    Some(Credentials {
        kind: CredentialsType::Secret,
        secret_ref: Some(quiver_crds::s3::SecretRef { name: key.name.clone() }),
    })
}

/// Whether a pod is ready, as Kubernetes sees it.
pub fn ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}
