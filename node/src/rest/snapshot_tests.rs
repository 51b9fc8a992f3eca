//! Snapshots of shards and of the whole storage, asked for through the routes.

use std::collections::BTreeSet;
use std::io::Read;

use axum::body::{Body, Bytes};
use axum::http::Request;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::tests::TestNode;
use crate::snapshot::hash::hex;

const SHARD: &str = "/collections/c/shards/1";

/// A node with the collection `c` of two shards, 40 points and an index.
async fn with_shards() -> TestNode {
    let node = TestNode::start();
    create(&node, "c", 2).await;
    node.ok("PUT /collections/c/index?wait=true", json!({"field_name": "n", "field_schema": "integer"}))
        .await;
    node
}

async fn create(node: &TestNode, name: &str, shards: u32) {
    let body = json!({"vectors": {"size": 4, "distance": "Dot"}, "shard_number": shards});
    node.ok(&format!("PUT /collections/{name}"), body).await;
    let points: Vec<Value> =
        (0..40).map(|i| json!({"id": i, "vector": [i, 1, 2, 3], "payload": {"n": i}})).collect();
    node.ok(&format!("PUT /collections/{name}/points?wait=true"), json!({ "points": points })).await;
}

async fn ids(node: &TestNode, name: &str) -> BTreeSet<u64> {
    let page = node.ok(&format!("POST /collections/{name}/points/scroll"), json!({"limit": 100})).await;
    let points = page["points"].as_array().expect("points").iter();
    points.map(|p| p["id"].as_u64().expect("a number")).collect()
}

async fn wipe(node: &TestNode) {
    node.ok("POST /collections/c/points/delete?wait=true", json!({"filter": {}})).await;
}

async fn download(node: &TestNode, path: &str) -> (Bytes, String) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = node.routes.clone().oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    let length = response.headers()["content-length"].to_str().expect("text").to_owned();
    let named = response.headers()["content-disposition"].to_str().expect("text").to_owned();
    let tar = axum::body::to_bytes(response.into_body(), 1 << 26).await.expect("a body");
    assert_eq!(tar.len().to_string(), length, "{path}");
    (tar, named)
}

async fn upload(node: &TestNode, path: &str, tar: &[u8]) -> (u16, Value) {
    let mut body =
        b"--x\r\nContent-Disposition: form-data; name=\"snapshot\"; filename=\"s\"\r\n\r\n".to_vec();
    body.extend_from_slice(tar);
    body.extend_from_slice(b"\r\n--x--\r\n");
    let request = Request::post(path).header("content-type", "multipart/form-data; boundary=x");
    let request = request.body(Body::from(body)).expect("a request");
    let response = node.routes.clone().oneshot(request).await.expect("an answer");
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (code, serde_json::from_slice(&bytes).expect("JSON"))
}

/// Names in the folder of a node's shards.
fn folders(node: &TestNode) -> Vec<String> {
    let names = |path: std::path::PathBuf| -> Vec<_> {
        let entries = std::fs::read_dir(path).expect("a folder");
        entries.map(|e| e.expect("an entry").path()).collect()
    };
    let collections = names(node.folder.path().join("collections"));
    let shards = collections.iter().flat_map(|c| names(c.join("shards")));
    let mut all: Vec<_> =
        shards.map(|p| p.file_name().expect("a name").to_string_lossy().into_owned()).collect();
    all.sort_unstable();
    all
}

fn in_tmp(node: &TestNode) -> usize {
    std::fs::read_dir(node.folder.path().join("snapshots/tmp")).expect("a folder").count()
}

#[tokio::test]
async fn a_shard_is_kept_listed_sent_recovered_and_its_snapshot_deleted() {
    let node = with_shards().await;
    let all = ids(&node, "c").await;
    assert_eq!(node.ok(&format!("GET {SHARD}/snapshots"), Value::Null).await, json!([]));
    let made = node.ok(&format!("POST {SHARD}/snapshots"), Value::Null).await;
    let name = made["name"].as_str().expect("a name");
    assert!(name.starts_with("c-shard-1-"), "{name}");
    assert_eq!(node.ok(&format!("GET {SHARD}/snapshots"), Value::Null).await, json!([made]));
    assert_eq!(node.ok("GET /collections/c/shards/0/snapshots", Value::Null).await, json!([]));
    assert_eq!(node.ok("GET /collections/c/snapshots", Value::Null).await, json!([]));
    let (tar, _) = download(&node, &format!("{SHARD}/snapshots/{name}")).await;
    assert_eq!(made["checksum"], hex(&Sha256::digest(&tar)));
    wipe(&node).await;
    let body = json!({"location": name, "priority": "snapshot", "checksum": made["checksum"]});
    assert_eq!(node.ok(&format!("PUT {SHARD}/snapshots/recover"), body).await, true);
    let back = ids(&node, "c").await;
    assert!(!back.is_empty() && back.len() < all.len() && back.is_subset(&all), "{back:?}");
    let info = node.ok("GET /collections/c", Value::Null).await;
    assert_eq!(info["payload_schema"]["n"]["points"], back.len());
    // What is written afterwards goes to the new copy.
    let point = json!({"id": back.first(), "vector": [1, 1, 1, 1], "payload": {"new": true}});
    node.ok("PUT /collections/c/points?wait=true", json!({"points": [point]})).await;
    assert_eq!(ids(&node, "c").await, back);
    assert_eq!(node.ok(&format!("DELETE {SHARD}/snapshots/{name}"), Value::Null).await, true);
    assert_eq!(node.ok(&format!("GET {SHARD}/snapshots"), Value::Null).await, json!([]));
    assert_eq!(in_tmp(&node), 0);
}

#[tokio::test]
async fn a_stream_of_a_shard_is_a_snapshot_that_is_kept_nowhere() {
    let node = with_shards().await;
    let (tar, named) = download(&node, &format!("{SHARD}/snapshot")).await;
    assert!(named.contains("filename=\"c-shard-1-"), "{named}");
    assert_eq!(node.ok(&format!("GET {SHARD}/snapshots"), Value::Null).await, json!([]));
    assert_eq!(in_tmp(&node), 0, "removed when it was sent");
    wipe(&node).await;
    let digest = hex(&Sha256::digest(&tar));
    let path = format!("{SHARD}/snapshots/upload?wait=true&priority=no_sync&checksum={digest}");
    let (code, answer) = upload(&node, &path, &tar).await;
    assert_eq!((code, &answer["result"]), (200, &json!(true)), "{answer}");
    let back = ids(&node, "c").await;
    assert!(!back.is_empty() && back.len() < 40);
    create(&node, "same", 2).await;
    node.ok("POST /collections/same/points/delete?wait=true", json!({"filter": {}})).await;
    let (code, answer) = upload(&node, "/collections/same/shards/1/snapshots/upload", &tar).await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(ids(&node, "same").await, back);
    let info = node.ok("GET /collections/same", Value::Null).await;
    assert_eq!(info["payload_schema"], json!({}), "indexes are the collection's");
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing() {
    let node = with_shards().await;
    let all = ids(&node, "c").await;
    let (shard, _) = download(&node, &format!("{SHARD}/snapshot")).await;
    let made = node.ok("POST /collections/c/snapshots", Value::Null).await;
    let whole = format!("/collections/c/snapshots/{}", made["name"].as_str().expect("a name"));
    let (whole, _) = download(&node, &whole).await;
    node.ok("PUT /collections/other", json!({"vectors": {"size": 5, "distance": "Dot"}, "shard_number": 2}))
        .await;
    let zeros = "0".repeat(64);
    let digest = hex(&Sha256::digest(&shard));
    for (path, tar, code, text) in [
        ("c/shards/0", &shard[..], 400, "different numbers of shards"),
        ("c/shards/1", &whole[..], 400, "the snapshot holds 2 shards"),
        ("c/shards/1", b"junk", 400, "Malformed tar archive"),
        ("c/shards/1", &shard[..shard.len() / 2], 400, "Bad request"),
        ("other/shards/1", &shard[..], 400, "other vectors than the collection"),
        ("c/shards/7", &shard[..], 404, "Not found: shard 7 not found"),
    ] {
        let (got, answer) = upload(&node, &format!("/collections/{path}/snapshots/upload"), tar).await;
        let error = answer["status"]["error"].as_str().unwrap_or_default();
        assert!(got == code && error.contains(text), "{path}: {got} {answer}");
    }
    let (code, answer) = upload(&node, &format!("{SHARD}/snapshots/upload?checksum={zeros}"), &shard).await;
    let expected = format!("Checksum mismatch: expected {zeros}, actual {digest}");
    assert_eq!((code, answer["status"]["error"].as_str()), (400, Some(&*expected)));
    assert_eq!(ids(&node, "c").await, all);
    assert_eq!(in_tmp(&node), 0);
    let left = folders(&node).into_iter().filter(|f| !["0", "1"].contains(&&**f)).count();
    assert!(left <= 4, "they go in the background");
}

#[tokio::test]
async fn a_recovered_shard_is_found_by_the_next_start_and_what_it_replaced_is_removed() {
    let node = with_shards().await;
    let made = node.ok(&format!("POST {SHARD}/snapshots"), Value::Null).await;
    wipe(&node).await;
    for _ in 0..2 {
        node.ok(&format!("PUT {SHARD}/snapshots/recover"), json!({"location": made["name"]})).await;
    }
    let back = ids(&node, "c").await;
    let TestNode { routes, folder, registry } = node;
    drop((routes, registry));
    // What a kill would have left of the shard that was replaced, and of one that was never finished.
    let collection = std::fs::read_dir(folder.path().join("collections")).expect("a folder").next();
    let shards = collection.expect("a collection").expect("an entry").path().join("shards");
    for name in ["1", "0-6f9619ff8b86d011b42d00cf4fc964ff"] {
        std::fs::create_dir_all(shards.join(name).join("segments")).expect("made");
    }
    let node = TestNode::start_in(folder, |_| {});
    assert_eq!(ids(&node, "c").await, back);
    let found = folders(&node);
    assert!(found.len() == 2 && found[0] == "0" && found[1].starts_with("1-"), "{found:?}");
}

#[tokio::test]
async fn a_snapshot_of_the_storage_holds_one_of_each_collection() {
    let node = with_shards().await;
    create(&node, "dé", 1).await;
    let alias = json!({"create_alias": {"alias_name": "al", "collection_name": "c"}});
    node.ok("POST /collections/aliases", json!({"actions": [alias]})).await;
    let made = node.ok("POST /snapshots", Value::Null).await;
    let name = made["name"].as_str().expect("a name");
    assert!(name.starts_with("full-snapshot-"), "{name}");
    assert_eq!(node.ok("GET /snapshots", Value::Null).await, json!([made]));
    let (tar, _) = download(&node, &format!("/snapshots/{name}")).await;
    assert_eq!(
        (made["size"].clone(), made["checksum"].clone()),
        (json!(tar.len()), json!(hex(&Sha256::digest(&tar))))
    );
    let mut files = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(&tar[..]).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        let name = entry.path().expect("a path").to_string_lossy().into_owned();
        entry.read_to_end(&mut content).expect("read");
        files.insert(name, content);
    }
    let config = files.remove("config.json").expect("there");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["collections_aliases"], json!({"al": "c"}));
    assert_eq!(files.len(), 2);
    for collection in ["c", "dé"] {
        let of_it = config["collections_mapping"][collection].as_str().expect("a name");
        let (code, answer) = upload(&node, "/collections/copy/snapshots/upload", &files[of_it]).await;
        assert_eq!(code, 200, "{answer}");
        assert_eq!(ids(&node, "copy").await.len(), 40);
        let location =
            format!("file://{}/snapshots/c-%2Fstorage/{name}/{of_it}", node.folder.path().display());
        node.ok("PUT /collections/copy/snapshots/recover", json!({ "location": location })).await;
    }
    assert_eq!(node.ok(&format!("DELETE /snapshots/{name}"), Value::Null).await, true);
    assert_eq!(node.ok("GET /snapshots", Value::Null).await, json!([]));
    assert_eq!(in_tmp(&node), 0);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_protocol_s_words() {
    let node = with_shards().await;
    let location = json!({"location": "none.snapshot"}).to_string();
    let zeros = json!({"location": "none.snapshot", "checksum": "0"}).to_string();
    let file = json!({"location": "file:///none.snapshot"}).to_string();
    let ftp = json!({"location": "ftp://a/none.snapshot"}).to_string();
    let up = json!({"location": "../../x.snapshot"}).to_string();
    let no_collection = "Not found: Collection `zz` doesn't exist!";
    let no_shard = "Not found: shard 7 not found";
    let missing = "Not found: Snapshot none.snapshot not found";
    for (call, body, code, text) in [
        ("GET /collections/zz/shards/0/snapshots", "", 404, no_collection),
        ("POST /collections/zz/shards/0/snapshots", "", 404, no_collection),
        ("GET /collections/zz/shards/0/snapshot", "", 404, no_collection),
        ("PUT /collections/zz/shards/0/snapshots/recover", &*location, 404, no_collection),
        ("GET /collections/c/shards/7/snapshots", "", 404, no_shard),
        ("POST /collections/c/shards/7/snapshots", "", 404, no_shard),
        ("GET /collections/c/shards/7/snapshot", "", 404, no_shard),
        ("DELETE /collections/c/shards/7/snapshots/none.snapshot", "", 404, no_shard),
        ("PUT /collections/c/shards/7/snapshots/recover", &location, 404, no_shard),
        ("GET /collections/c/shards/0/snapshots/none.snapshot", "", 404, missing),
        ("DELETE /collections/c/shards/0/snapshots/none.snapshot", "", 404, missing),
        ("PUT /collections/c/shards/0/snapshots/recover", &location, 404, missing),
        (
            "PUT /collections/c/shards/0/snapshots/recover",
            &up,
            404,
            "Not found: Snapshot ../../x.snapshot not found",
        ),
        (
            "PUT /collections/c/shards/0/snapshots/recover",
            &file,
            400,
            "Wrong input: Invalid snapshot URL file:///none.snapshot: URLs with file scheme are not supported",
        ),
        (
            "PUT /collections/c/shards/0/snapshots/recover",
            &ftp,
            400,
            "Wrong input: Invalid snapshot URL ftp://a/none.snapshot: URLs with ftp scheme are not supported",
        ),
        (
            "PUT /collections/c/shards/0/snapshots/recover",
            &zeros,
            422,
            "Validation error in JSON body: [checksum: must be 64 hexadecimal digits, a SHA-256]",
        ),
        (
            "GET /collections/c/shards/a/snapshots",
            "",
            400,
            "Deserialize error in path parameters: can not parse `a` to a u32",
        ),
        ("GET /snapshots/none.snapshot", "", 404, missing),
        ("DELETE /snapshots/none.snapshot", "", 404, missing),
        ("GET /snapshots/..%2F..%2Fetc%2Fpasswd", "", 404, "Not found: Snapshot ../../etc/passwd not found"),
    ] {
        node.check(call, body, (code, text)).await;
    }
}
