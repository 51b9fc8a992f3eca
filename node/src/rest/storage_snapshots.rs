//! REST snapshots of the whole storage.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use super::AppState;
use super::download::{self, Download};
use super::extract::{Options, Started};
use super::snapshots::{self, SNAPSHOT_TIME};
use crate::collection::storage_backup;
use crate::pool::Deadline;
use crate::snapshot::catalog::STORAGE;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/snapshots", get(list).post(create))
        .route("/snapshots/{snapshot}", get(download).delete(remove))
}

async fn list(State(state): State<AppState>, at: Started) -> Response {
    at.answer(snapshots::listed(&state, STORAGE.into()).await)
}

async fn create(State(state): State<AppState>, options: Options, at: Started) -> Response {
    let work = async move {
        storage_backup::create(&state.registry, &state.snapshots, Deadline::after(SNAPSHOT_TIME)).await
    };
    snapshots::run(&options, at, work).await
}

async fn download(
    State(state): State<AppState>,
    Path(snapshot): Path<String>,
    headers: HeaderMap,
    at: Started,
) -> Response {
    let found = Download::find(&state, STORAGE.into(), &snapshot).await;
    download::sent(&state, at, &headers, &snapshot, found).await
}

async fn remove(
    State(state): State<AppState>,
    Path(snapshot): Path<String>,
    options: Options,
    at: Started,
) -> Response {
    snapshots::run(&options, at, snapshots::removed(state, STORAGE.into(), snapshot)).await
}
