//! Quotas: what is set holds, and is still there after the next start.

use quiver_engine::file::{Disk, RealDisk};
use serde_json::json;

use super::tests::TestNode;

#[tokio::test]
async fn a_quota_refuses_what_adds_data_and_nothing_else() {
    let node = TestNode::start();
    assert_eq!(node.ok("GET /quotas", json!({})).await["config"], json!({"enabled": false}));
    node.ok("PUT /collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await;
    let write = "PUT /collections/c/points?wait=true";
    let point = json!({"points": [{"id": 1, "vector": [1, 2]}]});
    node.ok(write, point.clone()).await;
    let tight = json!({"enabled": true, "max_disk_usage_percent": 1, "release_margin_percent": 0});
    node.ok("PUT /quotas", tight.clone()).await;
    let shown = node.ok("GET /quotas", json!({})).await;
    assert_eq!(shown["config"], tight);
    let used = shown["usage"]["disk_usage_percent"].as_u64().expect("a volume has a size");
    assert!(used >= 1, "a volume that holds a system is not empty: {shown}");
    let text = format!("Service internal error: disk usage is {used}%, and the quota of this node is 1%");
    node.check(write, &point.to_string(), (507, &text)).await;
    node.ok("POST /collections/c/points/delete", json!({"points": [1]})).await;
    node.ok("PUT /quotas", json!({"max_disk_usage_percent": 1})).await;
    node.ok(write, point).await;
}

#[tokio::test]
async fn a_quota_is_checked_and_kept() {
    let node = TestNode::start();
    let text =
        "Validation error in JSON body: [max_disk_usage_percent: value 101 invalid, must be from 1 to 100]";
    node.check("PUT /quotas", r#"{"max_disk_usage_percent":101}"#, (422, text)).await;
    node.ok("PUT /quotas", json!({"enabled": true, "max_resident_memory_percent": 90})).await;
    assert!(RealDisk.exists(&node.folder.path().join("quotas.json")), "it is kept");
    let text = "Bad request: Distributed mode disabled";
    let one = r#"{"drop_replica":{"shard_id":0,"peer_id":1}}"#;
    node.check("POST /collections/c/cluster", one, (400, text)).await;
    let text = "Format error in JSON body: data did not match any variant of untagged enum ClusterOperations";
    node.check("POST /collections/c/cluster", r#"{"drop_replica":{"shard_id":0}}"#, (400, text)).await;
}
