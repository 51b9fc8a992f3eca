//! Keys of shards: which there are, new ones, and those to be removed.

use axum::extract::{Path, State};
use axum::response::Response;
use quiver_api::shard_key::{CreateShardKey, DropShardKey, ReplicaState};
use serde_json::{Value, json};

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::cluster::allowed::Change;
use crate::cluster::managed::peer_id;
use crate::error::{ApiError, Result};
use crate::finish::{however_long, to_the_end};

pub async fn list(State(state): State<AppState>, Path(name): Path<String>, at: Started) -> Response {
    let shown = state.registry.get(&name).map(|collection| {
        let definition = collection.definition.load();
        match &definition.settings.keyed {
            None => json!({}),
            Some(keyed) => {
                let keys: Vec<Value> = keyed.keys.iter().map(|k| json!({ "key": k.key })).collect();
                json!({ "shard_keys": keys })
            }
        }
    });
    at.answer(shown)
}

pub async fn create(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<CreateShardKey>,
) -> Response {
    let result = async {
        body.validate()?;
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::ShardKeys)?;
        refuse_elsewhere(&body, peer_id(&state.registry.node.settings.cluster.pod))?;
        let registry = state.registry.clone();
        let work = async move { registry.create_shard_key(&collection, body, however_long()).await };
        to_the_end("Create shard key", options.deadline(&state), work).await.map(|()| true)
    };
    at.answer(result.await)
}

/// This node is all there is: it holds every shard once, and a shard is in use as soon as it is there.
fn refuse_elsewhere(body: &CreateShardKey, own: u64) -> Result<()> {
    if body.replication_factor.is_some_and(|n| n > 1) {
        return Err(ApiError::bad_request(
            "a node of its own holds one copy of each shard (replication_factor 1)",
        ));
    }
    if let Some(peer) = body.placement.iter().flatten().find(|peer| **peer != own) {
        return Err(ApiError::bad_request(format!("Peer {peer} does not exist: the only peer is {own}")));
    }
    match body.initial_state {
        None | Some(ReplicaState::Active | ReplicaState::Initializing) => Ok(()),
        Some(other) => Err(ApiError::bad_request(format!(
            "a shard of a node of its own is Active from the start, and can't begin as {other:?}"
        ))),
    }
}

pub async fn remove(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<DropShardKey>,
) -> Response {
    let result = async {
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::ShardKeys)?;
        let registry = state.registry.clone();
        let work = async move { registry.drop_shard_key(&collection, &body.shard_key, however_long()).await };
        to_the_end("Delete shard key", options.deadline(&state), work).await.map(|()| true)
    };
    at.answer(result.await)
}
