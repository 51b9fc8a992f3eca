//! Shards with keys over REST: what goes where, and what is answered from where.

use serde_json::{Value, json};

use super::tests::TestNode;

const SHARDS: &str = "PUT /collections/c/shards";

/// A collection with the keys `eu` (two shards) and 7, and points under both.
async fn with_keys() -> TestNode {
    let node = TestNode::start();
    let vectors = json!({"size": 2, "distance": "Dot"});
    node.ok("PUT /collections/c", json!({"vectors": vectors, "sharding_method": "custom"})).await;
    node.ok("PUT /collections/c/index?wait=true", json!({"field_name": "n", "field_schema": "integer"}))
        .await;
    assert_eq!(node.ok(SHARDS, json!({"shard_key": "eu", "shards_number": 2})).await, json!(true));
    node.ok(SHARDS, json!({"shard_key": 7})).await;
    let point = |id: u64| json!({"id": id, "vector": [id, 1], "payload": {"n": id}});
    let points = |ids: std::ops::Range<u64>| ids.map(point).collect::<Vec<_>>();
    let eu = json!({"points": points(1..21), "shard_key": "eu"});
    node.ok("PUT /collections/c/points?wait=true", eu).await;
    node.ok("PUT /collections/c/points?wait=true", json!({"points": points(21..31), "shard_key": 7})).await;
    node
}

async fn count(node: &TestNode, shard_key: Value) -> Value {
    node.ok("POST /collections/c/points/count", json!({ "shard_key": shard_key })).await["count"].take()
}

#[tokio::test]
async fn points_go_to_the_shards_of_their_key() {
    let node = with_keys().await;
    for (selector, expected) in [
        (Value::Null, 30),
        (json!("eu"), 20),
        (json!(7), 10),
        (json!(["eu", 7]), 30),
        (json!({"target": "eu", "fallback": 7}), 20),
        (json!({"target": "new", "fallback": 7}), 10),
    ] {
        assert_eq!(count(&node, selector.clone()).await, json!(expected), "{selector}");
    }
    let cluster = node.ok("GET /collections/c/cluster", Value::Null).await;
    assert_eq!(cluster["shard_count"], 3);
    let local = cluster["local_shards"].as_array().expect("shards");
    let keys: Vec<_> = local.iter().map(|s| (&s["shard_id"], &s["shard_key"])).collect();
    assert_eq!(json!(keys), json!([[0, "eu"], [1, "eu"], [2, 7]]));
    let keys = json!({"shard_keys": [{"key": "eu"}, {"key": 7}]});
    assert_eq!(node.ok("GET /collections/c/shards", Value::Null).await, keys);
    let info = node.ok("GET /collections/c", Value::Null).await;
    assert_eq!(info["config"]["params"]["sharding_method"], "custom");
    assert_eq!(info["payload_schema"]["n"]["points"], 30);
}

#[tokio::test]
async fn points_are_answered_with_their_key() {
    let node = with_keys().await;
    assert_eq!(node.ok("GET /collections/c/points/25", Value::Null).await["shard_key"], 7);
    let best = |more: Value| {
        let mut body = json!({"query": [1, 0], "limit": 1});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let found = node.ok("POST /collections/c/points/query", best(json!({}))).await;
    assert_eq!((&found["points"][0]["id"], &found["points"][0]["shard_key"]), (&json!(30), &json!(7)));
    let found = node.ok("POST /collections/c/points/query", best(json!({"shard_key": "eu"}))).await;
    assert_eq!((&found["points"][0]["id"], &found["points"][0]["shard_key"]), (&json!(20), &json!("eu")));
    let fused =
        json!({"prefetch": {"query": [1, 0]}, "query": {"fusion": "rrf"}, "limit": 1, "shard_key": "eu"});
    let found = node.ok("POST /collections/c/points/query", fused).await;
    assert_eq!(found["points"][0]["shard_key"], "eu");
    let searches = json!({"searches": [best(json!({"shard_key": 7})), best(json!({"shard_key": "eu"}))]});
    let found = node.ok("POST /collections/c/points/query/batch", searches).await;
    assert_eq!((&found[0]["points"][0]["id"], &found[1]["points"][0]["id"]), (&json!(30), &json!(20)));
    let search = |key: Value| json!({"vector": [1, 0], "limit": 1, "shard_key": key});
    let searches = json!({"searches": [search(json!(7)), search(json!("eu"))]});
    let found = node.ok("POST /collections/c/points/search/batch", searches).await;
    assert_eq!((&found[0][0]["id"], &found[1][0]["id"]), (&json!(30), &json!(20)));
    let page = node.ok("POST /collections/c/points/scroll", json!({"shard_key": [7], "limit": 1})).await;
    assert_eq!((&page["points"][0]["id"], &page["points"][0]["shard_key"]), (&json!(21), &json!(7)));
    let facets = node.ok("POST /collections/c/facet", json!({"key": "n", "shard_key": 7, "limit": 50})).await;
    assert_eq!(facets["hits"].as_array().expect("hits").len(), 10);
}

#[tokio::test]
async fn a_write_concerns_the_keys_that_it_names() {
    let node = with_keys().await;
    let all = json!({"filter": {}, "shard_key": 7});
    node.ok("POST /collections/c/points/payload/clear?wait=true", all.clone()).await;
    let filter = json!({"must_not": {"is_empty": {"key": "n"}}});
    let left = node.ok("POST /collections/c/points/count", json!({ "filter": filter })).await;
    assert_eq!(left["count"], 20);
    let both = json!({"points": [{"id": 99, "vector": [1, 1]}], "shard_key": ["eu", 7]});
    node.ok("PUT /collections/c/points?wait=true", both).await;
    assert_eq!(count(&node, json!("eu")).await, json!(21));
    assert_eq!(count(&node, json!(7)).await, json!(11));
    let deletes =
        json!({"operations": [{"delete": all}, {"delete": {"points": [1, 99], "shard_key": "eu"}}]});
    node.ok("POST /collections/c/points/batch?wait=true", deletes).await;
    assert_eq!(count(&node, Value::Null).await, json!(19));
}

#[tokio::test]
async fn keys_come_and_go() {
    let node = with_keys().await;
    node.ok("PUT /collections/c/vectors/v?wait=true", json!({"dense": {"size": 2, "distance": "Dot"}})).await;
    node.ok(SHARDS, json!({"shard_key": "us", "initial_state": "Active", "replication_factor": 1})).await;
    let point = json!({"id": 1, "vector": {"": [1, 1], "v": [1, 1]}, "payload": {"n": 1}});
    let upsert = json!({"points": [point], "shard_key": "us"});
    node.ok("PUT /collections/c/points?wait=true", upsert).await;
    let ordered = json!({"order_by": "n", "shard_key": "us"});
    let page = node.ok("POST /collections/c/points/scroll", ordered).await;
    assert_eq!(page["points"][0]["shard_key"], "us", "the new key has the index of the others");
    node.ok("POST /collections/c/shards/delete", json!({"shard_key": "eu"})).await;
    assert_eq!(count(&node, Value::Null).await, json!(11));
    let gone = (400, "Bad request: Shard key \"eu\" not found");
    node.check("POST /collections/c/points/count", r#"{"shard_key":"eu"}"#, gone).await;
    node.ok(SHARDS, json!({"shard_key": "eu"})).await;
    assert_eq!(count(&node, json!("eu")).await, json!(0), "nothing comes back with the name");
}

#[tokio::test]
async fn what_can_not_be_is_refused() {
    let node = with_keys().await;
    node.ok("PUT /collections/auto", json!({"vectors": {"size": 2, "distance": "Dot"}})).await;
    let point = r#"{"points":[{"id":1,"vector":[1,1]}]}"#;
    let keyed = r#"{"points":[{"id":1,"vector":[1,1]}],"shard_key":"k"}"#;
    let not_there = "Wrong input: Shard key \"k\" not found";
    for (call, body, code, text) in [
        ("PUT /collections/c/points", point, 400, "Wrong input: Shard key not specified"),
        (
            "POST /collections/c/points/delete",
            r#"{"points":[1]}"#,
            400,
            "Wrong input: Shard key not specified",
        ),
        ("PUT /collections/c/points", keyed, 400, not_there),
        (
            "POST /collections/c/points/query",
            r#"{"shard_key":"k"}"#,
            400,
            "Bad request: Shard key \"k\" not found",
        ),
        (
            SHARDS,
            r#"{"shard_key":"eu"}"#,
            400,
            "Bad request: Sharding key \"eu\" already exists for collection c",
        ),
        (
            SHARDS,
            r#"{"shard_key":"k","replication_factor":2}"#,
            400,
            "Bad request: a node of its own holds one copy of each shard (replication_factor 1)",
        ),
        (
            SHARDS,
            r#"{"shard_key":"k","initial_state":"Dead"}"#,
            400,
            "Bad request: a shard of a node of its own is Active from the start, and can't begin as Dead",
        ),
        (
            SHARDS,
            r#"{"shard_key":"k","shards_number":0}"#,
            422,
            "Validation error in JSON body: [shards_number: value 0 invalid, must be 1 or larger]",
        ),
        (
            "POST /collections/c/shards/delete",
            r#"{"shard_key":"k"}"#,
            400,
            "Bad request: Sharding key \"k\" does not exist for collection c",
        ),
        (
            "PUT /collections/auto/shards",
            r#"{"shard_key":"k"}"#,
            400,
            "Bad request: Shard Key cannot be created with Auto sharding method",
        ),
        (
            "PUT /collections/zz/shards",
            r#"{"shard_key":"k"}"#,
            404,
            "Not found: Collection `zz` doesn't exist!",
        ),
    ] {
        node.check(call, body, (code, text)).await;
    }
    assert_eq!(node.ok("GET /collections/auto/shards", Value::Null).await, json!({}));
}

#[tokio::test]
async fn a_snapshot_brings_the_keys_back() {
    let node = with_keys().await;
    let snapshot = node.ok("POST /collections/c/snapshots", Value::Null).await;
    node.ok("POST /collections/c/shards/delete", json!({"shard_key": "eu"})).await;
    let name = snapshot["name"].as_str().expect("a name");
    let location = format!("file://{}/snapshots/c-c/{name}", node.folder.path().display());
    node.ok("PUT /collections/c/snapshots/recover?wait=true", json!({ "location": location })).await;
    assert_eq!(count(&node, json!("eu")).await, json!(20));
    let keys = json!({"shard_keys": [{"key": "eu"}, {"key": 7}]});
    assert_eq!(node.ok("GET /collections/c/shards", Value::Null).await, keys);
    node.ok(SHARDS, json!({"shard_key": "us"})).await;
    assert_eq!(count(&node, Value::Null).await, json!(30));
}
