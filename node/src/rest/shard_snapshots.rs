//! REST snapshots of single shards.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post, put};

use super::AppState;
use super::download::{self, Download};
use super::extract::{Body, Options, Started};
use super::snapshots::{self, Recover, SNAPSHOT_TIME};
use crate::cluster::allowed::Change;
use crate::collection::{Collection, shard_backup};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;
use crate::snapshot::catalog::{Kept, Scratch, of_shard};

pub fn routes() -> Router<AppState> {
    let at = |rest: &str| format!("/collections/{{name}}/shards/{{shard}}{rest}");
    Router::new()
        .route(&at("/snapshot"), get(stream))
        .route(&at("/snapshots"), get(list).post(create))
        .route(&at("/snapshots/upload"), post(upload).layer(DefaultBodyLimit::disable()))
        .route(&at("/snapshots/recover"), put(recover))
        .route(&at("/snapshots/{snapshot}"), get(download).delete(remove))
}

/// A collection and the number of one of its shards, which this node holds.
fn find(state: &AppState, name: &str, shard: &str) -> Result<(Arc<Collection>, u32)> {
    let shard = shard.parse().map_err(|_| {
        let text = format!("Deserialize error in path parameters: can not parse `{shard}` to a u32");
        ApiError::new(StatusCode::BAD_REQUEST, text)
    })?;
    let collection = state.registry.get(name)?;
    collection.local_shard(shard)?;
    Ok((collection, shard))
}

fn owner(state: &AppState, name: &str, shard: &str) -> Result<String> {
    find(state, name, shard).map(|(collection, shard)| of_shard(&collection.name(), shard))
}

async fn list(
    State(state): State<AppState>,
    Path((name, shard)): Path<(String, String)>,
    at: Started,
) -> Response {
    let result = async { snapshots::listed(&state, owner(&state, &name, &shard)?).await };
    at.answer(result.await)
}

async fn create(
    State(state): State<AppState>,
    Path((name, shard)): Path<(String, String)>,
    options: Options,
    at: Started,
) -> Response {
    let (collection, shard) = match find(&state, &name, &shard) {
        Ok(found) => found,
        Err(e) => return at.answer::<()>(Err(e)),
    };
    let work = async move {
        let deadline = Deadline::after(SNAPSHOT_TIME);
        shard_backup::create(&state.registry, &state.snapshots, collection, shard, deadline).await
    };
    snapshots::run(&options, at, work).await
}

async fn stream(
    State(state): State<AppState>,
    Path((name, shard)): Path<(String, String)>,
    headers: HeaderMap,
    at: Started,
) -> Response {
    let made = async {
        let (collection, shard) = find(&state, &name, &shard)?;
        let deadline = Deadline::after(SNAPSHOT_TIME);
        shard_backup::stream(&state.registry, &state.snapshots, collection, shard, deadline).await
    };
    match made.await {
        Ok((name, tar, scratch)) => {
            download::sent(&state, at, &headers, &name, Ok(Download::once(tar, scratch))).await
        }
        Err(e) => at.answer::<()>(Err(e)),
    }
}

async fn download(
    State(state): State<AppState>,
    Path((name, shard, snapshot)): Path<(String, String, String)>,
    headers: HeaderMap,
    at: Started,
) -> Response {
    let found = async { Download::find(&state, owner(&state, &name, &shard)?, &snapshot).await };
    download::sent(&state, at, &headers, &snapshot, found.await).await
}

async fn remove(
    State(state): State<AppState>,
    Path((name, shard, snapshot)): Path<(String, String, String)>,
    options: Options,
    at: Started,
) -> Response {
    match owner(&state, &name, &shard) {
        Ok(owner) => snapshots::run(&options, at, snapshots::removed(state, owner, snapshot)).await,
        Err(e) => at.answer::<()>(Err(e)),
    }
}

/// What to recover a shard from.
struct Given {
    collection: Arc<Collection>,
    shard: u32,
    /// What is removed afterwards.
    scratch: Option<Scratch>,
    from: Kept,
    checksum: Option<String>,
}

async fn recovered(state: AppState, options: Options, at: Started, given: Result<Given>) -> Response {
    let given = match given {
        Ok(given) => given,
        Err(e) => return at.answer::<()>(Err(e)),
    };
    let work = async move {
        let Given { collection, shard, scratch, from, checksum } = given;
        let deadline = Deadline::after(SNAPSHOT_TIME);
        let (registry, catalog) = (&state.registry, &state.snapshots);
        shard_backup::recover(registry, catalog, collection, shard, from, checksum, deadline).await?;
        drop(scratch);
        Ok(true)
    };
    snapshots::run(&options, at, work).await
}

async fn upload(
    State(state): State<AppState>,
    Path((name, shard)): Path<(String, String)>,
    options: Options,
    at: Started,
    request: Request,
) -> Response {
    let given = async {
        state.registry.allowed(&Change::Recover)?;
        let (collection, shard) = find(&state, &name, &shard)?;
        let (scratch, from) = snapshots::received(&state, &options, request).await?;
        let checksum = options.checksum.clone();
        Ok(Given { collection, shard, scratch: Some(scratch), from, checksum })
    };
    let given = given.await;
    recovered(state, options, at, given).await
}

async fn recover(
    State(state): State<AppState>,
    Path((name, shard)): Path<(String, String)>,
    options: Options,
    at: Started,
    Body(body): Body<Recover>,
) -> Response {
    let given = async {
        state.registry.allowed(&Change::Recover)?;
        let (collection, shard) = find(&state, &name, &shard)?;
        snapshots::check_digest(body.checksum.as_deref(), "JSON body")?;
        let fetched = snapshots::fetched(&state, &body, "shards/{id}/snapshots/upload").await?;
        let (scratch, from) = match fetched {
            Some((scratch, from)) => (Some(scratch), from),
            None => (None, kept(&state, &collection, shard, &body.location).await?),
        };
        Ok(Given { collection, shard, scratch, from, checksum: body.checksum })
    };
    let given = given.await;
    recovered(state, options, at, given).await
}

/// A snapshot that this node keeps of the shard, by its name. The protocol has no other place here.
async fn kept(state: &AppState, collection: &Collection, shard: u32, location: &str) -> Result<Kept> {
    if let Some((scheme, _)) = location.split_once("://") {
        return Err(ApiError::wrong_input(format!(
            "Invalid snapshot URL {location}: URLs with {scheme} scheme are not supported"
        )));
    }
    let (catalog, owner, name) =
        (state.snapshots.clone(), of_shard(&collection.name(), shard), location.to_owned());
    let pool = &state.registry.node.pools.update;
    let find = move |_: &_| catalog.find(&owner, &name);
    Ok(pool.run("Recover snapshot", Deadline::after(SNAPSHOT_TIME), find).await??)
}
