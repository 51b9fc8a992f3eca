//! Collections, aliases, payload indexes, named vectors.

use axum::extract::{Path, State};
use axum::response::Response;
use quiver_api::collections::{ChangeAliases, CreateCollection, CreateIndex, CreateVector, UpdateCollection};
use quiver_api::points::{UpdateResult, UpdateStatus};
use quiver_api::shard_call::ShardWrite;
use serde_json::{Value, json};

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::cluster::allowed::{Allowed, Change};
use crate::cluster::managed::peer_id;
use crate::collection::info::shown;
use crate::collection::{Place, aliases as names, convert};
use crate::error::{ApiError, Result};

pub async fn list(State(state): State<AppState>, at: Started) -> Response {
    let names = state.registry.names();
    let all: Vec<Value> = names.collections.keys().map(|name| json!({ "name": name })).collect();
    at.answer(Ok(json!({ "collections": all })))
}

pub async fn exists(State(state): State<AppState>, Path(name): Path<String>, at: Started) -> Response {
    at.answer(Ok(json!({ "exists": state.registry.find(&name).is_some() })))
}

pub async fn info(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
) -> Response {
    let result = async {
        let collection = state.registry.get(&name)?;
        let totals = collection.totals(options.deadline(&state)).await?;
        shown(&collection.definition.load().settings, &totals, &state.registry.defaults())
    };
    at.answer(result.await)
}

pub async fn create(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<CreateCollection>,
) -> Response {
    let result = async {
        body.validate()?;
        if state.registry.allowed(&Change::Create { name: &name, body: &body })? == Allowed::Already {
            return Ok(true);
        }
        state.registry.create(&name, body, options.deadline(&state)).await?;
        Ok(true)
    };
    at.answer(result.await)
}

pub async fn update(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<UpdateCollection>,
) -> Response {
    let result = async {
        body.validate()?;
        state.registry.allowed(&Change::Update)?;
        state.registry.update(&name, body, options.deadline(&state)).await?;
        Ok(true)
    };
    at.answer(result.await)
}

pub async fn remove(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
) -> Response {
    let result = async {
        state.registry.allowed(&Change::Delete)?;
        state.registry.drop_collection(&name, options.deadline(&state)).await
    };
    at.answer(result.await)
}

pub async fn change_aliases(
    State(state): State<AppState>,
    options: Options,
    at: Started,
    Body(body): Body<ChangeAliases>,
) -> Response {
    let result = async {
        state.registry.allowed(&Change::Aliases)?;
        let deadline = options.deadline(&state);
        state.registry.change_aliases(|all| names::apply(all, body.actions), deadline).await?;
        Ok(true)
    };
    at.answer(result.await)
}

pub async fn all_aliases(State(state): State<AppState>, at: Started) -> Response {
    at.answer(Ok(json!({ "aliases": names::list(&state.registry.names(), None) })))
}

pub async fn aliases(State(state): State<AppState>, Path(name): Path<String>, at: Started) -> Response {
    let result = state
        .registry
        .get(&name)
        .map(|c| json!({ "aliases": names::list(&state.registry.names(), Some(&c.name())) }));
    at.answer(result)
}

pub async fn cluster(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
) -> Response {
    let result = async {
        let collection = state.registry.get(&name)?;
        let (mut local, mut remote) = (Vec::new(), Vec::new());
        for route in collection.routes.load().iter() {
            match &route.place {
                Place::Local(shard) => {
                    let points = shard.view().points();
                    local.push(json!({"shard_id": route.shard, "points_count": points, "state": "Active"}));
                }
                Place::Remote { pod, .. } => {
                    remote.push(json!({"shard_id": route.shard, "peer_id": peer_id(pod), "state": "Active"}))
                }
                Place::Missing(_) => {
                    remote.push(json!({"shard_id": route.shard, "peer_id": 0, "state": "Dead"}))
                }
            }
        }
        let _ = &options;
        Ok(json!({
            "peer_id": peer_id(&state.registry.node.settings.cluster.pod),
            "shard_count": local.len() + remote.len(),
            "local_shards": local,
            "remote_shards": remote,
            "shard_transfers": [],
        }))
    };
    let result: Result<Value> = result.await;
    at.answer(result)
}

pub async fn create_index(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<CreateIndex>,
) -> Response {
    let result = async {
        body.validate()?;
        let schema = body.field_schema.ok_or_else(|| {
            ApiError::bad_request(
                "Can't auto-detect field type, please specify `field_schema` in the request",
            )
        })?;
        convert::path(&body.field_name)?;
        convert::field_schema(&schema)?;
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::CreateIndex)?;
        let write = ShardWrite::CreateIndex { field: body.field_name, schema };
        collection.update(write, options.wait(), options.deadline(&state)).await
    };
    at.answer(result.await)
}

pub async fn drop_index(
    State(state): State<AppState>,
    Path((name, field)): Path<(String, String)>,
    options: Options,
    at: Started,
) -> Response {
    let result = async {
        convert::path(&field)?;
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::DropIndex(&field))?;
        collection.update(ShardWrite::DropIndex { field }, options.wait(), options.deadline(&state)).await
    };
    at.answer(result.await)
}

pub async fn create_vector(
    State(state): State<AppState>,
    Path((name, vector)): Path<(String, String)>,
    options: Options,
    at: Started,
    Body(body): Body<CreateVector>,
) -> Response {
    let result = async {
        if let CreateVector::Dense(params) = &body {
            let mut invalid = quiver_api::validate::Invalid::new();
            params.validate("dense", &mut invalid);
            invalid.done()?;
        }
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::CreateVector)?;
        let deadline = options.deadline(&state);
        let seq = state.registry.create_vector(&collection, &vector, body, options.wait(), deadline).await?;
        Ok(done(seq, &options))
    };
    at.answer(result.await)
}

pub async fn drop_vector(
    State(state): State<AppState>,
    Path((name, vector)): Path<(String, String)>,
    options: Options,
    at: Started,
) -> Response {
    let result = async {
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::DropVector(&vector))?;
        let deadline = options.deadline(&state);
        let seq = state.registry.drop_vector(&collection, &vector, options.wait(), deadline).await?;
        Ok(done(seq, &options))
    };
    at.answer(result.await)
}

fn done(operation_id: u64, options: &Options) -> UpdateResult {
    let status = if options.wait() { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
    UpdateResult { operation_id, status }
}
