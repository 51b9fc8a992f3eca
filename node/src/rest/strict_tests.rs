//! Strict mode over REST: each limit, the text of its error, and that nothing is refused unless it is switched on.

use serde_json::{Value, json};

use super::tests::TestNode;

/// A collection with a few points.
async fn with_points() -> TestNode {
    let node = TestNode::start();
    node.ok("PUT /collections/c", json!({"vectors": {"size": 4, "distance": "Dot"}})).await;
    let point = |id: u64| json!({"id": id, "vector": [id, 1, 1, 1], "payload": {"city": "x", "n": id}});
    let points: Vec<Value> = (1..=3).map(point).collect();
    node.ok("PUT /collections/c/points?wait=true", json!({ "points": points })).await;
    node.ok("PUT /collections/c/index?wait=true", json!({"field_name": "n", "field_schema": "integer"}))
        .await;
    node
}

/// The call passes while strict mode is off, and is refused in these words when it is on.
async fn check(limits: Value, call: &str, body: Value, expected: &str) {
    check_code(limits, call, body, (400, expected)).await;
}

async fn check_code(limits: Value, call: &str, body: Value, expected: (u16, &str)) {
    let node = with_points().await;
    let (method, path) = call.split_once(' ').expect("a method and a path");
    let call = format!("{method} /collections/c{path}");
    let mut off = limits;
    off["enabled"] = json!(false);
    node.ok("PATCH /collections/c", json!({"strict_mode_config": off})).await;
    node.ok(&call, body.clone()).await;
    node.ok("PATCH /collections/c", json!({"strict_mode_config": {"enabled": true}})).await;
    let (code, text) = expected;
    node.check(&call, &body.to_string(), (code, text)).await;
}

const QUERY: &str = "POST /points/query";
const V: [u8; 4] = [1, 1, 1, 1];

fn city() -> Value {
    json!({"must": [{"key": "city", "match": {"value": "x"}}]})
}

fn number() -> Value {
    json!({"must": [{"key": "n", "match": {"value": 1}}]})
}

#[tokio::test]
async fn the_limit_of_points_holds_for_every_read_that_has_one() {
    let limits = || json!({"max_query_limit": 15});
    let text = |n: u32| {
        format!(
            "Bad request: Limit exceeded {n} > 15 for \"limit\". Help: Reduce the \"limit\" parameter to or below 15."
        )
    };
    let nested = json!({"query": V, "limit": 30});
    let groups = json!({"query": V, "group_by": "n", "limit": 6, "group_size": 5});
    for (call, body) in [
        (QUERY, json!({"query": V, "limit": 30})),
        (QUERY, json!({"limit": 30})),
        (QUERY, json!({"prefetch": nested, "query": V})),
        (QUERY, json!({"prefetch": {"prefetch": nested, "query": V}, "query": {"fusion": "rrf"}})),
        ("POST /points/query/batch", json!({"searches": [{"query": V}, {"query": V, "limit": 30}]})),
        ("POST /points/query/groups", groups),
        ("POST /points/search", json!({"vector": V, "limit": 30, "offset": 1})),
        ("POST /points/search/batch", json!({"searches": [{"vector": V, "limit": 30}]})),
        ("POST /points/recommend", json!({"positive": [1], "limit": 30})),
        ("POST /points/discover", json!({"target": 1, "limit": 30})),
        ("POST /points/scroll", json!({"limit": 30})),
        ("POST /points/search/matrix/pairs", json!({"sample": 30})),
        ("POST /facet", json!({"key": "n", "limit": 30})),
    ] {
        check(limits(), call, body, &text(30)).await;
    }
}

#[tokio::test]
async fn a_timeout_may_not_be_longer_than_allowed() {
    let text = "Bad request: Limit exceeded 6 > 5 for \"timeout\". Help: Reduce the \"timeout\" parameter to or below 5.";
    let points = json!({"points": [{"id": 1, "vector": V}]});
    for (call, body) in [
        ("POST /points/query?timeout=6", json!({"query": V})),
        ("GET /points/1?timeout=6", Value::Null),
        ("POST /points/count?timeout=6", json!({})),
        ("PUT /points?timeout=6", points),
    ] {
        check(json!({"max_timeout": 5}), call, body, text).await;
    }
}

#[tokio::test]
async fn filters_need_an_index() {
    let text = |key: &str, types: &str| {
        format!(
            "Bad request: Index required but not found for \"{key}\" of one of the following types: [{types}]. \
             Help: Create an index for this key or use a different filter."
        )
    };
    let read = || json!({"unindexed_filtering_retrieve": false});
    for (call, body) in [
        (QUERY, json!({"query": V, "filter": city()})),
        (QUERY, json!({"query": V, "prefetch": {"query": V, "filter": city()}})),
        ("POST /points/search", json!({"vector": V, "limit": 1, "filter": city()})),
        ("POST /points/scroll", json!({"filter": city()})),
        ("POST /points/count", json!({"filter": city()})),
        ("POST /facet", json!({"key": "n", "filter": city()})),
    ] {
        check(read(), call, body, &text("city", "keyword")).await;
    }
    let range = json!({"should": [{"key": "city", "range": {"gt": 1}}]});
    check(read(), "POST /points/count", json!({"filter": range}), &text("city", "float, integer")).await;
    let write = || json!({"unindexed_filtering_update": false});
    for (call, body) in [
        ("POST /points/delete?wait=true", json!({"filter": city()})),
        ("POST /points/payload", json!({"filter": city(), "payload": {"a": 1}})),
        ("POST /points/payload/delete", json!({"filter": city(), "keys": ["a"]})),
        ("POST /points/payload/clear", json!({"filter": {"must_not": city()}})),
        ("POST /points/vectors/delete", json!({"filter": city(), "vector": [""]})),
        ("PUT /points", json!({"points": [{"id": 1, "vector": V}], "update_filter": city()})),
        ("POST /points/batch", json!({"operations": [{"delete": {"filter": city()}}]})),
    ] {
        check(write(), call, body, &text("city", "keyword")).await;
    }
    let grouped = "Bad request: Index required but not found for \"city\". Help: Create an index supporting `match` for this key.";
    check(read(), "POST /points/query/groups", json!({"query": V, "group_by": "city"}), grouped).await;
    let formula = "Bad request: Index required but not found for \"x\" of one of the following types: [float, integer]. \
                   Help: Create an index for this key or use a different formula expression.";
    let sum = json!({"sum": ["$score", "n", "x"]});
    let body = json!({"prefetch": {"query": V}, "query": {"formula": sum, "defaults": {"x": 1}}});
    check(read(), QUERY, body, formula).await;
    // An index that serves is enough, and a limit of reads is none of writes.
    let node = with_points().await;
    let strict = json!({"enabled": true, "unindexed_filtering_retrieve": false});
    node.ok("PATCH /collections/c", json!({"strict_mode_config": strict})).await;
    node.ok("POST /collections/c/points/scroll", json!({"filter": number()})).await;
    node.ok("POST /collections/c/points/delete", json!({"filter": city()})).await;
}

#[tokio::test]
async fn parameters_of_searches_are_bounded() {
    let over = |n: &str, max: &str, name: &str| {
        format!(
            "Bad request: Limit exceeded {n} > {max} for \"{name}\". Help: Reduce the \"{name}\" parameter to or below {max}."
        )
    };
    let params = |params: Value| json!({"query": V, "params": params});
    let ef = || params(json!({"hnsw_ef": 65}));
    check(json!({"search_max_hnsw_ef": 64}), QUERY, ef(), &over("65", "64", "hnsw_ef")).await;
    let inside = json!({"query": V, "prefetch": [{"query": V}, ef()]});
    check(json!({"search_max_hnsw_ef": 64}), QUERY, inside, &over("65", "64", "hnsw_ef")).await;
    let oversampling = params(json!({"quantization": {"oversampling": 2.5}}));
    let text = over("2.5", "2", "oversampling");
    check(json!({"search_max_oversampling": 2.0}), QUERY, oversampling, &text).await;
    let exact = "Bad request: Exact search disabled!. Help: Set exact=false.";
    for (call, body) in [
        (QUERY, params(json!({"exact": true}))),
        ("POST /points/search", json!({"vector": V, "limit": 1, "params": {"exact": true}})),
        ("POST /points/count", json!({})),
        ("POST /facet", json!({"key": "n", "exact": true})),
    ] {
        check(json!({"search_allow_exact": false}), call, body, exact).await;
    }
    let searches = json!({"searches": [{"query": V}, {"query": V}, {"query": V}]});
    let text = over("3", "2", "search batch size");
    check(json!({"search_max_batchsize": 2}), "POST /points/query/batch", searches, &text).await;
}

#[tokio::test]
async fn a_vector_without_a_graph_is_not_searched_if_exact_searches_are_not_allowed() {
    let node = with_points().await;
    let strict = json!({"enabled": true, "search_allow_exact": false});
    node.ok("PATCH /collections/c", json!({"strict_mode_config": strict, "hnsw_config": {"m": 0}})).await;
    let text = "Bad request: Request is forbidden because global vector indexing is disabled (hnsw_config.m = 0). \
                Help: Use tenant-specific filter, enable global vector indexing or enable strict mode `search_allow_exact` option";
    let body = json!({"query": V}).to_string();
    node.check("POST /collections/c/points/query", &body, (400, text)).await;
    node.ok("POST /collections/c/points/scroll", json!({})).await;
}

#[tokio::test]
async fn writes_are_bounded() {
    let points = |n: u64| (1..=n).map(|id| json!({"id": id, "vector": V})).collect::<Vec<_>>();
    let upsert = || json!({"points": points(3)});
    let over = |name: &str| {
        format!(
            "Bad request: Limit exceeded 3 > 2 for \"{name}\". Help: Reduce the \"{name}\" parameter to or below 2."
        )
    };
    let batch = || json!({"upsert_max_batchsize": 2});
    check(batch(), "PUT /points", upsert(), &over("upsert limit")).await;
    check(batch(), "PUT /points/vectors", upsert(), &over("update limit")).await;
    let count = "Bad request: Max points count limit of 3 reached!";
    check(json!({"max_points_count": 3}), "PUT /points", upsert(), count).await;
    let size = "Bad request: Max vector storage size limit of 0.000045776367MB reached!";
    check(json!({"max_collection_vector_size_bytes": 48}), "PUT /points", upsert(), size).await;
    let size = "Bad request: Max payload storage size limit of 0.0000076293945MB reached!";
    let payload = json!({"payload": {"a": 1}, "points": [1]});
    check(json!({"max_collection_payload_size_bytes": 8}), "POST /points/payload", payload, size).await;
    let full = "Bad request: Collection already has the maximum number of payload indices (1). \
                Help: Please delete an existing index before creating a new one.";
    let node = with_points().await;
    let strict = json!({"enabled": true, "max_payload_index_count": 1});
    node.ok("PATCH /collections/c", json!({"strict_mode_config": strict})).await;
    let index = json!({"field_name": "n", "field_schema": "integer"});
    node.ok("PUT /collections/c/index", index).await;
    let index = json!({"field_name": "city", "field_schema": "keyword"}).to_string();
    node.check("PUT /collections/c/index", &index, (400, full)).await;
}

#[tokio::test]
async fn filters_are_bounded() {
    let twice = json!({"must": [{"key": "n", "match": {"value": 1}}, {"must": {"has_id": [1]}}]});
    let text = "Bad request: Filter condition limit reached (2 > 1). Help: Reduce the amount of conditions of your filter.";
    check(json!({"filter_max_conditions": 1}), "POST /points/scroll", json!({"filter": twice}), text).await;
    let many = json!({"must": {"key": "n", "match": {"any": [1, 2, 3]}}});
    let text = "Bad request: Condition size limit reached (3 > 2). Help: Reduce the size of your condition.";
    check(json!({"condition_max_size": 2}), QUERY, json!({"query": V, "filter": many}), text).await;
    check(json!({"condition_max_size": 2}), "POST /points/delete", json!({"filter": many}), text).await;
}

#[tokio::test]
async fn rates_are_bounded() {
    let never = |kind: &str| {
        format!(
            "Rate limiting exceeded: {kind} rate limit exceeded, request larger than rate limiter capacity, please try to split your request"
        )
    };
    let (read, write) = (never("Read"), never("Write"));
    let filtered = json!({"query": V, "filter": number()});
    check_code(json!({"read_rate_limit": 1}), QUERY, filtered, (429, &read)).await;
    let upsert = json!({"points": [{"id": 1, "vector": V}, {"id": 2, "vector": V}]});
    check_code(json!({"write_rate_limit": 1}), "PUT /points", upsert, (429, &write)).await;
    // An index knows how many points it finds; without one, half of them are expected.
    let all = json!({"must": [{"key": "n", "range": {"gte": 1}}]});
    let set = json!({"payload": {"k": 1}, "filter": all});
    check_code(json!({"write_rate_limit": 2}), "POST /points/payload", set, (429, &write)).await;
}

#[tokio::test]
async fn a_full_node_takes_deletes_only() {
    let node = TestNode::start_with(|settings| settings.storage.memory_limit_mb = Some(1));
    let strict = json!({"enabled": true, "max_resident_memory_percent": 1});
    let body = json!({"vectors": {"size": 4, "distance": "Dot"}, "strict_mode_config": strict});
    node.ok("PUT /collections/c", body).await;
    let upsert = json!({"points": [{"id": 1, "vector": V}]}).to_string();
    let (code, text) = node.raw("PUT /collections/c/points", &upsert).await;
    assert_eq!(code, 507, "{text}");
    assert!(text.contains("this collection takes writes below 1%"), "{text}");
    node.ok("POST /collections/c/points/delete", json!({"points": [1]})).await;
}

#[tokio::test]
async fn vectors_of_many_parts_are_bounded() {
    let node = with_points().await;
    let strict = json!({
        "enabled": true,
        "multivector_config": {"m": {"max_vectors": 1}}, "sparse_config": {"s": {"max_length": 1}},
    });
    node.ok("PATCH /collections/c", json!({"strict_mode_config": strict})).await;
    let multi = "Bad request: Multivector 'm' has a limit of 1 vectors, but 2 were provided!";
    let sparse = "Bad request: Sparse vector 's' has a limit of 1 indices, but 2 were provided!";
    for (vector, text) in [
        (json!({"m": [[1.5, 2.5], [3.5, 4.5]]}), multi),
        (json!({"s": {"indices": [1, 2], "values": [1, 2]}}), sparse),
    ] {
        let body = json!({"points": [{"id": 1, "vector": vector}]}).to_string();
        node.check("PUT /collections/c/points", &body, (400, text)).await;
        node.check("PUT /collections/c/points/vectors", &body, (400, text)).await;
    }
}
