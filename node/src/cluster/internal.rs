//! The internal port: what peers and the operator may ask of this node. See `quiver_api::internal` for the table.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use quiver_api::internal::{
    DeleteSnapshotAnswer, DeleteSnapshotRequest, FetchManifestRequest, HandOverAnswer, HandOverRequest,
    InternalError, ListSnapshotsAnswer, ListSnapshotsRequest, NodeStatus, PROTOCOL_HEADER, PROTOCOL_VERSION,
    PlaceCopyAnswer, PlaceCopyRequest, PutManifestAnswer, PutManifestRequest, SchemaAnswer, SchemaRequest,
    ShardManifest, SnapshotManifest, UploadRequest,
};
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardError};
use quiver_engine::shard::{Hashes, Shard};
use tokio::sync::Semaphore;

use super::copy::hashes;
use super::files::{self, Loan, Wanted};
use super::lead::Cluster;
use super::mail;
use super::peer::{CallRequest, NOT_LEADING};
use super::schema::SchemaError;
use crate::clock;
use crate::guardrails::Issue;
use crate::limits;
use crate::pool::Deadline;
use crate::snapshot::hash::Digests;
use crate::snapshot::name::SafeName;
use crate::snapshot::store::{ShardUpload, Store};
use crate::snapshot::{SnapshotError, io};
use crate::stale;

/// Largest body: a write of a peer is a little larger than what the client sent.
const BODY_MAX_BYTES: usize = 256 << 20;
/// How long the answer about a node waits for what other nodes know.
const ISSUES_TIME: Duration = Duration::from_millis(100);
/// Shards that are uploaded at a time.
const UPLOADS: usize = 2;
/// Longest time for linking the files of a shard.
const LINK_TIME: Duration = Duration::from_secs(3600);

/// Runs a call on a shard of this node: the same code that serves clients.
pub type Execute = Arc<
    dyn Fn(
            Arc<Shard>,
            Option<Hashes>,
            ShardCall,
            Deadline,
        ) -> BoxFuture<'static, Result<ShardAnswer, ShardError>>
        + Send
        + Sync,
>;
/// The red lines that are crossed now.
pub type Issues = Arc<dyn Fn() -> BoxFuture<'static, Vec<Issue>> + Send + Sync>;

/// What the internal port needs.
#[derive(Clone)]
pub struct Internal {
    pub cluster: Arc<Cluster>,
    pub execute: Execute,
    pub issues: Issues,
    /// As they were when they were last known.
    known_issues: Arc<Mutex<Vec<Issue>>>,
    digests: Arc<Digests>,
    uploads: Arc<Semaphore>,
}

impl Internal {
    pub fn new(cluster: Arc<Cluster>, execute: Execute, issues: Issues) -> Self {
        Self {
            cluster,
            execute,
            issues,
            known_issues: Arc::default(),
            digests: Arc::default(),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
        }
    }

    /// The red lines that are crossed. What other nodes have is asked for; if one of them doesn't answer soon, as they were before:
    /// whoever wants to know how this node is must not wait for one that is dead.
    async fn issues_by_now(&self) -> Vec<Issue> {
        let now = tokio::time::timeout(ISSUES_TIME, (self.issues)()).await;
        let mut known = self.known_issues.lock();
        if let Ok(now) = now {
            *known = now;
        }
        known.clone()
    }

    /// The routes. To be served with a client certificate required.
    pub fn router(self) -> Router {
        Router::new()
            .route("/internal/status", get(status))
            .route("/internal/schema", put(schema))
            .route("/internal/replicas", post(replicas))
            .route("/internal/shards/{shard}/call", post(call))
            .route("/internal/shards/{shard}/place", post(place))
            .route("/internal/shards/{shard}/hand-over", post(hand_over))
            .route("/internal/shards/{shard}/leaves/{copy}", post(leaves))
            .route("/internal/shards/{shard}/files", post(lend))
            .route("/internal/shards/{shard}/files/{loan}", get(lent).delete(give_back))
            .route("/internal/shards/{shard}/upload", post(upload))
            .route("/internal/snapshots/manifest", post(put_manifest))
            .route("/internal/snapshots/fetch-manifest", post(fetch_manifest))
            .route("/internal/snapshots/list", post(list))
            .route("/internal/snapshots/delete", post(delete))
            .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
            .layer(axum::middleware::from_fn(same_version))
            .with_state(self)
    }
}

/// Takes no call of another version: nothing is begun, whatever it means there.
async fn same_version(request: Request, next: Next) -> Response {
    let named = request.headers().get(PROTOCOL_HEADER).map(|v| v.to_str().unwrap_or_default());
    if named == Some(PROTOCOL_VERSION) {
        return next.run(request).await;
    }
    let error = format!(
        "this node speaks version {PROTOCOL_VERSION} of the internal port, the caller version {}: nodes and operator \
         of neighbouring releases speak the same one, so upgrade release by release",
        named.unwrap_or("unknown")
    );
    // Read by nodes as a ShardError, and by the operator as an InternalError.
    (NOT_LEADING, Json(serde_json::json!({"code": 503, "error": error, "retryable": true}))).into_response()
}

/// An error answer.
struct Refusal(StatusCode, InternalError);

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>, retryable: bool) -> Self {
        Self(status, InternalError { error: error.into(), retryable })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl From<JsonRejection> for Refusal {
    fn from(e: JsonRejection) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, e.body_text(), false)
    }
}

impl From<SnapshotError> for Refusal {
    fn from(e: SnapshotError) -> Self {
        let (status, retryable) = match &e {
            SnapshotError::BadInput(_) | SnapshotError::Malformed(_) => (StatusCode::BAD_REQUEST, false),
            SnapshotError::Forbidden(_) => (StatusCode::FORBIDDEN, false),
            SnapshotError::NotFound(_) => (StatusCode::NOT_FOUND, false),
            SnapshotError::Checksum { .. } => (StatusCode::UNPROCESSABLE_ENTITY, false),
            SnapshotError::Store(_) | SnapshotError::Remote(_) => (StatusCode::BAD_GATEWAY, true),
            SnapshotError::Pool(_) => (StatusCode::SERVICE_UNAVAILABLE, true),
            SnapshotError::Engine(_) | SnapshotError::Io { .. } => (StatusCode::INTERNAL_SERVER_ERROR, true),
        };
        Refusal::new(status, e.to_string(), retryable)
    }
}

type Answer<T> = Result<Json<T>, Refusal>;
type Body<T> = Result<Json<T>, JsonRejection>;

async fn status(State(s): State<Internal>) -> Json<NodeStatus> {
    let node = &s.cluster.node;
    let settings = &node.settings;
    let (free, total) = s.cluster.disk.space(&settings.storage.storage_path).unwrap_or_default();
    Json(NodeStatus {
        pod: settings.cluster.pod.clone(),
        boot: node.boot.clone(),
        version: crate::VERSION.into(),
        collection_uid: settings.cluster.collection_uid.clone(),
        ready: node.readiness.missing().is_none(),
        not_ready_because: node.readiness.missing(),
        schema_generation: s.cluster.schema.current().map_or(0, |c| c.generation),
        schema_differences: s.cluster.differences(),
        shards: s.cluster.statuses(),
        issues: s.issues_by_now().await.iter().map(Issue::to_node_issue).collect(),
        disk_free_bytes: free,
        disk_total_bytes: total,
        memory_bytes: resident_bytes(),
        memory_limit_bytes: node.memory.limit_bytes(),
        splits: true,
    })
}

fn resident_bytes() -> u64 {
    let statm = limits::read("/proc/self/statm");
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

async fn schema(State(s): State<Internal>, body: Body<SchemaRequest>) -> Answer<SchemaAnswer> {
    let Json(schema) = body?;
    let cluster = s.cluster.clone();
    let put = move |_: &quiver_engine::Cancel| cluster.schema.put(schema);
    let put = s.cluster.node.pools.update.run("Schema", Deadline::after(LINK_TIME), put).await;
    let put = put.map_err(|e| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string(), true))?;
    let schema = put.map_err(|e| match e {
        SchemaError::Refused(text) => Refusal::new(StatusCode::CONFLICT, text, false),
        SchemaError::Engine(e) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string(), true),
    })?;
    s.cluster.look().await;
    Ok(Json(SchemaAnswer { generation: schema.generation, differences: s.cluster.differences() }))
}

async fn call(State(s): State<Internal>, Path(shard): Path<u32>, body: Body<CallRequest>) -> Response {
    let Json(request) = match body {
        Ok(body) => body,
        Err(e) => {
            let error = format!("Service internal error: a peer's call can't be read: {}", e.body_text());
            return (StatusCode::BAD_REQUEST, Json(ShardError { code: 500, error })).into_response();
        }
    };
    let ordinary = matches!(request.call, ShardCall::Read(_)) && !request.strong;
    let found = match ordinary {
        true => s.cluster.readable(shard, request.among),
        false => s.cluster.leading(shard).map(|shard| (shard, false)),
    };
    let Some((local, old)) = found else {
        let error = format!("node {} does not lead it", s.cluster.node.settings.cluster.pod);
        return (NOT_LEADING, Json(ShardError { code: 503, error })).into_response();
    };
    let deadline = Deadline::after(Duration::from_millis(request.timeout_ms)).strongly(request.strong);
    match (s.execute)(local, request.range.map(hashes), request.call, deadline).await {
        Ok(answer) if old => ([(stale::HEADER, "true")], Json(answer)).into_response(),
        Ok(answer) => Json(answer).into_response(),
        Err(e) => {
            let status = StatusCode::from_u16(e.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Json(e)).into_response()
        }
    }
}

async fn upload(
    State(s): State<Internal>,
    Path(number): Path<u32>,
    body: Body<UploadRequest>,
) -> Answer<ShardManifest> {
    let Json(request) = body?;
    let cluster = &s.cluster;
    let snapshot = SafeName::parse(&request.snapshot)?;
    own(&s, &request.collection_uid)?;
    let missing = || Refusal::new(NOT_LEADING, format!("this node does not lead shard {number}"), true);
    let (shard, record) = cluster.leading(number).zip(cluster.record(number)).ok_or_else(missing)?;
    // What a shard has while it is split isn't what its record says.
    let whole = || match (shard.owns(hashes(record.range)), shard.bounds().frozen) {
        (true, None) => Ok(()),
        _ => Err(Refusal::new(NOT_LEADING, format!("shard {number} is being split"), true)),
    };
    whole()?;
    let _turn = s
        .uploads
        .acquire()
        .await
        .map_err(|e| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string(), true))?;
    let store = Store::open(&request.destination, &request.collection_uid)?;
    let (links, files) = files::link(cluster, shard.clone(), "Snapshot").await?;
    whole()?;
    let upload = ShardUpload {
        disk: cluster.disk.clone(),
        pool: &cluster.node.pools.update,
        digests: s.digests.clone(),
        dir: links.path().to_owned(),
        files: files.files.iter().map(|f| f.to_string_lossy().into_owned()).collect(),
        shard: number,
        range: record.range,
        term: record.term,
        seq: files.seq,
        points: files.points,
    };
    let manifest = store.upload_shard(&snapshot, upload).await?;
    tracing::info!(
        shard = number,
        snapshot = %snapshot,
        uploaded = manifest.uploaded_bytes,
        reused = manifest.reused_bytes,
        "uploaded"
    );
    Ok(Json(manifest))
}

/// Messages of copies to copies of this node.
async fn replicas(State(s): State<Internal>, body: Bytes) -> Result<StatusCode, Refusal> {
    let messages = mail::open(&body).map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, e, false))?;
    for (envelope, entries) in messages {
        // One for a copy that isn't here is lost: its sender will hear of the record that says so.
        if let Some(inbox) = s.cluster.inbox(envelope.to) {
            inbox.deliver(envelope, entries);
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

fn own(s: &Internal, collection_uid: &str) -> Result<(), Refusal> {
    if collection_uid == s.cluster.node.settings.cluster.collection_uid {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::CONFLICT, "this node belongs to another collection", false))
}

async fn place(
    State(s): State<Internal>,
    Path(shard): Path<u32>,
    body: Body<PlaceCopyRequest>,
) -> Answer<PlaceCopyAnswer> {
    let Json(request) = body?;
    own(&s, &request.collection_uid)?;
    let placed = s.cluster.place(shard, request.range).await;
    let copy_id = placed.map_err(|e| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string(), true))?;
    Ok(Json(PlaceCopyAnswer { copy_id }))
}

async fn hand_over(
    State(s): State<Internal>,
    Path(shard): Path<u32>,
    body: Body<HandOverRequest>,
) -> Answer<HandOverAnswer> {
    let Json(request) = body?;
    own(&s, &request.collection_uid)?;
    s.cluster.hand_over(shard, &request).map_err(|e| Refusal::new(NOT_LEADING, e, true))?;
    Ok(Json(HandOverAnswer { begun: true }))
}

/// The process of a copy that follows the one here is about to end.
async fn leaves(
    State(s): State<Internal>,
    Path((shard, copy)): Path<(u32, String)>,
) -> Result<StatusCode, Refusal> {
    s.cluster.leaves(shard, &copy).map_err(|e| Refusal::new(NOT_LEADING, e, true))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn lend(State(s): State<Internal>, Path(shard): Path<u32>) -> Answer<Loan> {
    Ok(Json(s.cluster.loans.lend(&s.cluster, shard).await?))
}

async fn lent(
    State(s): State<Internal>,
    Path((_, loan)): Path<(u32, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refusal> {
    let path = s.cluster.loans.find(&loan, &wanted.path);
    let path =
        path.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "that is not lent (any more)", true))?;
    let file = files::read(&path, wanted.offset).await.map_err(io(format!("reading {}", wanted.path)))?;
    Ok(files::stream(file).into_response())
}

async fn give_back(State(s): State<Internal>, Path((_, loan)): Path<(u32, String)>) -> StatusCode {
    s.cluster.loans.give_back(&loan);
    StatusCode::NO_CONTENT
}

async fn put_manifest(body: Body<PutManifestRequest>) -> Answer<PutManifestAnswer> {
    let Json(request) = body?;
    let store = Store::open(&request.destination, &request.manifest.collection_uid)?;
    Ok(Json(store.put_manifest(&request.manifest).await?))
}

async fn fetch_manifest(body: Body<FetchManifestRequest>) -> Answer<SnapshotManifest> {
    let Json(request) = body?;
    let store = Store::of_manifest(&request.destination, &request.manifest_key)?;
    Ok(Json(store.fetch_manifest(&request.manifest_key).await?))
}

async fn list(body: Body<ListSnapshotsRequest>) -> Answer<ListSnapshotsAnswer> {
    let Json(request) = body?;
    let store = Store::open(&request.destination, &request.collection_uid)?;
    Ok(Json(ListSnapshotsAnswer { snapshots: store.list().await? }))
}

async fn delete(body: Body<DeleteSnapshotRequest>) -> Answer<DeleteSnapshotAnswer> {
    let Json(request) = body?;
    let store = Store::open(&request.destination, &request.collection_uid)?;
    let snapshot = SafeName::parse(&request.snapshot)?;
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    Ok(Json(store.delete(&snapshot, Duration::from_secs(request.grace_seconds), now).await?))
}
