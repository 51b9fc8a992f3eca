//! The public port in one process: every route through all layers, on a data folder of its own.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::AppState;
use crate::app;
use crate::collection::registry::Registry;
use crate::config::Settings;
use crate::front::Front;
use crate::node::Node;
use crate::shutdown::Shutdown;
use crate::snapshot::catalog::Catalog;
use crate::snapshot::hash::hex;

pub(super) struct TestNode {
    pub(super) routes: Front,
    pub(super) folder: tempfile::TempDir,
    pub(super) registry: Arc<Registry>,
}

impl TestNode {
    pub(super) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// With other settings than the defaults.
    pub(super) fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), change)
    }

    /// With what a node left there.
    pub(super) fn start_in(folder: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.storage.storage_path = folder.path().to_owned();
        change(&mut settings);
        let node = Node::new(settings, Shutdown::default()).expect("a node");
        let registry = Registry::new(node.clone());
        registry.open_all().expect("the folder opens");
        registry.set_open();
        node.readiness.set_ready();
        let snapshots = Catalog::open(registry.disk.clone(), node.settings.storage.snapshots_dir());
        let state = AppState { registry, snapshots: snapshots.expect("a folder of snapshots") };
        let routes = app::with_layers(super::router(state.clone()), &state.registry);
        let registry = state.registry.clone();
        Self { routes: Front::new(state, routes, None), folder, registry }
    }

    /// `call` is a method and a path.
    pub(super) async fn raw(&self, call: &str, body: &str) -> (StatusCode, String) {
        self.raw_with(None, call, body).await
    }

    /// With one more header.
    pub(super) async fn raw_with(
        &self,
        header: Option<(&str, &str)>,
        call: &str,
        body: &str,
    ) -> (StatusCode, String) {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let request = Request::builder().method(method).uri(path);
        let request = header.into_iter().fold(request, |r, (name, value)| r.header(name, value));
        let request = request.body(Body::from(body.to_owned()));
        let response = self.routes.clone().oneshot(request.expect("a request")).await.expect("an answer");
        let code = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 24).await.expect("a body");
        (code, String::from_utf8(bytes.to_vec()).expect("text"))
    }

    /// The `result` of a call that succeeds.
    pub(super) async fn ok(&self, call: &str, body: Value) -> Value {
        let (code, text) = self.raw(call, &body.to_string()).await;
        assert_eq!(code, 200, "{call}: {text}");
        let mut answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "ok", "{call}");
        assert!(answer["time"].is_f64(), "{call}");
        answer["result"].take()
    }

    /// A call that fails with this code and exactly this text.
    pub(super) async fn check(&self, call: &str, body: &str, expected: (u16, &str)) {
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
    node.check("PATCH /collections/c", r#"{"sparse_vectors":{"zzz":{}}}"#, unknown).await;
    let colon =
        (422, "Validation error in path parameters: [name: collection name cannot contain \":\" char]");
    node.check("PUT /collections/a:b", "{}", colon).await;
    let alias = r#"{"actions":[{"rename_alias":{"old_alias_name":"zz","new_alias_name":"yy"}}]}"#;
    node.check("POST /collections/aliases", alias, (404, "Not found: Alias zz does not exists!")).await;
    let schema = "Bad request: Can't auto-detect field type, please specify `field_schema` in the request";
    node.check("PUT /collections/c/index", r#"{"field_name":"a"}"#, (400, schema)).await;
}

#[tokio::test]
async fn settings_that_are_out_of_range_are_named() {
    let node = TestNode::with_collection().await;
    let create = "PUT /collections/new";
    let update = "PATCH /collections/c";
    let too_small = |path: &str, min: u32| {
        let value = min - 1;
        format!("Validation error in JSON body: [{path}: value {value} invalid, must be {min} or larger]")
    };
    let out_of = |path: &str, value: &str, range: &str| {
        format!("Validation error in JSON body: [{path}: value {value} invalid, must be from {range}]")
    };
    let quantile = r#"{"scalar":{"type":"int8","quantile":7}}"#;
    let cases = [
        (
            create,
            r#"{"hnsw_config":{"full_scan_threshold":9}}"#,
            too_small("hnsw_config.full_scan_threshold", 10),
        ),
        (create, r#"{"wal_config":{"wal_capacity_mb":0}}"#, too_small("wal_config.wal_capacity_mb", 1)),
        (
            create,
            r#"{"strict_mode_config":{"max_query_limit":0}}"#,
            too_small("strict_mode_config.max_query_limit", 1),
        ),
        (update, r#"{"params":{"replication_factor":0}}"#, too_small("params.replication_factor", 1)),
        (
            update,
            r#"{"strict_mode_config":{"max_resident_memory_percent":101}}"#,
            out_of("strict_mode_config.max_resident_memory_percent", "101", "1 to 100"),
        ),
        (
            update,
            &format!(r#"{{"vectors":{{"":{{"quantization_config":{quantile}}}}}}}"#),
            out_of("vectors..quantization_config.scalar.quantile", "7.0", "0.5 to 1.0"),
        ),
    ];
    for (call, body, text) in &cases {
        node.check(call, body, (422, text)).await;
    }
    let wrong_types = [
        (
            r#"{"sharding_method":"foo"}"#,
            "unknown variant `foo`, expected `auto` or `custom` at line 1 column 24",
        ),
        (
            r#"{"strict_mode_config":{"enabled":"yes"}}"#,
            "invalid type: string \"yes\", expected a boolean at line 1 column 38",
        ),
        ("[]", "invalid type: sequence, expected an object at line 1 column 1"),
    ];
    for (body, text) in wrong_types {
        node.check(create, body, (400, &format!("Format error in JSON body: {text}"))).await;
    }
    let vector = format!("PUT /collections/c/vectors/{}", "n".repeat(201));
    let long =
        "Validation error in path parameters: [vector_name: vector name must be at most 200 bytes long]";
    node.check(&vector, r#"{"dense":{"size":4,"distance":"Dot"}}"#, (422, long)).await;
}

#[tokio::test]
async fn settings_of_strict_mode_are_laid_over_each_other() {
    let node = TestNode::with_collection().await;
    for strict in
        [json!({"enabled": false, "max_timeout": 5}), json!({"max_timeout": 9, "max_query_limit": 10})]
    {
        node.ok("PATCH /collections/c", json!({"strict_mode_config": strict})).await;
    }
    let shown = node.ok("GET /collections/c", Value::Null).await;
    let expected = json!({"enabled": false, "max_timeout": 9, "max_query_limit": 10});
    assert_eq!(shown["config"]["strict_mode_config"], expected);
}

#[tokio::test]
async fn errors_of_writes_are_the_protocols() {
    let node = TestNode::with_collection().await;
    let dimension = (400, "Wrong input: Vector dimension error: expected dim: 4, got 3");
    let id = "value abc is not a valid point ID, valid values are either an unsigned integer or a UUID";
    let empty = "Validation error in JSON body: [points[0].vector.vector: dense vector must not be empty]";
    let cases = [
        ("PUT /points/vectors", r#"{"points":[{"id":1,"vector":[]}]}"#, (422, empty)),
        ("PUT /points?wait=true", r#"{"points":[{"id":1,"vector":[1,2,3]}]}"#, dimension),
        ("PUT /points", r#"{"points":[{"id":1,"vector":[1,2,3]}]}"#, dimension),
        ("PUT /points", r#"{"points":[{"id":1,"vector":[]}]}"#, (422, empty)),
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
    let payload = "Format error in JSON body: data did not match any variant of untagged enum WithPayloadInterface at line 1 column 36";
    let cases = [
        ("POST /points", r#"{"ids":[1],"with_payload":{"foo":1}}"#, (400, payload)),
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
async fn shard_keys_and_models_that_are_not_there_are_refused() {
    let node = TestNode::with_collection().await;
    let inference = "InferenceService URL not configured - please provide valid address in config";
    let read = "Bad request: Shard key \"k\" not found";
    let write = "Wrong input: Shard key \"k\" not found";
    let cases = [
        ("PUT /points", r#"{"points":[{"id":1,"vector":{"text":"a","model":"m"}}]}"#, inference),
        ("POST /points/query", r#"{"query":{"text":"a","model":"m"}}"#, inference),
        ("PUT /points", r#"{"points":[{"id":1,"vector":[1,2,3,4]}],"shard_key":"k"}"#, write),
        ("POST /points/delete", r#"{"filter":{},"shard_key":["k","l"]}"#, write),
        ("POST /points/query", r#"{"query":[1,2,3,4],"shard_key":"k"}"#, read),
        ("POST /points/search", r#"{"vector":[1,2,3,4],"limit":1,"shard_key":"k"}"#, read),
        ("POST /points/scroll", r#"{"shard_key":["k"]}"#, read),
        ("POST /points/count", r#"{"shard_key":{"target":"k","fallback":"l"}}"#, read),
        ("POST /points", r#"{"ids":[1],"shard_key":"k"}"#, read),
    ];
    for (call, body, text) in cases {
        node.check(&call.replacen(" /", " /collections/c/", 1), body, (400, text)).await;
    }
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
async fn a_request_that_is_refused_changes_nothing_in_any_shard() {
    let node = TestNode::start();
    let vectors = json!({"a": {"size": 2, "distance": "Dot"}});
    node.ok("PUT /collections/c", json!({"vectors": vectors, "shard_number": 4})).await;
    let wrong = [json!({"a": [1, 0, 0]}), json!({"b": [1, 0]}), json!({"a": [[1, 0]]}), json!([1, 0])];
    for (i, wrong) in wrong.iter().enumerate() {
        let right = (10..20).map(|id| json!({"id": id, "vector": {"a": [1, 0]}}));
        let points: Vec<Value> = right.chain([json!({"id": 1, "vector": wrong})]).collect();
        let (code, text) =
            node.raw("PUT /collections/c/points?wait=true", &json!({"points": points}).to_string()).await;
        assert_eq!(code, 400, "{i}: {text}");
        assert_eq!(
            node.ok("POST /collections/c/points/count", json!({})).await,
            json!({"count": 0}),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn numbers_are_printed_in_their_shortest_form_and_always_as_numbers() {
    let node = TestNode::start();
    node.ok("PUT /collections/c", json!({"vectors": {"size": 2, "distance": "Euclid"}})).await;
    let points = json!([{"id": 1, "vector": [0.1, 0.2]}]);
    node.ok("PUT /collections/c/points?wait=true", json!({ "points": points })).await;
    let check = async |call: &str, body: Value, expected: &str| {
        let (_, text) = node.raw(call, &body.to_string()).await;
        assert!(text.starts_with(&format!("{{\"result\":{expected},\"status\":\"ok\"")), "{text}");
    };
    let ask = json!({"query": [0.4, 0.2], "with_vector": true});
    let hit = r#"{"id":1,"version":1,"score":0.3,"vector":[0.1,0.2]}"#;
    check("POST /collections/c/points/query", ask.clone(), &format!("{{\"points\":[{hit}]}}")).await;
    let batch = json!({"searches": [ask]});
    check("POST /collections/c/points/query/batch", batch, &format!("[{{\"points\":[{hit}]}}]")).await;
    let far = json!({"vector": [3e38, 3e38], "limit": 1});
    let largest = r#"[{"id":1,"version":1,"score":3.4028235e+38}]"#;
    check("POST /collections/c/points/search", far, largest).await;
}

#[tokio::test]
async fn a_long_batch_does_not_fill_the_queue() {
    let node = TestNode::with_collection().await;
    let searches = vec![json!({"query": [1, 2, 3, 4], "limit": 1}); 10_000];
    let answers = node.ok("POST /collections/c/points/query/batch", json!({ "searches": searches })).await;
    assert_eq!(answers.as_array().map(Vec::len), Some(10_000));
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
async fn every_kind_of_quantization_is_taken_shown_changed_and_switched_off() {
    let node = TestNode::start();
    let kinds = [
        json!({"scalar": {"type": "int8", "quantile": 0.99}}),
        json!({"product": {"compression": "x16", "always_ram": true}}),
        json!({"binary": {"encoding": "two_bits", "query_encoding": "scalar8bits"}}),
        json!({"turbo": {"bits": "bits1_5", "always_ram": false}}),
    ];
    for (i, kind) in kinds.iter().enumerate() {
        let vector = json!({"size": 64, "distance": "Cosine", "quantization_config": kind});
        let body = json!({"vectors": {"own": vector, "other": {"size": 64, "distance": "Dot"}},
            "quantization_config": kind});
        let collection = format!("PUT /collections/c{i}");
        node.ok(&collection, body).await;
        let get = format!("GET /collections/c{i}");
        let shown = async |at: &str| {
            let info = node.ok(&get, Value::Null).await;
            info.pointer(&format!("/config/{at}")).cloned().unwrap_or_default()
        };
        let row: Vec<f32> = (0..64).map(|n| (n % 7) as f32).collect();
        let points = json!({"points": [{"id": 1, "vector": {"own": row, "other": row}}]});
        node.ok(&format!("{collection}/points?wait=true"), points).await;
        let of_vector = "params/vectors/own/quantization_config";
        assert_eq!(
            (shown("quantization_config").await, shown(of_vector).await),
            (kind.clone(), kind.clone())
        );

        let patch = format!("PATCH /collections/c{i}");
        let next = &kinds[(i + 1) % kinds.len()];
        let vectors = json!({"own": {"quantization_config": next}});
        node.ok(&patch, json!({"quantization_config": next, "vectors": vectors})).await;
        assert_eq!(
            (shown("quantization_config").await, shown(of_vector).await),
            (next.clone(), next.clone())
        );
        let search = json!({"query": row, "using": "own", "limit": 1,
            "params": {"quantization": {"rescore": false, "oversampling": 2.0}}});
        let found = node.ok(&format!("POST /collections/c{i}/points/query"), search).await;
        assert_eq!(found["points"][0]["id"], 1);

        let vectors = json!({"own": {"quantization_config": "Disabled"}});
        node.ok(&patch, json!({"quantization_config": "Disabled", "vectors": vectors})).await;
        assert_eq!((shown("quantization_config").await, shown(of_vector).await), (Value::Null, Value::Null));
    }
    let wrong = r#"{"vectors":{},"quantization_config":{"product":{"compression":"x3"}}}"#;
    let text = "Format error in JSON body: unknown variant `x3`, expected one of `x4`, `x8`, `x16`, `x32`, `x64` \
                at line 1 column 69";
    node.check("PUT /collections/d", wrong, (400, text)).await;
    let wrong = r#"{"quantization_config":{"turbo":{"bits":3}}}"#;
    let (code, text) = node.raw("PATCH /collections/c0", wrong).await;
    assert!(
        code == 400 && text.contains("any variant of untagged enum QuantizationConfigDiff"),
        "{code} {text}"
    );
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

#[tokio::test]
async fn a_snapshot_is_sent_as_a_tar_and_recovered_where_it_is() {
    let node = TestNode::with_collection().await;
    let text = "x".repeat(1 << 16);
    let points: Vec<Value> =
        (2..20).map(|i| json!({"id": i, "vector": [i, 1, 2, 3], "payload": {"t": text}})).collect();
    node.ok("PUT /collections/c/points?wait=true", json!({ "points": points })).await;
    let made = node.ok("POST /collections/c/snapshots", Value::Null).await;
    assert_eq!(made["checksum"], Value::Null, "it is large");
    let (name, size) = (made["name"].as_str().expect("a name"), made["size"].as_u64().expect("a size"));
    let call = format!("/collections/c/snapshots/{name}");
    let request = Request::get(&call).body(Body::empty()).expect("a request");
    let response = node.routes.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.headers()["content-length"], size.to_string());
    let tar = axum::body::to_bytes(response.into_body(), 1 << 26).await.expect("a body");
    assert_eq!(tar.len() as u64, size);
    let checksum = hex(&Sha256::digest(&tar));
    node.ok("POST /collections/c/points/delete?wait=true", json!({"filter": {}})).await;
    let location = format!("file://{}/snapshots/c-c/{name}", node.folder.path().display());
    let wrong = json!({"location": location, "checksum": "1".repeat(64)}).to_string();
    let (code, text) = node.raw("PUT /collections/c/snapshots/recover", &wrong).await;
    assert!(code == 400 && text.contains(&checksum), "{text}");
    for body in [json!({"location": location}), json!({"location": location, "checksum": checksum})] {
        assert_eq!(node.ok("PUT /collections/copy/snapshots/recover", body).await, true);
        assert_eq!(node.ok("POST /collections/copy/points/count", json!({})).await["count"], 19);
    }
    assert_eq!(node.ok(&format!("DELETE {call}"), Value::Null).await, true);
    assert_eq!(node.raw(&format!("GET {call}"), "").await.0, 404);
    assert_eq!(node.ok("GET /collections/c/snapshots", Value::Null).await, json!([]));
    assert_eq!(node.ok("POST /collections/copy/points/count", json!({})).await["count"], 19);
}
