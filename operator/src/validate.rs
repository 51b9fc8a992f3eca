//! Is the spec something that can be acted upon? What CEL can't check is checked here, and said in the status. Pure.

use std::collections::BTreeSet;

use kube::ResourceExt;
use quiver_crds::VectorCollectionSpec;
use quiver_crds::collection::PullPolicy;
use quiver_crds::condition::reason;
use quiver_crds::s3::S3;

use crate::build::names;
use crate::context::Defaults;
use crate::observe::{Restore, Source, World};
use crate::plan::schedule;

/// A spec that can be acted upon, with everything filled in.
#[derive(Clone, Debug)]
pub struct Valid {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: i64,
    pub spec: VectorCollectionSpec,
    pub image: String,
    pub pull_policy: &'static str,
    pub operator_namespace: String,
    /// Where the first data comes from, if not from nothing.
    pub restore: Option<Restore>,
    /// Secret with the keys of the store.
    pub s3_secret: Option<String>,
    /// Changes when a Secret changes that pods read only when they start.
    pub secrets_version: String,
}

/// Why nothing can be done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: &'static str,
    pub message: String,
}

impl Problem {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Names of the Secrets that pods need.
pub fn secret_names(spec: &VectorCollectionSpec) -> BTreeSet<String> {
    wanted_keys(spec).into_iter().map(|(name, _)| name).collect()
}

/// Secret and key.
fn wanted_keys(spec: &VectorCollectionSpec) -> Vec<(String, String)> {
    let mut wanted = Vec::new();
    let security = &spec.security;
    for key in [&security.api_key_secret_ref, &security.read_only_api_key_secret_ref].into_iter().flatten() {
        wanted.push((key.name.clone(), key.key.clone()));
    }
    if let Some(tls) = &security.tls {
        wanted.extend(["tls.crt", "tls.key"].map(|key| (tls.secret_name.clone(), key.to_owned())));
    }
    for s3 in [destination(spec), bootstrap_s3(spec)].into_iter().flatten() {
        if let Some(secret) = &s3.credentials.secret_ref {
            wanted.extend(
                ["access-key-id", "secret-access-key"].map(|key| (secret.name.clone(), key.to_owned())),
            );
        }
    }
    wanted
}

fn destination(spec: &VectorCollectionSpec) -> Option<&S3> {
    spec.snapshots.as_ref().map(|s| &s.destination.s3)
}

fn bootstrap_s3(spec: &VectorCollectionSpec) -> Option<&S3> {
    Some(&spec.bootstrap.as_ref()?.snapshot.as_ref()?.manifest.as_ref()?.destination.s3)
}

/// Checks what CEL can't.
pub fn validate(world: &World, defaults: &Defaults) -> Result<Valid, Problem> {
    let collection = world.collection.as_ref().expect("a world is observed for a collection");
    let spec = collection.spec.clone();
    check_secrets(world, &spec)?;
    check_schedule(&spec)?;
    let uid = collection.uid().unwrap_or_default();
    let name = collection.name_any();
    check_claims(world, &name, &uid)?;
    let bootstrapped = collection.status.as_ref().is_some_and(|s| s.bootstrapped);
    let restore = restore(world, &spec, bootstrapped)?;
    let s3_secret = s3_secret(&spec, restore.as_ref())?;
    let image = &spec.image;
    let (repository, tag) = defaults.image_parts();
    let image = match (&image.repository, &image.tag) {
        (None, None) => defaults.node_image.clone(),
        (to, with) => {
            format!("{}:{}", to.as_deref().unwrap_or(repository), with.as_deref().unwrap_or(tag))
        }
    };
    let pull_policy = match spec.image.pull_policy {
        Some(PullPolicy::Always) => "Always",
        Some(PullPolicy::Never) => "Never",
        Some(PullPolicy::IfNotPresent) | None => "IfNotPresent",
    };
    let versions =
        world.secrets.iter().filter_map(|(name, facts)| Some(format!("{name}={}", facts.as_ref()?.version)));
    Ok(Valid {
        generation: collection.metadata.generation.unwrap_or_default(),
        namespace: collection.namespace().unwrap_or_default(),
        secrets_version: versions.collect::<Vec<_>>().join(","),
        operator_namespace: defaults.operator_namespace.clone(),
        name,
        uid,
        spec,
        image,
        pull_policy,
        restore,
        s3_secret,
    })
}

fn check_secrets(world: &World, spec: &VectorCollectionSpec) -> Result<(), Problem> {
    for (name, key) in wanted_keys(spec) {
        let missing = |what: String| Err(Problem::new(reason::SECRET_MISSING, what));
        match world.secrets.get(&name) {
            Some(Some(facts)) if facts.keys.contains(&key) => {}
            Some(Some(_)) => return missing(format!("the Secret {name} has no key {key}: add it")),
            _ => return missing(format!("there is no Secret {name}: create it with the key {key}")),
        }
    }
    Ok(())
}

fn check_schedule(spec: &VectorCollectionSpec) -> Result<(), Problem> {
    let Some(schedule) = spec.snapshots.as_ref().and_then(|s| s.schedule.as_ref()) else { return Ok(()) };
    schedule::parse(schedule).map(drop).map_err(|e| Problem::new(reason::INVALID_SPEC, e))
}

/// A volume of an earlier collection of the same name would be refused by the node, which can't say so as clearly.
fn check_claims(world: &World, name: &str, uid: &str) -> Result<(), Problem> {
    let foreign: Vec<&str> = world
        .claims
        .iter()
        .filter(|(claim, object)| {
            let of = object.labels().get(quiver_crds::COLLECTION_UID_LABEL);
            claim.starts_with(&names::claim(name)) && of.is_some_and(|of| of != uid)
        })
        .map(|(claim, _)| claim.as_str())
        .collect();
    let Some(first) = foreign.first() else { return Ok(()) };
    Err(Problem::new(
        reason::INVALID_SPEC,
        format!(
            "{} volume claim(s) of an earlier VectorCollection {name} are still there ({first} …), kept by its \
             deletionPolicy: delete the claims if their data isn't needed, or give this VectorCollection another name",
            foreign.len()
        ),
    ))
}

fn restore(
    world: &World,
    spec: &VectorCollectionSpec,
    bootstrapped: bool,
) -> Result<Option<Restore>, Problem> {
    // Once the shards are there, nobody asks for the snapshot any more: it may be gone.
    let from = match &world.source {
        Source::Empty => None,
        Source::Snapshot(from) => Some(from.clone()),
        Source::Waits(_) | Source::Impossible(_) if bootstrapped => None,
        Source::Waits(why) => return Err(Problem::new(reason::BOOTSTRAP_WAITS, why.clone())),
        Source::Impossible(why) => return Err(Problem::new(reason::BOOTSTRAP_FAILED, why.clone())),
    };
    let wanted = usize::try_from(spec.shards).unwrap_or_default();
    match from.as_ref().and_then(|f| f.shards) {
        Some(has) if has != wanted && !bootstrapped => Err(Problem::new(
            reason::BOOTSTRAP_FAILED,
            format!(
                "the snapshot has {has} shards, spec.shards says {wanted}: create the VectorCollection with {has} shards; its number of nodes is free"
            ),
        )),
        _ => Ok(from),
    }
}

/// Pods have the keys of one store.
fn s3_secret(spec: &VectorCollectionSpec, restore: Option<&Restore>) -> Result<Option<String>, Problem> {
    let name = |s3: &S3| s3.credentials.secret_ref.as_ref().map(|r| r.name.clone());
    let (to, from) = (destination(spec).map(name), restore.map(|r| name(&r.s3)));
    match (to, from) {
        (Some(to), Some(from)) if to != from => Err(Problem::new(
            reason::INVALID_SPEC,
            "snapshots.destination and the snapshot to begin from need the same credentials: nodes sign in with one Secret",
        )),
        (Some(secret), _) | (None, Some(secret)) => Ok(secret),
        (None, None) => Ok(None),
    }
}
