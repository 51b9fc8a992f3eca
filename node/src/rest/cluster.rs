//! What a client may ask of a cluster: where shards are to lie, what the nodes have, how much of a node may be filled.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use quiver_api::cluster_operations::ClusterOperation;
use quiver_api::quotas::{QuotaConfig, QuotaStatus};
use serde_json::{Value, json};

use super::AppState;
use super::extract::{Body, Options, Started};
use super::service::not_here;
use crate::cluster::managed::peer_id;
use crate::collection::{Collection, Place, Route};
use crate::error::{ApiError, Result};

pub fn routes() -> Router<AppState> {
    Router::new().route("/cluster/telemetry", get(telemetry)).route("/quotas", get(quotas).put(set_quotas))
}

/// Shards are never moved by a request: a node of its own has nowhere to move them, and elsewhere the operator decides.
pub async fn change_collection(
    State(state): State<AppState>,
    Path(name): Path<String>,
    _: Options,
    at: Started,
    Body(_): Body<ClusterOperation>,
) -> Response {
    let refused = || -> Result<bool> {
        if !state.registry.node.settings.cluster.enabled {
            return Err(ApiError::bad_request("Distributed mode disabled"));
        }
        state.registry.get(&name)?;
        Err(ApiError::bad_request("the operator places the shards of this collection")
            .hint("Set shards and replicas of the VectorCollection: the operator moves what has to move"))
    };
    at.answer(refused())
}

pub async fn telemetry(State(state): State<AppState>, options: Options, at: Started) -> Response {
    let node = &state.registry.node;
    let Some(cluster) = state.registry.managed.get().filter(|_| node.settings.cluster.enabled) else {
        return at.answer(Err::<(), _>(not_here(false)));
    };
    let own = peer_id(&node.settings.cluster.pod);
    let collections: BTreeMap<String, Value> = state
        .registry
        .names()
        .collections
        .iter()
        .filter(|(name, _)| options.access.may_see(name))
        .map(|(name, collection)| (name.clone(), shards_of(name, collection, own)))
        .collect();
    let peers: BTreeMap<String, Value> = cluster
        .pods()
        .into_iter()
        .map(|(pod, address)| {
            (peer_id(&pod).to_string(), json!({"uri": format!("https://{address}/"), "responsive": true}))
        })
        .collect();
    at.answer(Ok(json!({
        "collections": collections,
        "cluster": {"enabled": true, "number_of_peers": peers.len(), "peers": peers},
    })))
}

fn shards_of(name: &str, collection: &Collection, own: u64) -> Value {
    let shard = |route: &Route| {
        let replica = match &route.place {
            Place::Local(shard) => {
                json!({"peer_id": own, "state": "Active", "num_points": shard.view().points()})
            }
            Place::Remote { pod, .. } => json!({"peer_id": peer_id(pod), "state": "Active"}),
            Place::Missing(_) => json!({"peer_id": 0, "state": "Dead"}),
        };
        let mut shown = json!({"id": route.shard, "replicas": [replica]});
        if let Some(key) = &route.key {
            shown["key"] = json!(key);
        }
        shown
    };
    let shards: Vec<Value> = collection.routes.load().iter().map(shard).collect();
    json!({"id": name, "shards": shards, "reshardings": [], "shard_transfers": []})
}

pub async fn quotas(State(state): State<AppState>, at: Started) -> Response {
    let node = &state.registry.node;
    let (config, usage) = (node.quotas.config(), node.quotas.usage(&node.memory));
    at.answer(Ok(QuotaStatus { config, usage, peers: None }))
}

pub async fn set_quotas(
    State(state): State<AppState>,
    options: Options,
    at: Started,
    Body(body): Body<QuotaConfig>,
) -> Response {
    let result = async {
        body.validate()?;
        let node = state.registry.node.clone();
        if node.settings.cluster.enabled {
            return Err(not_here(true));
        }
        let disk = state.registry.disk.clone();
        let (kept, deadline) = (node.clone(), options.deadline(&state));
        node.pools.update.run("Set quotas", deadline, move |_| kept.quotas.set(&*disk, body)).await??;
        Ok(true)
    };
    at.answer(result.await)
}
