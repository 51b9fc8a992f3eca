//! REST snapshots: one tar a collection, made of what this node keeps while it is downloaded.

use std::time::Duration;

use axum::body::{Body as Content, Bytes};
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::cluster::allowed::Change;
use crate::collection::backup;
use crate::error::{ApiError, Result};
use crate::finish::to_the_end;
use crate::pool::{Deadline, Pool};
use crate::snapshot::catalog::Kept;
use crate::snapshot::layout::Reader;
use crate::snapshot::{SnapshotError, fetch};

/// Snapshots take as long as the disk needs.
const SNAPSHOT_TIME: Duration = Duration::from_secs(24 * 3600);
/// An upload that stands still for so long has ended.
const CHUNK_TIME: Duration = Duration::from_secs(60);
/// A download is sent in pieces of this.
const PIECE_BYTES: usize = 1 << 20;

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

pub async fn list(State(state): State<AppState>, Path(name): Path<String>, at: Started) -> Response {
    let result = async {
        let collection = state.registry.get(&name)?.name();
        let catalog = state.snapshots.clone();
        let deadline = Deadline::after(SNAPSHOT_TIME);
        Ok(state
            .registry
            .node
            .pools
            .update
            .run("List", deadline, move |_| catalog.list(&collection))
            .await??)
    };
    at.answer(result.await)
}

/// Runs what takes long: now if the client waits, else in the background.
async fn run<T, F>(options: &Options, at: Started, work: F) -> Response
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

pub async fn create(
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

pub async fn remove(
    State(state): State<AppState>,
    Path((name, snapshot)): Path<(String, String)>,
    at: Started,
) -> Response {
    let result = async {
        let collection = state.registry.get(&name)?.name();
        let catalog = state.snapshots.clone();
        let deadline = Deadline::after(SNAPSHOT_TIME);
        let work = move |_: &_| catalog.delete(&collection, &snapshot);
        state.registry.node.pools.update.run("Delete", deadline, work).await??;
        Ok(true)
    };
    at.answer(result.await)
}

pub async fn download(
    State(state): State<AppState>,
    Path((name, snapshot)): Path<(String, String)>,
    at: Started,
) -> Response {
    match content(&state, &name, &snapshot).await {
        // The protocol answers a missing snapshot in plain text here.
        Err(ApiError { code: StatusCode::NOT_FOUND, text, .. }) if text.contains("Snapshot") => {
            (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], text).into_response()
        }
        Err(e) => at.answer::<()>(Err(e)),
        Ok((body, length)) => {
            let named = format!("attachment; filename=\"{snapshot}\"");
            let mut response = body.into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            if let Ok(value) = HeaderValue::from_str(&named) {
                headers.insert(header::CONTENT_DISPOSITION, value);
            }
            response
        }
    }
}

/// The tar of a snapshot, and its length.
async fn content(state: &AppState, name: &str, snapshot: &str) -> Result<(Content, u64)> {
    let collection = state.registry.get(name)?.name();
    let (pool, deadline) = (state.registry.node.pools.update.clone(), Deadline::after(SNAPSHOT_TIME));
    let (catalog, wanted) = (state.snapshots.clone(), snapshot.to_owned());
    let found = pool.run("Download", deadline, move |_| catalog.find(&collection, &wanted)).await??;
    match found {
        Kept::Folder(path) => {
            let tar = state.snapshots.tar(&pool, &path, deadline).await?;
            let length = tar.size();
            Ok((Content::from_stream(pieces(tar.reader(state.registry.disk.clone()), pool)), length))
        }
        Kept::Archive(path) => {
            let error = |e| ApiError::internal(format!("opening the snapshot: {e}"));
            let file = tokio::fs::File::open(&path).await.map_err(error)?;
            let length = file.metadata().await.map_err(error)?.len();
            let pieces = tokio_util::io::ReaderStream::with_capacity(file, PIECE_BYTES);
            Ok((Content::from_stream(pieces), length))
        }
    }
}

/// A tar by pieces, each read on the pool when the one before it was taken. An error ends the connection, so a part never
/// looks like the whole.
fn pieces(tar: Reader, pool: Pool) -> impl Stream<Item = std::io::Result<Bytes>> {
    futures::stream::try_unfold(tar, move |mut tar| {
        let pool = pool.clone();
        async move {
            let read = pool.step(move || tar.piece(PIECE_BYTES).map(|piece| (piece, tar)));
            let read = read.await.map_err(SnapshotError::from).and_then(|read| read);
            match read {
                Ok((piece, tar)) => Ok(piece.map(|piece| (Bytes::from(piece), tar))),
                Err(e) => {
                    tracing::warn!("the download of a snapshot ends early: {e}");
                    Err(std::io::Error::other(e))
                }
            }
        }
    })
}

pub async fn upload(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    request: Request,
) -> Response {
    let result = async {
        state.registry.allowed(&Change::Recover)?;
        crate::collection::registry::check_name(&name)?;
        check_digest(options.checksum.as_deref())?;
        let scratch = state.snapshots.scratch()?;
        let path = scratch.path().join("uploaded");
        let multipart = Multipart::from_request(request, &state).await;
        let multipart = multipart.map_err(|e| ApiError::bad_request(e.body_text()))?;
        receive(multipart, &path, room(&state)).await?;
        Ok((scratch, path))
    };
    let (scratch, path) = match result.await {
        Ok(received) => received,
        Err(e) => return at.answer::<()>(Err(e)),
    };
    let checksum = options.checksum.clone();
    let work = async move {
        let _scratch = scratch;
        let deadline = Deadline::after(SNAPSHOT_TIME);
        let from = Kept::Archive(path);
        backup::recover(&state.registry, &state.snapshots, &name, from, checksum, deadline).await?;
        Ok(true)
    };
    run(&options, at, work).await
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
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Priority {
    NoSync,
    Snapshot,
    Replica,
}

/// Body of `recover`.
#[derive(Deserialize)]
pub struct Recover {
    location: String,
    checksum: Option<String>,
    /// Read so that a wrong one is refused: with one copy of each shard all of them mean the snapshot's data.
    #[serde(rename = "priority")]
    _priority: Option<Priority>,
    /// For the node that the snapshot is fetched from.
    api_key: Option<String>,
}

pub async fn recover(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<Recover>,
) -> Response {
    let result: Result<_> = async {
        state.registry.allowed(&Change::Recover)?;
        crate::collection::registry::check_name(&name)?;
        check_digest(body.checksum.as_deref())?;
        if body.location.starts_with("http://") || body.location.starts_with("https://") {
            let scratch = state.snapshots.scratch()?;
            let path = scratch.path().join("fetched");
            let (service, key) = (&state.registry.node.settings.service, body.api_key.as_deref());
            let fetched = fetch::fetch(service, &body.location, key, &path, room(&state)).await;
            fetched.map_err(|e| {
                ApiError::from(e)
                    .hint("Or download the file and send it to POST /collections/{name}/snapshots/upload")
            })?;
            return Ok((Some(scratch), Kept::Archive(path)));
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

fn check_digest(checksum: Option<&str>) -> Result<()> {
    let fine = |c: &str| c.len() == 64 && c.bytes().all(|b| b.is_ascii_hexdigit());
    if checksum.is_none_or(fine) {
        return Ok(());
    }
    Err(quiver_api::validate::Invalid::one("checksum", "must be 64 hexadecimal digits, a SHA-256").into())
}
