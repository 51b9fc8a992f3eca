//! Every route with every kind of key and token.

use axum::http::Method;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::openapi::operations;
use super::tests::TestNode;
use crate::auth::{entry, signed};
use crate::config::Secret;

const KEY: &str = "master";

fn token(claims: Value) -> String {
    signed(Algorithm::HS256, &claims, KEY)
}

fn token_for(collection: &str, access: &str) -> String {
    token(json!({"access": [{"collection": collection, "access": access}]}))
}

fn guarded() -> TestNode {
    TestNode::start_with(|settings| {
        settings.service.api_key = Some(Secret::new(KEY));
        settings.service.alt_api_key = Some(Secret::new("next"));
        settings.service.read_only_api_key = Some(Secret::new("reader"));
        settings.service.jwt_rbac = true;
    })
}

/// Name and credential of everybody who asks. Tokens for collections are for `c`, but that of `other`.
fn everybody() -> Vec<(&'static str, Option<String>)> {
    let other = json!({"access": [{"collection": "d", "access": "rw"}]});
    vec![
        ("nobody", None),
        ("master", Some(KEY.into())),
        ("reader", Some("reader".into())),
        ("m", Some(token(json!({"access": "m"})))),
        ("r", Some(token(json!({"access": "r"})))),
        ("c:r", Some(token_for("c", "r"))),
        ("c:rw", Some(token_for("c", "rw"))),
        ("c:prw", Some(token_for("c", "prw"))),
        ("other", Some(token(other))),
    ]
}

const ALL: &str = "nobody master reader m r c:r c:rw c:prw other";
const KNOWN: &str = "master reader m r c:r c:rw c:prw other";
const GLOBAL: &str = "master reader m r";
const MANAGERS: &str = "master m";
const READERS: &str = "master reader m r c:r c:rw c:prw";
const WHOLE_READERS: &str = "master reader m r c:r c:rw";
const WRITERS: &str = "master m c:rw c:prw";
const WHOLE_WRITERS: &str = "master m c:rw";

/// Who may what. `C` is the collection's path.
const MAY: &[(&str, &[&str])] = &[
    (ALL, &["GET /", "GET /healthz", "GET /livez", "GET /readyz"]),
    (
        KNOWN,
        &[
            "GET /collections",
            "GET /aliases",
            "GET /telemetry",
            "GET /issues",
            "GET /openapi.json",
            "GET /cluster/telemetry",
        ],
    ),
    (
        GLOBAL,
        &[
            "GET /metrics",
            "GET /cluster",
            "GET /snapshots",
            "GET /snapshots/{snapshot_name}",
            "GET /logger",
            "GET /quotas",
        ],
    ),
    (
        MANAGERS,
        &[
            "DELETE /issues",
            "POST /logger",
            "PUT /quotas",
            "POST /cluster/recover",
            "DELETE /cluster/peer/{peer_id}",
            "POST /snapshots",
            "DELETE /snapshots/{snapshot_name}",
            "PUT C",
            "PATCH C",
            "DELETE C",
            "POST C/cluster",
            "POST /collections/aliases",
            "PUT C/shards",
            "POST C/shards/delete",
            "POST C/snapshots/upload",
            "PUT C/snapshots/recover",
            "POST C/shards/{shard_id}/snapshots/upload",
            "PUT C/shards/{shard_id}/snapshots/recover",
        ],
    ),
    (
        READERS,
        &[
            "GET C",
            "GET C/exists",
            "GET C/aliases",
            "GET C/optimizations",
            "GET C/memory",
            "GET C/shards",
            "GET C/points/{id}",
            "POST C/points",
            "POST C/points/scroll",
            "POST C/points/count",
            "POST C/facet",
            "POST C/points/query",
            "POST C/points/query/batch",
            "POST C/points/query/groups",
            "POST C/points/search",
            "POST C/points/search/batch",
            "POST C/points/search/groups",
            "POST C/points/search/matrix/pairs",
            "POST C/points/search/matrix/offsets",
            "POST C/points/recommend",
            "POST C/points/recommend/batch",
            "POST C/points/recommend/groups",
            "POST C/points/discover",
            "POST C/points/discover/batch",
        ],
    ),
    (
        WHOLE_READERS,
        &[
            "GET C/cluster",
            "GET C/snapshots",
            "GET C/snapshots/{snapshot_name}",
            "GET C/shards/{shard_id}/snapshots",
            "GET C/shards/{shard_id}/snapshots/{snapshot_name}",
        ],
    ),
    (
        WRITERS,
        &[
            "PUT C/points",
            "POST C/points/delete",
            "POST C/points/batch",
            "PUT C/points/vectors",
            "POST C/points/vectors/delete",
            "POST C/points/payload",
            "PUT C/points/payload",
            "POST C/points/payload/delete",
            "POST C/points/payload/clear",
        ],
    ),
    (
        WHOLE_WRITERS,
        &[
            "PUT C/index",
            "DELETE C/index/{field_name}",
            "PUT C/vectors/{vector_name}",
            "DELETE C/vectors/{vector_name}",
            "POST C/snapshots",
            "DELETE C/snapshots/{snapshot_name}",
            "POST C/shards/{shard_id}/snapshots",
            "DELETE C/shards/{shard_id}/snapshots/{snapshot_name}",
            "GET C/shards/{shard_id}/snapshot",
        ],
    ),
];

/// The names of those who may use a route. `None` if the table does not say.
fn who_may(method: &str, path: &str) -> Option<&'static str> {
    let call = format!("{method} {}", path.replace("/collections/{collection_name}", "C"));
    MAY.iter().find(|(_, calls)| calls.contains(&call.as_str())).map(|(who, _)| *who)
}

#[tokio::test]
async fn every_route_is_open_to_those_who_may_and_closed_to_all_others() {
    let (node, mut forgotten) = (guarded(), Vec::new());
    for (method, path) in operations() {
        let named = Method::from_bytes(method.as_bytes()).expect("a method");
        let Some(may) = who_may(method, path).filter(|_| entry(&named, path).is_some()) else {
            forgotten.push(format!("{method} {path}"));
            continue;
        };
        let mut at = path.replace("{collection_name}", "c");
        while let (Some(from), Some(to)) = (at.find('{'), at.find('}')) {
            at.replace_range(from..=to, "1");
        }
        for (name, credential) in everybody() {
            let header = credential.as_deref().map(|c| ("api-key", c));
            let (code, text) = node.raw_with(header, &format!("{method} {at}"), "{}").await;
            let refused = [401, 403].contains(&code.as_u16()).then_some(code.as_u16());
            let expected = match (may.split(' ').any(|who| who == name), credential) {
                (true, _) => None,
                (false, None) => Some(401),
                (false, Some(_)) => Some(403),
            };
            assert_eq!(refused, expected, "{method} {path} by {name}: {text}");
        }
    }
    assert!(forgotten.is_empty(), "who may use these? {forgotten:?}");
}

/// A call with a header, and its status and text.
async fn check(node: &TestNode, header: (&str, &str), call: &str, body: Value, expected: (u16, &str)) {
    let (code, text) = node.raw_with(Some(header), call, &body.to_string()).await;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let error = answer["status"]["error"].as_str().unwrap_or(if code == 200 { "" } else { &text });
    assert_eq!((code.as_u16(), error), expected, "{call} with {}", header.1);
}

#[tokio::test]
async fn keys_and_tokens_are_taken_from_either_header() {
    let node = guarded();
    let bearer =
        |secret: &str| format!("Bearer {}", signed(Algorithm::HS256, &json!({"access": "r"}), secret));
    for (header, expected) in [
        (("authorization", "Bearer master"), (200, "")),
        (("authorization", "bearer next"), (200, "")),
        (
            ("authorization", "Basic master"),
            (401, "Must provide an API key or an Authorization bearer token"),
        ),
        (("api-key", "wrong"), (401, "Invalid API key or JWT")),
        (("authorization", bearer(KEY).as_str()), (200, "")),
        (("authorization", bearer("next").as_str()), (200, "")),
        (("authorization", bearer("reader").as_str()), (403, "InvalidSignature")),
    ] {
        check(&node, header, "GET /collections", Value::Null, expected).await;
    }
    let nothing = ("api-key", "reader");
    check(&node, nothing, "GET /nothing", Value::Null, (404, "")).await;
    let (_, metrics) = node.raw_with(Some(("api-key", KEY)), "GET /metrics", "").await;
    assert!(metrics.contains("quiver_auth_refused_total{reason=\"credentials\"} 3"), "{metrics}");
}

#[tokio::test]
async fn collections_that_a_body_names_are_checked_too() {
    let node = guarded();
    let own = token_for("c", "r");
    let refused = (403, "Forbidden: Access to collection d is required");
    let lookup = json!({"collection": "d"});
    let query = json!({"query": 1, "lookup_from": lookup});
    let nested = json!({"query": [1.0], "prefetch": {"prefetch": [{"query": 1, "lookup_from": lookup}], "query": [1.0]}});
    let grouped = |more: Value| {
        let mut body = json!({"query": [1.0], "group_by": "a"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let older = json!({"positive": [1], "lookup_from": lookup, "limit": 1});
    let target = json!({"target": 1, "lookup_from": lookup, "limit": 1});
    let by_group =
        json!({"positive": [1], "lookup_from": lookup, "limit": 1, "group_by": "a", "group_size": 1});
    let searched = json!({"vector": [1.0], "limit": 1, "group_by": "a", "group_size": 1, "with_lookup": "d"});
    for (call, body) in [
        ("query", query.clone()),
        ("query", nested.clone()),
        ("query/batch", json!({"searches": [{"query": [1.0]}, query]})),
        ("query/batch", json!({"searches": [nested]})),
        ("query/groups", grouped(json!({"with_lookup": "d"}))),
        ("query/groups", grouped(json!({"with_lookup": {"collection": "d"}}))),
        ("query/groups", grouped(json!({"lookup_from": {"collection": "d"}}))),
        ("query/groups", grouped(json!({"prefetch": [{"query": 1, "lookup_from": {"collection": "d"}}]}))),
        ("search/groups", searched),
        ("recommend", older.clone()),
        ("recommend/batch", json!({"searches": [older]})),
        ("recommend/groups", by_group),
        ("discover", target.clone()),
        ("discover/batch", json!({"searches": [target]})),
    ] {
        let call = format!("POST /collections/c/points/{call}");
        check(&node, ("api-key", &own), &call, body.clone(), refused).await;
        let (code, text) = node.raw_with(Some(("api-key", "reader")), &call, &body.to_string()).await;
        assert_eq!(code, 404, "{call}: {text}");
    }
}

#[tokio::test]
async fn a_token_may_depend_on_a_point() {
    let (node, key) = (guarded(), ("api-key", KEY));
    let claim =
        json!({"collection": "tokens", "matches": [{"key": "id", "value": "t1"}, {"key": "n", "value": 2}]});
    let bearer = token(json!({"value_exists": claim, "access": "r"}));
    let scroll = "POST /collections/tokens/points/scroll";
    let failed = "Invalid JWT, stateful validation failed";
    check(&node, ("api-key", &bearer), scroll, json!({}), (403, failed)).await;
    check(&node, key, "PUT /collections/tokens", json!({}), (200, "")).await;
    check(&node, ("api-key", &bearer), scroll, json!({}), (401, failed)).await;
    let point = |n: u64| json!({"points": [{"id": 1, "vector": {}, "payload": {"id": "t1", "n": n}}]});
    let upsert = "PUT /collections/tokens/points?wait=true";
    check(&node, key, upsert, point(1), (200, "")).await;
    check(&node, ("api-key", &bearer), scroll, json!({}), (401, failed)).await;
    check(&node, key, upsert, point(2), (200, "")).await;
    check(&node, ("api-key", &bearer), scroll, json!({}), (200, "")).await;
    let forbidden = (403, "Forbidden: Global manage access is required");
    check(&node, ("api-key", &bearer), upsert, point(3), forbidden).await;
    check(&node, key, "POST /collections/tokens/points/delete?wait=true", json!({"points": [1]}), (200, ""))
        .await;
    check(&node, ("api-key", &bearer), scroll, json!({}), (401, failed)).await;
}

#[tokio::test]
async fn lists_tell_of_the_collections_of_the_token_alone() {
    let (node, key) = (guarded(), ("api-key", KEY));
    for name in ["c", "d"] {
        check(&node, key, &format!("PUT /collections/{name}"), json!({}), (200, "")).await;
        let alias = json!({"actions": [{"create_alias": {"collection_name": name, "alias_name": format!("alias_{name}")}}]});
        check(&node, key, "POST /collections/aliases", alias, (200, "")).await;
    }
    let own = token_for("c", "prw");
    let asked = async |call: &str| {
        let (code, text) = node.raw_with(Some(("api-key", &own)), call, "").await;
        assert_eq!(code, 200, "{call}: {text}");
        serde_json::from_str::<Value>(&text).expect("JSON")["result"].take()
    };
    assert_eq!(asked("GET /collections").await, json!({"collections": [{"name": "c"}]}));
    let aliases = json!({"aliases": [{"alias_name": "alias_c", "collection_name": "c"}]});
    assert_eq!(asked("GET /aliases").await, aliases);
    let telemetry = asked("GET /telemetry?details_level=1").await;
    assert_eq!(telemetry["collections"]["number_of_collections"], 1);
    assert_eq!(telemetry["collections"]["collections"].as_array().map(Vec::len), Some(1));
    for about_the_node in ["cluster", "requests", "memory"] {
        assert!(telemetry.get(about_the_node).is_none(), "{telemetry}");
    }
    let refused = (403, "Forbidden: Access to collection alias_c is required");
    check(&node, ("api-key", &own), "GET /collections/alias_c", Value::Null, refused).await;
    // A name that has to be decoded is the same name.
    check(&node, ("api-key", &own), "GET /collections/%63", Value::Null, (200, "")).await;
    let refused = (403, "Forbidden: Access to collection d is required");
    check(&node, ("api-key", &own), "GET /collections/%64", Value::Null, refused).await;
    check(
        &node,
        ("api-key", &own),
        "GET /collections/missing/exists",
        Value::Null,
        (403, "Forbidden: Access to collection missing is required"),
    )
    .await;
}

#[tokio::test]
async fn without_keys_everything_is_open() {
    let node = TestNode::start();
    check(&node, ("api-key", "any"), "PUT /collections/a", json!({}), (200, "")).await;
}
