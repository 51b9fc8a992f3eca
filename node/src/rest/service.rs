//! What the node says of itself: version, health, telemetry, metrics, issues.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::AppState;
use super::extract::{Options, Started};
use crate::auth::Access;
use crate::clock;
use crate::cluster::managed::peer_id;
use crate::collection::Collection;
use crate::collection::info::Totals;
use crate::error::ApiError;
use crate::guardrails::CollectionFacts;
use crate::metrics::{self, CollectionNumbers, Scrape};
use crate::telemetry::{self, Facts};

/// Clients expect 40 hexadecimal digits; a build outside a repository has none.
const COMMIT: &str = "0000000000000000000000000000000000000000";

pub async fn root() -> Response {
    let body = json!({
        "title": "quiver - vector search",
        "version": crate::PROTOCOL_VERSION,
        "commit": COMMIT,
    });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

pub async fn healthz() -> &'static str {
    "healthz check passed"
}

pub async fn livez() -> &'static str {
    "healthz check passed"
}

pub async fn readyz(State(state): State<AppState>) -> Response {
    match state.registry.node.readiness.missing() {
        None => "all shards are ready".into_response(),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "some shards are not ready").into_response(),
    }
}

pub async fn telemetry(State(state): State<AppState>, options: Options, at: Started) -> Response {
    let node = &state.registry.node;
    let names = state.registry.names();
    let (mut details, defaults) = (Vec::new(), state.registry.defaults());
    let seen = || names.collections.iter().filter(|(name, _)| options.access.may_see(name));
    if options.details_level >= 1 {
        for (name, collection) in seen() {
            // A collection that can't be told of now is left out: numbers are no reason to fail.
            let told = collection.telemetry(&defaults, options.details_level, options.deadline(&state));
            match told.await {
                Ok(told) => details.push(told),
                Err(e) => tracing::warn!(collection = name, error = e.text, "no telemetry of a collection"),
            }
        }
    }
    let facts = Facts {
        boot: node.boot.clone(),
        startup: node.started.to_string(),
        cluster_enabled: node.settings.cluster.enabled,
        collections: seen().count(),
        collection_details: details,
        memory_used_bytes: node.memory.used_bytes(),
        memory_limit_bytes: node.memory.limit_bytes(),
    };
    let mut report = telemetry::report(&facts, &node.requests, options.details_level);
    if let (false, Some(parts)) = (options.access.is_global(), report.as_object_mut()) {
        for about_the_node in ["cluster", "requests", "memory"] {
            parts.remove(about_the_node);
        }
    }
    at.answer(Ok(report))
}

/// The counts of a collection; nothing where a shard is away: numbers are no reason to fail.
async fn totals(state: &AppState, collection: &Collection, options: &Options) -> Totals {
    collection.totals(options.deadline(state)).await.unwrap_or_default()
}

pub async fn metrics(State(state): State<AppState>, options: Options) -> Response {
    let node = &state.registry.node;
    let mut collections = Vec::new();
    let mut facts = Vec::new();
    for (name, collection) in &state.registry.names().collections {
        let totals = totals(&state, collection, &options).await;
        let all: u64 = totals.vectors.values().sum();
        collections.push(CollectionNumbers {
            name: name.clone(),
            points: totals.points,
            unindexed: vec![(String::new(), all.saturating_sub(totals.indexed_vectors))],
            running_optimizations: u64::from(totals.status == "yellow"),
            update_queue_length: totals.queue as u64,
            deferred_points: totals.deferred.unwrap_or(0),
            shards: collection.routes.load().len() as u64,
            bytes_disk: totals.bytes_disk,
            bytes_ram: totals.bytes_ram,
            damaged_files: totals.damaged.len() as u64,
            snapshots: node.snapshots.of(name),
            vectors: totals.vectors.iter().map(|(n, c)| (n.clone(), *c)).collect(),
        });
        facts.push(facts_of(&state, name, collection, &totals));
    }
    let (free, total) = state.registry.disk.space(&node.settings.storage.storage_path).unwrap_or_default();
    let mut issues: BTreeMap<String, u64> = BTreeMap::new();
    for issue in judge(&state, &facts) {
        *issues.entry(issue.reason.as_str().to_owned()).or_default() += 1;
    }
    let scrape = Scrape {
        collections,
        cluster_enabled: node.settings.cluster.enabled,
        peers: state.registry.managed.get().map_or(1, |c| c.pods().len() as u64),
        memory_limit_bytes: node.memory.limit_bytes(),
        memory_used_bytes: node.memory.used_bytes(),
        disk_free_bytes: free,
        disk_total_bytes: total,
        ready: node.readiness.missing().is_none(),
        issues,
        stale: node.stale_answers.load(Ordering::Relaxed),
        refused: [&node.keys.refusals.credentials, &node.keys.refusals.rights]
            .map(|n| n.load(Ordering::Relaxed)),
    };
    let text = metrics::encode(node.settings.service.metrics_prefix.as_deref(), scrape, &node.requests);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// On a node of its own snapshots are files; in a node set the operator says how its snapshots fare.
fn facts_of(state: &AppState, name: &str, collection: &Collection, totals: &Totals) -> CollectionFacts {
    let Some(schema) = state.registry.managed.get().and_then(|cluster| cluster.schema.current()) else {
        return collection.facts(totals, state.snapshots.newest_unix(name));
    };
    let schedule = &schema.snapshot_schedule;
    let last = schedule.last_success_unix.and_then(|t| u64::try_from(t).ok());
    CollectionFacts { scheduled: Some(schedule.scheduled), ..collection.facts(totals, last) }
}

fn judge(state: &AppState, facts: &[CollectionFacts]) -> Vec<crate::guardrails::Issue> {
    let node = &state.registry.node;
    let memory = (node.memory.used_bytes(), node.memory.limit_bytes());
    node.guardrails.issues(facts, memory, clock::unix().as_secs())
}

/// The red lines that are crossed now.
pub async fn current_issues(state: &AppState) -> Vec<crate::guardrails::Issue> {
    let mut facts = Vec::new();
    for (name, collection) in &state.registry.names().collections {
        let totals = totals(state, collection, &Options::default()).await;
        facts.push(facts_of(state, name, collection, &totals));
    }
    judge(state, &facts)
}

pub async fn issues(State(state): State<AppState>, access: Access, at: Started) -> Response {
    let mut all = current_issues(&state).await;
    all.retain(|i| i.collection.as_ref().map_or(access.is_global(), |name| access.may_see(name)));
    let all: Vec<Value> = all.iter().map(|i| i.to_json()).collect();
    at.answer(Ok(json!({ "issues": all })))
}

pub async fn clear_issues(State(state): State<AppState>, at: Started) -> Response {
    state.registry.node.guardrails.clear();
    at.answer(Ok(true))
}

/// What the protocol's servers do to their consensus. There is none here: on a node of its own there are no other nodes, and in a
/// cluster the operator says which nodes there are.
pub async fn no_consensus(State(state): State<AppState>, at: Started) -> Response {
    at.answer(Err::<(), _>(not_here(state.registry.node.settings.cluster.enabled)))
}

/// As [`no_consensus`]; what is no peer's number is not found, as at the protocol's servers, in plain text.
pub async fn remove_peer(State(state): State<AppState>, Path(peer): Path<String>, at: Started) -> Response {
    match peer.parse::<u64>() {
        Ok(_) => no_consensus(State(state), at).await,
        Err(_) => (StatusCode::NOT_FOUND, format!("can not parse {peer:?} to a u64")).into_response(),
    }
}

/// 405 for what a consensus would do, or the nodes together.
pub(super) fn not_here(in_cluster: bool) -> ApiError {
    let why = match in_cluster {
        false => "the node runs in standalone mode, without other nodes",
        true => "the operator decides which nodes there are",
    };
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("Method not allowed: {why}"))
}

pub async fn cluster(State(state): State<AppState>, at: Started) -> Response {
    let node = &state.registry.node;
    let settings = &node.settings.cluster;
    let Some(cluster) = state.registry.managed.get().filter(|_| settings.enabled) else {
        return at.answer(Ok(json!({ "status": "disabled" })));
    };
    let peers: BTreeMap<String, Value> = cluster
        .pods()
        .into_iter()
        .map(|(pod, address)| (peer_id(&pod).to_string(), json!({ "uri": format!("https://{address}/") })))
        .collect();
    let term = cluster.statuses().iter().map(|s| s.term).max().unwrap_or(0);
    at.answer(Ok(json!({
        "status": "enabled",
        "peer_id": peer_id(&settings.pod),
        "peers": peers,
        "raft_info": {
            "term": term,
            "commit": 0,
            "pending_operations": 0,
            "leader": null,
            "role": null,
            "is_voter": true,
        },
        "consensus_thread_status": {
            "consensus_thread_status": "working",
            "last_update": clock::timestamp().to_string(),
        },
        "message_send_failures": {},
    })))
}
