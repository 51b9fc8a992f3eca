//! The public port in one process: every route through all layers, on a data folder of its own.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::AppState;
use crate::app;
use crate::collection::registry::Registry;
use crate::config::Settings;
use crate::node::Node;
use crate::shutdown::Shutdown;
use crate::snapshot::catalog::Catalog;

struct TestNode {
    routes: Router,
    _folder: tempfile::TempDir,
}

impl TestNode {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        settings.storage.storage_path = folder.path().to_owned();
        let node = Node::new(settings, Shutdown::default()).expect("a node");
        let registry = Registry::new(node.clone());
        registry.open_all().expect("an empty folder opens");
        registry.set_open();
        node.readiness.set_ready();
        let snapshots = Catalog::open(registry.disk.clone(), node.settings.storage.snapshots_dir());
        let state = AppState { registry, snapshots: snapshots.expect("a folder of snapshots") };
        let routes = app::with_layers(super::router(state), &Arc::clone(&node));
        Self { routes, _folder: folder }
    }

    /// `call` is a method and a path.
    async fn raw(&self, call: &str, body: &str) -> (StatusCode, String) {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned()));
        let response = self.routes.clone().oneshot(request.expect("a request")).await.expect("an answer");
        let code = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.expect("a body");
        (code, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    /// The `result` of a call that succeeds.
    async fn ok(&self, call: &str, body: Value) -> Value {
        let (code, text) = self.raw(call, &body.to_string()).await;
        assert_eq!(code, 200, "{call}: {text}");
        let mut answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "ok", "{call}");
        assert!(answer["time"].is_f64(), "{call}");
        answer["result"].take()
    }

    /// A call that fails with this code and exactly this text.
    async fn check(&self, call: &str, body: &str, expected: (u16, &str)) {
        let (code, text) = self.raw(call, body).await;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let error = answer["status"]["error"].as_str().unwrap_or(&text);
        assert_eq!((code.as_u16(), error), expected, "{call} {body}");
    }

    async fn with_collection() -> Self {
        let node = Self::start();
        node.ok("PUT /collections/c", json!({"vectors": {"size": 4, "distance": "Dot"}})).await;
        let point = json!({"id": 1, "vector": [1, 2, 3, 4], "payload": {"a": 1, "o": {"x": 1, "y": 2}}});
        node.ok("PUT /collections/c/points?wait=true", json!({ "points": [point] })).await;
        node
    }
}

#[tokio::test]
async fn errors_of_collections_are_the_protocols() {
    let node = TestNode::with_collection().await;
    let missing = (404, "Not found: Collection `x` doesn't exist!");
    for call in ["GET /collections/x", "GET /collections/x/points/1", "POST /collections/x/snapshots"] {
        node.check(call, "", missing).await;
    }
    node.check("POST /collections/x/points/scroll", "{}", missing).await;
    node.check("PATCH /collections/x", "{}", missing).await;
    node.check("PUT /collections/c", "{}", (409, "Wrong input: Collection `c` already exists!")).await;
    let sizes = [
        (r#"{"vectors":{"size":0,"distance":"Dot"}}"#, 400),
        (r#"{"vectors":{"size":65537,"distance":"Dot"}}"#, 422),
    ];
    for (body, code) in sizes {
        let text = match code {
            400 => {
                "Format error in JSON body: data did not match any variant of untagged enum VectorsConfig at line 1 column 39"
            }
            _ => {
                "Validation error in JSON body: [vectors.size: value 65537 invalid, must be from 1 to 65536]"
            }
        };
        node.check("PUT /collections/new", body, (code, text)).await;
    }
    let unknown = (400, "Wrong input: Not existing vector name error: zzz");
    node.check("PATCH /collections/c", r#"{"vectors":{"zzz":{"on_disk":true}}}"#, unknown).await;
    let colon =
        (422, "Validation error in path parameters: [name: collection name cannot contain \":\" char]");
    node.check("PUT /collections/a:b", "{}", colon).await;
    let alias = r#"{"actions":[{"rename_alias":{"old_alias_name":"zz","new_alias_name":"yy"}}]}"#;
    node.check("POST /collections/aliases", alias, (404, "Not found: Alias zz does not exists!")).await;
    let schema = "Bad request: Can't auto-detect field type, please specify `field_schema` in the request";
    node.check("PUT /collections/c/index", r#"{"field_name":"a"}"#, (400, schema)).await;
}

#[tokio::test]
async fn errors_of_writes_are_the_protocols() {
    let node = TestNode::with_collection().await;
    let dimension = (400, "Wrong input: Vector dimension error: expected dim: 4, got 3");
    let id = "value abc is not a valid point ID, valid values are either an unsigned integer or a UUID";
    let cases: [(&str, &str, (u16, &str)); 14] = [
        ("PUT /points?wait=true", r#"{"points":[{"id":1,"vector":[1,2,3]}]}"#, dimension),
        ("PUT /points", r#"{"points":[{"id":1,"vector":[1,2,3]}]}"#, dimension),
        (
            "PUT /points",
            r#"{"points":[{"id":1,"vector":[]}]}"#,
            (422, "Validation error in JSON body: [points[0].vector.vector: dense vector must not be empty]"),
        ),
        (
            "PUT /points?wait=true",
            r#"{"points":[{"id":1,"vector":{"foo":[1]}}]}"#,
            (400, "Wrong input: Not existing vector name error: foo"),
        ),
        (
            "PUT /points",
            r#"{"points":[{"id":"abc","vector":[1]}]}"#,
            (400, &format!("Format error in JSON body: {id}")),
        ),
        (
            "PUT /points",
            r#"{"points":["#,
            (400, "Format error in JSON body: EOF while parsing a list at line 1 column 11"),
        ),
        ("PUT /points", r#"{"points":[]}"#, (400, "Bad request: Empty update request")),
        ("POST /points/delete", r#"{"points":[]}"#, (400, "Bad request: Empty update request")),
        (
            "PUT /points",
            r#"{"batch":{"ids":[1,2],"vectors":[[1,2,3,4]]}}"#,
            (
                422,
                "Validation error in JSON body: [batch.batch: number of ids and vectors must be equal (2 != 1)]",
            ),
        ),
        (
            "PUT /points?wait=1",
            r#"{"points":[]}"#,
            (400, "Deserialize error in query parameters: provided string was not `true` or `false`"),
        ),
        (
            "PUT /points/vectors",
            r#"{"points":[]}"#,
            (422, "Validation error in JSON body: [points: must specify points to update]"),
        ),
        (
            "PUT /points/vectors?wait=true",
            r#"{"points":[{"id":9,"vector":[1,2,3,4]}]}"#,
            (404, "Not found: No point with id 9 found"),
        ),
        (
            "POST /points/vectors/delete",
            r#"{"vector":["v"]}"#,
            (400, "Bad request: No filter or points provided"),
        ),
        (
            "POST /points/payload?wait=true",
            r#"{"payload":{"a":1},"points":[9]}"#,
            (404, "Not found: No point with id 9 found"),
        ),
    ];
    for (call, body, expected) in cases {
        node.check(&call.replacen(" /", " /collections/c/", 1), body, expected).await;
    }
}

#[tokio::test]
async fn errors_of_reads_are_the_protocols() {
    let node = TestNode::with_collection().await;
    let bare = "Validation error in JSON body: [scroll_request.filter.must[0].__all__: Validation error: At least one field condition must be specified [{}]]";
    let threshold = "Bad request: A query is needed to use the score_threshold. Can't have score_threshold without defining a query.";
    let cases: [(&str, &str, (u16, &str)); 13] = [
        ("GET /points/999", "", (404, "Not found: Point with id 999 does not exists!")),
        ("GET /points/abc", "", (400, "Wrong input: Can not recognize \"abc\" as point id")),
        (
            "POST /points/query",
            r#"{"query":[1,2,3]}"#,
            (400, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
        ),
        ("POST /points/query", r#"{"query":999}"#, (404, "Not found: No point with id 999 found")),
        (
            "POST /points/query",
            r#"{"query":[1,2,3,4],"using":"foo"}"#,
            (400, "Wrong input: Not existing vector name error: foo"),
        ),
        (
            "POST /points/query",
            r#"{"query":[1,2,3,4],"limit":0}"#,
            (422, "Validation error in JSON body: [internal.limit: value 0 invalid, must be 1 or larger]"),
        ),
        ("POST /points/query", r#"{"score_threshold":1}"#, (400, threshold)),
        (
            "POST /points/query",
            r#"{"query":{"foo":1}}"#,
            (
                400,
                "Format error in JSON body: Expected some form of vector, id, or a type of query at line 1 column 18",
            ),
        ),
        (
            "POST /points/query?timeout=0",
            "{}",
            (
                400,
                "Deserialize error in query parameters: invalid value: integer `0`, expected a nonzero u64",
            ),
        ),
        (
            "POST /points/scroll",
            r#"{"limit":0}"#,
            (
                422,
                "Validation error in JSON body: [scroll_request.limit: value 0 invalid, must be 1 or larger]",
            ),
        ),
        ("POST /points/scroll", r#"{"filter":{"must":[{"key":"a"}]}}"#, (422, bare)),
        (
            "POST /points/scroll",
            r#"{"filter":{"must":[{"key":"a b","is_null":true}]}}"#,
            (400, "Format error in JSON body: Invalid json path: 'a b'"),
        ),
        ("GET /snapshots/zz", "", (404, "Not found: Snapshot zz not found")),
    ];
    for (call, body, expected) in cases {
        node.check(&call.replacen(" /", " /collections/c/", 1), body, expected).await;
    }
    let (code, body) = node.raw("GET /nothing", "").await;
    assert_eq!((code.as_u16(), body.as_str()), (404, ""));
    let (code, body) = node.raw("PATCH /collections/c/points", "").await;
    assert_eq!((code.as_u16(), body.as_str()), (404, ""));
}

#[tokio::test]
async fn common_errors_say_what_to_do() {
    let node = TestNode::with_collection().await;
    for (call, body) in [
        ("GET /collections/x", ""),
        ("POST /collections/c/points/query", r#"{"query":[1,2,3]}"#),
        ("POST /collections/c/points/query", r#"{"query":[1,2,3,4],"using":"foo"}"#),
    ] {
        let (_, text) = node.raw(call, body).await;
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert!(answer["status"]["hint"].as_str().is_some_and(|h| h.len() > 20), "{text}");
    }
}

#[tokio::test]
async fn points_are_written_changed_read_and_removed() {
    let node = TestNode::with_collection().await;
    let points: Vec<Value> =
        (2..8).map(|i| json!({"id": i, "vector": [i, 0, 0, 1], "payload": {"n": i}})).collect();
    let done = node.ok("PUT /collections/c/points/?wait=true", json!({ "points": points })).await;
    assert_eq!(done["status"], "completed");
    node.ok("PUT /collections/c/index?wait=true", json!({"field_name": "n", "field_schema": "integer"}))
        .await;
    let found = node
        .ok(
            "POST /collections/c/points/query",
            json!({"query": [1, 0, 0, 0], "limit": 2, "with_payload": true}),
        )
        .await;
    assert_eq!(found["points"][0]["id"], 7);
    assert_eq!(found["points"][0]["payload"], json!({"n": 7}));
    let by_id = node.ok("POST /collections/c/points/query", json!({"query": 7, "limit": 2})).await;
    assert_eq!(by_id["points"][0]["id"], 6, "a query by id never answers itself");
    let old = json!({"vector": [1, 0, 0, 0], "limit": 1, "offset": 1, "filter": {"must": {"key": "n", "range": {"lt": 7}}}});
    assert_eq!(node.ok("POST /collections/c/points/search", old).await[0]["id"], 5);
    let page = node.ok("POST /collections/c/points/scroll", json!({"limit": 3, "offset": 3})).await;
    assert_eq!(page["next_page_offset"], 6);
    assert_eq!(page["points"][0], json!({"id": 3, "payload": {"n": 3}}));
    node.ok(
        "POST /collections/c/points/payload?wait=true",
        json!({"payload": {"x": null, "z": 3}, "key": "o", "points": [1]}),
    )
    .await;
    assert_eq!(
        node.ok("GET /collections/c/points/1", Value::Null).await["payload"],
        json!({"a": 1, "o": {"y": 2, "z": 3}})
    );
    let all = json!({"filter": {"must": [{"key": "n", "range": {"gte": 5}}]}});
    node.ok("POST /collections/c/points/delete?wait=true", all).await;
    assert_eq!(node.ok("POST /collections/c/points/count", json!({})).await, json!({"count": 4}));
}

#[tokio::test]
async fn a_collection_shows_what_was_set_and_nothing_else() {
    let node = TestNode::start();
    let vectors = json!({
        "size": 8, "distance": "Cosine", "on_disk": true, "hnsw_config": {"m": 24},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}},
    });
    let body =
        json!({"vectors": vectors, "optimizers_config": {"indexing_threshold": 20000}, "shard_number": 2});
    node.ok("PUT /collections/c", body).await;
    let shown = node.ok("GET /collections/c", Value::Null).await;
    assert_eq!(shown["config"]["params"]["vectors"], vectors);
    assert_eq!(shown["config"]["params"]["shard_number"], 2);
    assert_eq!(shown["config"]["optimizer_config"]["indexing_threshold"], 20000);
    assert_eq!(shown["config"]["hnsw_config"]["m"], 16);
    assert_eq!(shown["status"], "green");
    assert_eq!(shown["points_count"], 0);
    assert_eq!(node.ok("DELETE /collections/c", Value::Null).await, true);
    assert_eq!(node.ok("DELETE /collections/c", Value::Null).await, false);
    assert_eq!(node.ok("GET /collections/c/exists", Value::Null).await, json!({"exists": false}));
}

#[tokio::test]
async fn aliases_of_one_request_apply_together_or_not_at_all() {
    let node = TestNode::with_collection().await;
    let create =
        |alias: &str, to: &str| json!({"create_alias": {"alias_name": alias, "collection_name": to}});
    node.ok("POST /collections/aliases", json!({"actions": [create("al", "c")]})).await;
    assert_eq!(node.ok("POST /collections/al/points/count", json!({})).await["count"], 1);
    let half = json!({"actions": [create("second", "c"), create("third", "nowhere")]}).to_string();
    node.check("POST /collections/aliases", &half, (404, "Not found: Collection `nowhere` doesn't exist!"))
        .await;
    let all = node.ok("GET /aliases", Value::Null).await;
    assert_eq!(all, json!({"aliases": [{"alias_name": "al", "collection_name": "c"}]}));
    assert_eq!(node.ok("DELETE /collections/al", Value::Null).await, false);
}
