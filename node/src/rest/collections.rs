//! Collections, aliases, payload indexes, named vectors.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use quiver_api::collections::{
    ChangeAliases, CreateCollection, CreateIndex, CreateVector, UpdateCollection, validate_vector_name,
};
use quiver_api::points::{UpdateResult, UpdateStatus};
use quiver_api::shard_call::ShardWrite;
use quiver_api::validate::Invalid;
use quiver_engine::json_path::JsonPath;
use serde_json::{Value, json};

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::auth::Access;
use crate::cluster::allowed::{Allowed, Change};
use crate::cluster::managed::peer_id;
use crate::collection::info::shown;
use crate::collection::name::{check_asked_name, wrong_name};
use crate::collection::optimizations::Shown;
use crate::collection::{Place, aliases as names, convert};
use crate::error::{ApiError, Result};
use crate::finish::{however_long, to_the_end};

pub async fn list(State(state): State<AppState>, access: Access, at: Started) -> Response {
    let names = state.registry.names();
    let seen = names.collections.keys().filter(|name| access.may_see(name));
    let all: Vec<Value> = seen.map(|name| json!({ "name": name })).collect();
    at.answer(Ok(json!({ "collections": all })))
}

pub async fn exists(State(state): State<AppState>, Path(name): Path<String>, at: Started) -> Response {
    at.answer(check_asked_name(&name).map(|()| json!({ "exists": state.registry.find(&name).is_some() })))
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
        let registry = state.registry.clone();
        let work = async move { registry.create(&name, body, however_long()).await };
        to_the_end("Create collection", options.deadline(&state), work).await.map(|()| true)
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
        let registry = state.registry.clone();
        let work = async move { registry.update(&name, body, however_long()).await };
        to_the_end("Update collection", options.deadline(&state), work).await.map(|()| true)
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
        check_asked_name(&name)?;
        state.registry.allowed(&Change::Delete)?;
        let registry = state.registry.clone();
        let work = async move { registry.drop_collection(&name, however_long()).await };
        to_the_end("Delete collection", options.deadline(&state), work).await
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
        body.validate(wrong_name)?;
        state.registry.allowed(&Change::Aliases)?;
        let registry = state.registry.clone();
        let work = async move {
            registry.change_aliases(|all| names::apply(all, body.actions), however_long()).await
        };
        to_the_end("Change aliases", options.deadline(&state), work).await.map(|()| true)
    };
    at.answer(result.await)
}

pub async fn all_aliases(State(state): State<AppState>, access: Access, at: Started) -> Response {
    let mut all = names::list(&state.registry.names(), None);
    all.retain(|alias| access.may_see(&alias.collection_name));
    at.answer(Ok(json!({ "aliases": all })))
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
                    let mut shown =
                        json!({"shard_id": route.shard, "points_count": points, "state": "Active"});
                    if let Some(key) = &route.key {
                        shown["shard_key"] = json!(key);
                    }
                    local.push(shown);
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

/// Finished steps of a report that names no number.
const COMPLETED: usize = 16;

pub async fn optimizations(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
) -> Response {
    let result = async {
        let collection = state.registry.get(&name)?;
        let completed = options.completed_limit.unwrap_or(COMPLETED);
        collection.optimizations(Shown { with: &options.with, completed }, options.deadline(&state)).await
    };
    at.answer(result.await)
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
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::CreateIndex)?;
        let (field, schema_kept) = (body.field_name.clone(), schema.clone());
        let write = ShardWrite::CreateIndex { field: body.field_name, schema };
        let deadline = options.deadline(&state);
        collection.check_write(options.timeout, deadline, &write).await?;
        // Written down first: a shard that is made in between has it from there.
        state.registry.keep_index(&collection, &field, Some(schema_kept), deadline).await?;
        collection.update(write, options.wait(), deadline).await
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
        JsonPath::parse(&field).map_err(|e| {
            ApiError::new(StatusCode::BAD_REQUEST, format!("Deserialize error in path parameters: {e}"))
        })?;
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::DropIndex(&field))?;
        let deadline = options.deadline(&state);
        state.registry.keep_index(&collection, &field, None, deadline).await?;
        collection.update(ShardWrite::DropIndex { field }, options.wait(), deadline).await
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
        let (mut in_path, mut invalid) = (Invalid::new(), Invalid::new());
        validate_vector_name(&vector, "vector_name", &mut in_path);
        in_path.done().map_err(|invalid| ApiError::invalid_in("path parameters", &invalid))?;
        if let CreateVector::Dense(params) = &body {
            params.validate("dense", &mut invalid);
        }
        invalid.done()?;
        let collection = state.registry.get(&name)?;
        state.registry.allowed(&Change::CreateVector)?;
        let (registry, wait) = (state.registry.clone(), options.wait());
        let work =
            async move { registry.create_vector(&collection, &vector, body, wait, however_long()).await };
        let seq = to_the_end("Create vector", options.deadline(&state), work).await?;
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
        let (registry, wait) = (state.registry.clone(), options.wait());
        let work = async move { registry.drop_vector(&collection, &vector, wait, however_long()).await };
        let seq = to_the_end("Delete vector", options.deadline(&state), work).await?;
        Ok(done(seq, &options))
    };
    at.answer(result.await)
}

fn done(operation_id: u64, options: &Options) -> UpdateResult {
    let status = if options.wait() { UpdateStatus::Completed } else { UpdateStatus::Acknowledged };
    UpdateResult { operation_id, status }
}
