//! Configurations over REST: shown as they were set, and changed while the collection is in use.

use serde_json::{Value, json};

use super::tests::TestNode;

/// Every field of a collection that a client may set.
fn everything() -> Value {
    json!({
        "vectors": {
            "a": {
                "size": 4, "distance": "Cosine", "on_disk": true, "memory": "cold", "datatype": "float32",
                "hnsw_config": {"m": 8, "ef_construct": 50, "on_disk": true, "memory": "cached"},
                "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true, "memory": "pinned"}},
            },
            "b": {"size": 2, "distance": "Euclid"},
        },
        "shard_number": 2, "sharding_method": "auto", "replication_factor": 1, "write_consistency_factor": 1,
        "on_disk_payload": true, "payload": {"memory": "cold"},
        "hnsw_config": {
            "m": 32, "ef_construct": 123, "full_scan_threshold": 5000, "max_indexing_threads": 2, "on_disk": false,
            "payload_m": 4, "inline_storage": false, "memory": "cached",
        },
        "optimizers_config": {
            "deleted_threshold": 0.3, "vacuum_min_vector_number": 2000, "default_segment_number": 3,
            "max_segment_size": 100000, "memmap_threshold": 5000, "indexing_threshold": 7000, "flush_interval_sec": 9,
            "max_optimization_threads": 1, "prevent_unoptimized": false,
        },
        "wal_config": {"wal_capacity_mb": 16, "wal_segments_ahead": 1, "wal_retain_closed": 2},
        "quantization_config": {"binary": {"always_ram": true, "encoding": "one_bit", "query_encoding": "scalar8bits"}},
        "strict_mode_config": {"enabled": false, "max_query_limit": 50},
        "metadata": {"owner": "me", "tags": ["a"]},
    })
}

async fn config(node: &TestNode) -> Value {
    node.ok("GET /collections/c", Value::Null).await["config"].take()
}

#[tokio::test]
async fn every_field_is_shown_as_it_was_set() {
    let node = TestNode::start();
    let given = everything();
    node.ok("PUT /collections/c", given.clone()).await;
    let shown = config(&node).await;
    for key in [
        "vectors",
        "shard_number",
        "sharding_method",
        "replication_factor",
        "write_consistency_factor",
        "on_disk_payload",
        "payload",
    ] {
        assert_eq!(shown["params"][key], given[key], "{key}");
    }
    for key in ["hnsw_config", "wal_config", "quantization_config", "strict_mode_config", "metadata"] {
        assert_eq!(shown[key], given[key], "{key}");
    }
    assert_eq!(shown["optimizer_config"], given["optimizers_config"]);
    assert_eq!(node.ok("GET /collections/c/exists", Value::Null).await, json!({"exists": true}));
    assert_eq!(node.ok("GET /collections/d/exists", Value::Null).await, json!({"exists": false}));
}

#[tokio::test]
async fn what_may_change_changes_and_the_rest_stays() {
    let node = TestNode::start();
    node.ok("PUT /collections/c", everything()).await;
    let before = config(&node).await;
    let change = json!({
        "vectors": {"a": {"hnsw_config": {"m": 9}, "quantization_config": "Disabled", "on_disk": false, "memory": "cached"}},
        "params": {
            "write_consistency_factor": 1, "read_fan_out_factor": 2, "read_fan_out_delay_ms": 30,
            "on_disk_payload": false, "payload": {"memory": "cached"},
        },
        "hnsw_config": {"ef_construct": 99},
        "optimizers_config": {"indexing_threshold": 1, "max_optimization_threads": "auto"},
        "quantization_config": {"product": {"compression": "x16"}},
        "metadata": {"owner": null, "team": "x"},
    });
    node.ok("PATCH /collections/c", change).await;
    let mut expected = before;
    let a = &mut expected["params"]["vectors"]["a"];
    a["hnsw_config"]["m"] = json!(9);
    a.as_object_mut().expect("an object").remove("quantization_config");
    (a["on_disk"], a["memory"]) = (json!(false), json!("cached"));
    let params = &mut expected["params"];
    (params["read_fan_out_factor"], params["read_fan_out_delay_ms"]) = (json!(2), json!(30));
    (params["on_disk_payload"], params["payload"]) = (json!(false), json!({"memory": "cached"}));
    expected["hnsw_config"]["ef_construct"] = json!(99);
    expected["optimizer_config"]["indexing_threshold"] = json!(1);
    expected["optimizer_config"]["max_optimization_threads"] = Value::Null;
    expected["quantization_config"] = json!({"product": {"compression": "x16"}});
    expected["metadata"] = json!({"tags": ["a"], "team": "x"});
    assert_eq!(config(&node).await, expected);
    node.ok("PATCH /collections/c", json!({"quantization_config": "Disabled"})).await;
    assert_eq!(config(&node).await["quantization_config"], Value::Null);
}

#[tokio::test]
async fn a_vector_comes_and_goes_while_there_are_points() {
    let node = TestNode::start();
    node.ok("PUT /collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await;
    let point = |id: u64, vector: Value| json!({"points": [{"id": id, "vector": vector}]});
    node.ok("PUT /collections/c/points?wait=true", point(1, json!([1, 1]))).await;
    let dense = json!({"dense": {"size": 3, "distance": "Euclid"}});
    node.ok("PUT /collections/c/vectors/v?wait=true", dense.clone()).await;
    node.ok("PUT /collections/c/vectors/v?wait=true", dense).await;
    let other = json!({"dense": {"size": 4, "distance": "Euclid"}}).to_string();
    let text = "Wrong input: Vector `v` already exists with a different configuration";
    node.check("PUT /collections/c/vectors/v", &other, (400, text)).await;
    let vectors = config(&node).await["params"]["vectors"].take();
    let expected = json!({"": {"size": 2, "distance": "Dot"}, "v": {"size": 3, "distance": "Euclid"}});
    assert_eq!(vectors, expected);
    node.ok("PUT /collections/c/points?wait=true", point(2, json!({"": [2, 2], "v": [1, 2, 3]}))).await;
    let query = json!({"query": [1, 2, 3], "using": "v"});
    let found = node.ok("POST /collections/c/points/query", query.clone()).await;
    assert_eq!(found["points"].as_array().expect("points").len(), 1, "old points lack the vector");
    node.ok("PUT /collections/c/points/vectors?wait=true", point(1, json!({"v": [0, 0, 0]}))).await;
    let found = node.ok("POST /collections/c/points/query", query.clone()).await;
    assert_eq!(found["points"].as_array().expect("points").len(), 2);
    node.ok("DELETE /collections/c/vectors/v?wait=true", Value::Null).await;
    node.ok("DELETE /collections/c/vectors/v?wait=true", Value::Null).await;
    let gone = (400, "Wrong input: Not existing vector name error: v");
    node.check("POST /collections/c/points/query", &query.to_string(), gone).await;
    assert_eq!(config(&node).await["params"]["vectors"], json!({"": {"size": 2, "distance": "Dot"}}));
}

#[tokio::test]
async fn aliases_change_together_or_not_at_all() {
    let node = TestNode::start();
    for name in ["a", "b"] {
        node.ok(&format!("PUT /collections/{name}"), json!({"vectors": {"size": 2, "distance": "Dot"}}))
            .await;
    }
    let create = |name: &str, to: &str| json!({"create_alias": {"alias_name": name, "collection_name": to}});
    let actions = |all: Value| json!({"actions": all});
    node.ok("POST /collections/aliases", actions(json!([create("al", "a")]))).await;
    let delete = json!({"delete_alias": {"alias_name": "al"}});
    node.ok("POST /collections/aliases", actions(json!([delete, create("al", "b")]))).await;
    let of_b = || json!({"aliases": [{"alias_name": "al", "collection_name": "b"}]});
    assert_eq!(node.ok("GET /aliases", Value::Null).await, of_b());
    let missing = (404, "Not found: Collection `zz` doesn't exist!");
    let half = actions(json!([delete, create("al", "zz")])).to_string();
    node.check("POST /collections/aliases", &half, missing).await;
    assert_eq!(node.ok("GET /collections/b/aliases", Value::Null).await, of_b(), "nothing was changed");
    let taken = (409, "Wrong input: Collection `a` already exists!");
    node.check("POST /collections/aliases", &actions(json!([create("a", "b")])).to_string(), taken).await;
    let text = "Wrong input: Can't create collection with name al. Alias with the same name already exists";
    node.check("PUT /collections/al", "{}", (400, text)).await;
    assert_eq!(node.ok("DELETE /collections/al", Value::Null).await, json!(false));
    node.ok("PATCH /collections/al", json!({"metadata": {"k": 1}})).await;
    assert_eq!(node.ok("GET /collections/b", Value::Null).await["config"]["metadata"], json!({"k": 1}));
    let rename = json!({"rename_alias": {"old_alias_name": "al", "new_alias_name": "le"}});
    node.ok("POST /collections/aliases", actions(json!([rename]))).await;
    node.ok("POST /collections/aliases", actions(json!([{"delete_alias": {"alias_name": "le"}}, delete])))
        .await;
    assert_eq!(node.ok("GET /aliases", Value::Null).await, json!({"aliases": []}));
}

#[tokio::test]
async fn the_report_of_optimizations_says_what_is_idle_and_what_waits() {
    let node = TestNode::start();
    node.ok("PUT /collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await;
    let report = |query: &str| format!("GET /collections/c/optimizations{query}");
    let nothing =
        json!({"queued_optimizations": 0, "queued_segments": 0, "queued_points": 0, "idle_segments": 0});
    assert_eq!(node.ok(&report(""), Value::Null).await, json!({"summary": nothing, "running": []}));
    let points: Vec<Value> = (0..1000).map(|id| json!({"id": id, "vector": [1, 1]})).collect();
    node.ok("PUT /collections/c/points?wait=true", json!({ "points": points })).await;
    // No optimizer runs here: what is worth sealing waits.
    let found = node.ok(&report("?with=queued,completed,idle_segments&completed_limit=1"), Value::Null).await;
    let waits =
        json!({"queued_optimizations": 1, "queued_segments": 1, "queued_points": 1000, "idle_segments": 0});
    assert_eq!(found["summary"], waits);
    assert_eq!(found["queued"][0]["optimizer"], "seal");
    assert_eq!((&found["completed"], &found["idle_segments"]), (&json!([]), &json!([])));
    node.check(
        &report("?completed_limit=x"),
        "",
        (400, "Deserialize error in query parameters: invalid digit found in string"),
    )
    .await;
}
