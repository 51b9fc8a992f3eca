//! Writes over REST: what each does to points that exist, that don't, and that a condition leaves out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::tests::TestNode;
use crate::collection::{Place, Route};
use crate::replica::Fresh;
use crate::stale;

const C: &str = "/collections/c";

/// Three points with vectors `a` and `b`, and a payload.
async fn with_points() -> TestNode {
    let node = TestNode::start();
    let vector = json!({"size": 2, "distance": "Dot"});
    node.ok("PUT /collections/c", json!({"vectors": {"a": vector, "b": vector}})).await;
    let point = |id: u64| {
        let payload = json!({"n": id, "o": {"x": 1, "list": [{"y": 1}, {"y": 2}]}});
        json!({"id": id, "vector": {"a": [id, 0], "b": [0, id]}, "payload": payload})
    };
    let points: Vec<Value> = (1..=3).map(point).collect();
    node.ok("PUT /collections/c/points?wait=true", json!({ "points": points })).await;
    node
}

/// The payload of each point after a write, in the order of their ids.
async fn check(call: &str, body: Value, expected: Value) {
    let node = with_points().await;
    let (method, path) = call.split_once(' ').expect("a method and a path");
    let result = node.ok(&format!("{method} {C}{path}?wait=true&ordering=strong"), body.clone()).await;
    let results = result.as_array().cloned().unwrap_or_else(|| vec![result]);
    assert!(results.iter().all(|r| r["status"] == "completed"), "{results:?}");
    assert_eq!(payloads(&node).await, expected, "{call} {body}");
}

async fn payloads(node: &TestNode) -> Value {
    let all = node.ok("POST /collections/c/points/scroll", json!({})).await;
    let points = all["points"].as_array().expect("points").iter();
    points.map(|p| json!([p["id"], p["payload"]])).collect()
}

fn stored(id: u64) -> Value {
    json!([id, {"n": id, "o": {"x": 1, "list": [{"y": 1}, {"y": 2}]}}])
}

fn second() -> Value {
    json!({"must": [{"key": "n", "match": {"value": 2}}]})
}

#[tokio::test]
async fn an_upsert_does_as_its_mode_and_condition_say() {
    let point = |id: u64| json!({"id": id, "vector": {"a": [9, 9]}, "payload": {"new": id}});
    let new = |id: u64| json!([id, {"new": id}]);
    let upsert = |mode: &str| json!({"points": [point(2), point(7)], "update_mode": mode});
    check("PUT /points", upsert("upsert"), json!([stored(1), new(2), stored(3), new(7)])).await;
    check("PUT /points", upsert("insert_only"), json!([stored(1), stored(2), stored(3), new(7)])).await;
    check("PUT /points", upsert("update_only"), json!([stored(1), new(2), stored(3)])).await;
    let filtered = |mode: &str| json!({"points": [point(1), point(2), point(7)], "update_mode": mode, "update_filter": second()});
    check("PUT /points", filtered("upsert"), json!([stored(1), new(2), stored(3), new(7)])).await;
    check("PUT /points", filtered("update_only"), json!([stored(1), new(2), stored(3)])).await;
    let batch = json!({"operations": [{"upsert": filtered("update_only")}]});
    check("POST /points/batch", batch, json!([stored(1), new(2), stored(3)])).await;
    let columns = json!({"batch": {"ids": [7], "vectors": {"a": [[1, 1]]}, "payloads": [{"new": 7}]}});
    check("PUT /points", columns, json!([stored(1), stored(2), stored(3), new(7)])).await;
}

#[tokio::test]
async fn vectors_change_by_themselves() {
    let node = with_points().await;
    let point = |id: u64| json!({"id": id, "vector": {"a": [7, 7]}});
    let update = json!({"points": [point(1), point(2)], "update_filter": second()});
    node.ok("PUT /collections/c/points/vectors?wait=true", update).await;
    let vector = |id: u64| {
        let node = &node;
        async move { node.ok(&format!("GET {C}/points/{id}"), Value::Null).await["vector"].clone() }
    };
    assert_eq!(vector(1).await, json!({"a": [1.0, 0.0], "b": [0.0, 1.0]}));
    assert_eq!(vector(2).await, json!({"a": [7.0, 7.0], "b": [0.0, 2.0]}));
    node.ok(
        "POST /collections/c/points/vectors/delete?wait=true",
        json!({"filter": second(), "vector": ["b"]}),
    )
    .await;
    assert_eq!(vector(2).await, json!({"a": [7.0, 7.0]}));
    assert_eq!(vector(3).await, json!({"a": [3.0, 0.0], "b": [0.0, 3.0]}));
    assert_eq!(payloads(&node).await, json!([stored(1), stored(2), stored(3)]));
}

#[tokio::test]
async fn payloads_change_by_ids_filters_and_paths() {
    let changed = |payload: Value| json!([stored(1), [2, payload], stored(3)]);
    for select in [json!({"points": [2]}), json!({"filter": second()})] {
        let with = |more: Value| {
            let mut body = select.clone();
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            body
        };
        let list = json!([{"y": 1}, {"y": 2}]);
        let set = with(json!({"payload": {"k": 1, "n": null}}));
        check("POST /points/payload", set, changed(json!({"k": 1, "o": {"x": 1, "list": list}}))).await;
        let inside = with(json!({"payload": {"k": 1}, "key": "o"}));
        let merged = json!({"n": 2, "o": {"x": 1, "list": list, "k": 1}});
        check("POST /points/payload", inside, changed(merged)).await;
        let each = with(json!({"payload": {"y": 5}, "key": "o.list[]"}));
        let merged = json!({"n": 2, "o": {"x": 1, "list": [{"y": 5}, {"y": 5}]}});
        check("POST /points/payload", each, changed(merged)).await;
        let made = with(json!({"payload": {"y": 5}, "key": "p.q"}));
        let merged = json!({"n": 2, "o": {"x": 1, "list": list}, "p": {"q": {"y": 5}}});
        check("POST /points/payload", made, changed(merged)).await;
        let over = with(json!({"payload": {"k": 1}}));
        check("PUT /points/payload", over, changed(json!({"k": 1}))).await;
        let delete = with(json!({"keys": ["n", "o.list[].y", "o.x"]}));
        check("POST /points/payload/delete", delete, changed(json!({"o": {"list": [{}, {}]}}))).await;
        check("POST /points/payload/clear", select.clone(), changed(json!({}))).await;
        check("POST /points/delete", select.clone(), json!([stored(1), stored(3)])).await;
    }
}

#[tokio::test]
async fn a_batch_runs_in_order_and_stops_at_the_first_error() {
    let vector = json!({"a": [1, 1]});
    let all = json!({"operations": [
        {"upsert": {"points": [{"id": 9, "vector": vector, "payload": {"k": 1}}]}},
        {"set_payload": {"points": [9], "payload": {"l": 1}}},
        {"delete_payload": {"points": [9], "keys": ["k"]}},
        {"update_vectors": {"points": [{"id": 9, "vector": vector}]}},
        {"delete_vectors": {"points": [9], "vector": ["a"]}},
        {"clear_payload": {"points": [1]}},
        {"overwrite_payload": {"points": [2], "payload": {"m": 1}}},
        {"delete": {"filter": {"must": [{"key": "n", "match": {"value": 3}}]}}},
    ]});
    check("POST /points/batch", all, json!([[1, {}], [2, {"m": 1}], [9, {"l": 1}]])).await;
    let node = with_points().await;
    let stops = json!({"operations": [
        {"clear_payload": {"points": [1]}},
        {"set_payload": {"points": [999], "payload": {"l": 1}}},
        {"clear_payload": {"points": [2]}},
    ]});
    let missing = (404, "Not found: No point with id 999 found");
    node.check("POST /collections/c/points/batch?wait=true", &stops.to_string(), missing).await;
    assert_eq!(payloads(&node).await, json!([[1, {}], stored(2), stored(3)]));
    assert_eq!(node.ok("POST /collections/c/points/batch", json!({"operations": []})).await, json!([]));
}

#[tokio::test]
async fn a_write_that_is_not_waited_for_is_acknowledged() {
    let node = with_points().await;
    for ordering in ["weak", "medium", "strong"] {
        let call = format!("POST {C}/points/delete?ordering={ordering}&timeout=5");
        let result = node.ok(&call, json!({"points": [1]})).await;
        assert_eq!(result["status"], "acknowledged");
        assert!(result["operation_id"].is_u64());
    }
}

/// While a copy is about to lead, reads and writes wait for it instead of telling the client to come again.
#[tokio::test]
async fn a_shard_that_nobody_leads_for_a_moment_is_waited_for() {
    let node = with_points().await;
    let collection = node.registry.find("c").expect("a collection");
    let served = collection.routes.load_full();
    let unserved = || {
        let place = Place::Missing("it is being opened".into());
        let routes = served.iter().map(|r| Route { place: place.clone(), ..r.clone() }).collect();
        collection.routes.store(Arc::new(routes));
    };
    let calls = [
        ("POST /collections/c/points/count", json!({})),
        ("POST /collections/c/points", json!({"ids": [1]})),
        ("PUT /collections/c/points?wait=true", json!({"points": [{"id": 4, "vector": {"a": [1, 0]}}]})),
    ];
    for (call, body) in &calls {
        unserved();
        let asked = node.ok(call, body.clone());
        let leads = async { collection.routes.store(served.clone()) };
        // Polled in this order: the call has found nobody before there is somebody.
        tokio::join!(biased; asked, leads);
    }
    unserved();
    for (call, body) in &calls {
        let expected =
            "Shard temporarily unavailable: shard 0 of collection `c` is not served: it is being opened";
        node.check(call, &body.to_string(), (503, expected)).await;
    }
}

/// By a copy that has not heard from the others for long, on the quick way of frequent calls and on the other.
#[tokio::test]
async fn an_answer_that_may_be_old_says_so() {
    let node = with_points().await;
    let collection = node.registry.find("c").expect("a collection");
    let answered = async |call: &str, body: Value, old: bool| {
        let request = Request::post(call).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let response = node.routes.clone().oneshot(request).await.expect("an answer");
        assert_eq!(
            (response.status().as_u16(), response.headers().contains_key(stale::HEADER)),
            (200, old),
            "{call}"
        );
    };
    let reads = [
        ("/collections/c/points", json!({"ids": [1]})),
        ("/collections/c/points/query", json!({"query": [1, 0], "using": "a"})),
        ("/collections/c/points/count", json!({"exact": true})),
    ];
    for old in [false, true] {
        for (call, body) in &reads {
            answered(call, body.clone(), old).await;
        }
        answered("/collections/c/points?consistency=majority", json!({"ids": [1]}), false).await;
        let fresh = Some(Fresh::default());
        let routes =
            collection.routes.load().iter().map(|r| Route { fresh: fresh.clone(), ..r.clone() }).collect();
        collection.routes.store(Arc::new(routes));
    }
    let (_, metrics) = node.raw("GET /metrics", "").await;
    assert!(metrics.contains("quiver_stale_answers_total 3"), "{metrics}");
}
