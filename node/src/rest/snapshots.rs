//! REST snapshots of collections, each one tar, made of what this node keeps while it is downloaded; and what snapshots of
//! shards and of the whole storage share with them.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post, put};
use quiver_api::validate::Invalid;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::AppState;
use super::download::{self, Download};
use super::extract::{Body, Options, Started};
use crate::cluster::allowed::Change;
use crate::collection::backup;
use crate::error::{ApiError, Result};
use crate::finish::to_the_end;
use crate::pool::Deadline;
use crate::snapshot::catalog::{Description, Kept, Scratch};
use crate::snapshot::{SnapshotError, fetch};

/// Snapshots take as long as the disk needs.
pub(super) const SNAPSHOT_TIME: Duration = Duration::from_secs(24 * 3600);
/// An upload that stands still for so long has ended.
const CHUNK_TIME: Duration = Duration::from_secs(60);

impl From<SnapshotError> for ApiError {
    fn from(e: SnapshotError) -> Self {
        match e {
            SnapshotError::BadInput(text) => Self::bad_request(text),
            SnapshotError::NotFound(text) => Self::not_found(text),
            SnapshotError::Forbidden(text) => Self::forbidden(text),
            SnapshotError::Checksum { .. } => Self::new(StatusCode::BAD_REQUEST, e.to_string()),
            SnapshotError::Malformed(text) => Self::bad_request(text),
            SnapshotError::Engine(e) => e.into(),
            SnapshotError::Pool(e) => e.into(),
            SnapshotError::Store(_) | SnapshotError::Remote(_) | SnapshotError::Io { .. } => {
                Self::internal(e)
            }
        }
    }
}

pub fn routes() -> Router<AppState> {
    let at = |rest: &str| format!("/collections/{{name}}/snapshots{rest}");
    Router::new()
        .route(&at(""), get(list).post(create))
        .route(&at("/upload"), post(upload).layer(DefaultBodyLimit::disable()))
        .route(&at("/recover"), put(recover))
        .route(&at("/{snapshot}"), get(download).delete(remove))
}

async fn list(State(state): State<AppState>, Path(name): Path<String>, at: Started) -> Response {
    let result = async { listed(&state, state.registry.get(&name)?.name()).await };
    at.answer(result.await)
}

/// The snapshots of an owner, see [`crate::snapshot::catalog::Catalog`].
pub(super) async fn listed(state: &AppState, owner: String) -> Result<Vec<Description>> {
    let catalog = state.snapshots.clone();
    let (pool, deadline) = (&state.registry.node.pools.update, Deadline::after(SNAPSHOT_TIME));
    Ok(pool.run("List", deadline, move |_| catalog.list(&owner)).await??)
}

/// Runs what takes long: now if the client waits, else in the background.
pub(super) async fn run<T, F>(options: &Options, at: Started, work: F) -> Response
where
    T: serde::Serialize + Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    if options.wait.unwrap_or(true) {
        return at.answer(to_the_end("Snapshot", Deadline::after(SNAPSHOT_TIME), work).await);
    }
    tokio::spawn(async move {
        if let Err(e) = work.await {
            tracing::warn!(error = e.text, "a snapshot operation in the background failed");
        }
    });
    at.accepted()
}

async fn create(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
) -> Response {
    let collection = match state.registry.get(&name) {
        Ok(collection) => collection,
        Err(e) => return at.answer::<()>(Err(e)),
    };
    let work = async move {
        backup::create(&state.registry, &state.snapshots, collection, Deadline::after(SNAPSHOT_TIME)).await
    };
    run(&options, at, work).await
}

async fn remove(
    State(state): State<AppState>,
    Path((name, snapshot)): Path<(String, String)>,
    options: Options,
    at: Started,
) -> Response {
    let collection = match state.registry.get(&name) {
        Ok(collection) => collection.name(),
        Err(e) => return at.answer::<()>(Err(e)),
    };
    run(&options, at, removed(state, collection, snapshot)).await
}

/// Removes a snapshot of an owner.
pub(super) async fn removed(state: AppState, owner: String, snapshot: String) -> Result<bool> {
    let catalog = state.snapshots.clone();
    let delete = move |_: &_| catalog.delete(&owner, &snapshot);
    let pool = &state.registry.node.pools.update;
    pool.run("Delete", Deadline::after(SNAPSHOT_TIME), delete).await??;
    Ok(true)
}

async fn download(
    State(state): State<AppState>,
    Path((name, snapshot)): Path<(String, String)>,
    headers: HeaderMap,
    at: Started,
) -> Response {
    let found = async { Download::find(&state, state.registry.get(&name)?.name(), &snapshot).await };
    download::sent(&state, at, &headers, &snapshot, found.await).await
}

async fn upload(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    request: Request,
) -> Response {
    let result = async {
        state.registry.allowed(&Change::Recover)?;
        crate::collection::name::check_name(&name)?;
        received(&state, &options, request).await
    };
    let (scratch, from) = match result.await {
        Ok(received) => received,
        Err(e) => return at.answer::<()>(Err(e)),
    };
    let checksum = options.checksum.clone();
    let work = async move {
        let _scratch = scratch;
        let deadline = Deadline::after(SNAPSHOT_TIME);
        backup::recover(&state.registry, &state.snapshots, &name, from, checksum, deadline).await?;
        Ok(true)
    };
    run(&options, at, work).await
}

/// The snapshot in the body of an upload, and the folder that it lies in for now.
pub(super) async fn received(
    state: &AppState,
    options: &Options,
    request: Request,
) -> Result<(Scratch, Kept)> {
    check_digest(options.checksum.as_deref(), "query parameters")?;
    let scratch = state.snapshots.scratch()?;
    let path = scratch.path().join("uploaded");
    let multipart = Multipart::from_request(request, state).await;
    let multipart = multipart.map_err(|e| ApiError::bad_request(e.body_text()))?;
    receive(multipart, &path, room(state)).await?;
    Ok((scratch, Kept::Archive(path)))
}

/// Bytes that a snapshot from outside may have: what is free, but for a tenth of the volume, which the data needs.
fn room(state: &AppState) -> u64 {
    let space = state.registry.disk.space(state.snapshots.root());
    space.map_or(0, |(free, total)| free.saturating_sub(total / 10))
}

async fn receive(mut multipart: Multipart, path: &std::path::Path, room: u64) -> Result<()> {
    let bad = |e: axum::extract::multipart::MultipartError| ApiError::bad_request(e.body_text());
    while let Some(mut field) = multipart.next_field().await.map_err(bad)? {
        if field.name() != Some("snapshot") {
            continue;
        }
        let io = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::StorageFull => {
                quiver_engine::Error::NoSpace("the snapshot does not fit".into()).into()
            }
            _ => ApiError::internal(format!("receiving the snapshot: {e}")),
        };
        let mut file = tokio::fs::File::create(path).await.map_err(io)?;
        let mut size = 0u64;
        let late = |_| {
            let text = format!("Timeout: nothing of the snapshot arrived for {}s", CHUNK_TIME.as_secs());
            ApiError::new(StatusCode::REQUEST_TIMEOUT, text)
        };
        while let Some(chunk) =
            tokio::time::timeout(CHUNK_TIME, field.chunk()).await.map_err(late)?.map_err(bad)?
        {
            size += chunk.len() as u64;
            if size > room {
                let text = "the snapshot does not fit: a tenth of the volume has to stay free for the data";
                return Err(quiver_engine::Error::NoSpace(text.into()).into());
            }
            file.write_all(&chunk).await.map_err(io)?;
        }
        return file.flush().await.map_err(io);
    }
    Err(ApiError::bad_request("the multipart body has no field `snapshot`"))
}

/// Whose data wins.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Priority {
    NoSync,
    Snapshot,
    Replica,
}

/// Body of `recover`.
#[derive(Deserialize, JsonSchema)]
pub struct Recover {
    pub(super) location: String,
    pub(super) checksum: Option<String>,
    /// Read so that a wrong one is refused: with one copy of each shard all of them mean the snapshot's data.
    #[serde(rename = "priority")]
    _priority: Option<Priority>,
    /// For the node that the snapshot is fetched from.
    api_key: Option<String>,
}

async fn recover(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<Recover>,
) -> Response {
    let result: Result<_> = async {
        state.registry.allowed(&Change::Recover)?;
        crate::collection::name::check_name(&name)?;
        check_digest(body.checksum.as_deref(), "JSON body")?;
        if let Some((scratch, fetched)) = fetched(&state, &body, "snapshots/upload").await? {
            return Ok((Some(scratch), fetched));
        }
        let (catalog, location) = (state.snapshots.clone(), body.location.clone());
        let work = move |_: &_| catalog.local(&location);
        let pool = &state.registry.node.pools.update;
        Ok((None, pool.run("Recover snapshot", Deadline::after(SNAPSHOT_TIME), work).await??))
    }
    .await;
    let (scratch, from) = match result {
        Ok(found) => found,
        Err(e) => return at.answer::<()>(Err(e)),
    };
    let work = async move {
        let _scratch = scratch;
        let deadline = Deadline::after(SNAPSHOT_TIME);
        backup::recover(&state.registry, &state.snapshots, &name, from, body.checksum, deadline).await?;
        Ok(true)
    };
    run(&options, at, work).await
}

/// The snapshot at an http or https address, and the folder that it lies in for now; `None` if the address is none of those.
pub(super) async fn fetched(
    state: &AppState,
    body: &Recover,
    instead: &str,
) -> Result<Option<(Scratch, Kept)>> {
    if !body.location.starts_with("http://") && !body.location.starts_with("https://") {
        return Ok(None);
    }
    let scratch = state.snapshots.scratch()?;
    let path = scratch.path().join("fetched");
    let (service, key) = (&state.registry.node.settings.service, body.api_key.as_deref());
    let fetched = fetch::fetch(service, &body.location, key, &path, room(state)).await;
    fetched.map_err(|e| {
        ApiError::from(e)
            .hint(format!("Or download the file and send it to POST /collections/{{name}}/{instead}"))
    })?;
    Ok(Some((scratch, Kept::Archive(path))))
}

/// `part` is the part of the request that it stands in.
pub(super) fn check_digest(checksum: Option<&str>, part: &str) -> Result<()> {
    let fine = |c: &str| c.len() == 64 && c.bytes().all(|b| b.is_ascii_hexdigit());
    if checksum.is_none_or(fine) {
        return Ok(());
    }
    let invalid = Invalid::one("checksum", "must be 64 hexadecimal digits, a SHA-256");
    Err(ApiError::invalid_in(part, &invalid))
}
