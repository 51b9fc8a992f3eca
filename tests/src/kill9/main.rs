//! kill -9 of a real node, again and again, while it writes, indexes and takes snapshots. A ledger of what was asked and
//! what was acknowledged says what must be there afterwards: nothing acknowledged is lost, nothing is invented.

#![allow(clippy::disallowed_methods)]

mod ledger;
mod writers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use system_tests::harness::{Node, Random, wait_until};

use ledger::{Ledger, State};

const COLLECTION: &str = "/collections/ledger";
const WRITERS: u64 = 4;

/// How many kills: as many as the product is promised with, or QUIVER_KILLS.
fn kills() -> u64 {
    std::env::var("QUIVER_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// Small settings, so that segments are sealed, indexed and merged in the fraction of a second between two kills.
fn create(node: &Node) -> anyhow::Result<()> {
    let body = json!({
        "vectors": {"size": writers::DIM, "distance": "Dot"},
        "shard_number": 2,
        "hnsw_config": {"m": 8, "ef_construct": 32, "full_scan_threshold": 10},
        "quantization_config": {"scalar": {"type": "int8", "always_ram": true}},
        "optimizers_config": {"indexing_threshold": 4, "default_segment_number": 1, "vacuum_min_vector_number": 100, "deleted_threshold": 0.1, "flush_interval_sec": 1},
    });
    node.result("PUT", COLLECTION, Some(&body))?;
    for (field, kind) in [("v", "integer"), ("s", "keyword")] {
        let body = json!({"field_name": field, "field_schema": kind});
        node.result("PUT", &format!("{COLLECTION}/index?wait=true"), Some(&body))?;
    }
    Ok(())
}

/// Every point that the node has.
fn stored(node: &Node) -> anyhow::Result<BTreeMap<u64, State>> {
    let mut found = BTreeMap::new();
    let mut offset = Value::Null;
    loop {
        let mut body = json!({"limit": 1000, "with_vector": true, "with_payload": true});
        if !offset.is_null() {
            body["offset"] = offset;
        }
        let mut page = node.result("POST", &format!("{COLLECTION}/points/scroll"), Some(&body))?;
        for point in page["points"].as_array().context("a list of points")? {
            let id = point["id"].as_u64().context("a numeric id")?;
            let state = writers::decode(id, point).with_context(|| format!("point {id}: {point}"))?;
            ensure!(found.insert(id, state).is_none(), "point {id} is there twice");
        }
        offset = page["next_page_offset"].take();
        if offset.is_null() {
            return Ok(found);
        }
    }
}

/// Counting by an indexed field gives what reading gave: indexes came back with the data.
fn indexes_agree(node: &Node, stored: &BTreeMap<u64, State>) -> anyhow::Result<()> {
    let middle = stored.values().map(|s| s.v).max().unwrap_or(0) / 2;
    let filter = json!({"filter": {"must": [{"key": "v", "range": {"gt": middle}}]}, "exact": true});
    let counted = node.result("POST", &format!("{COLLECTION}/points/count"), Some(&filter))?;
    let want = stored.values().filter(|s| s.v > middle).count();
    ensure!(counted["count"] == json!(want), "{counted} points have v > {middle}, should be {want}");
    Ok(())
}

/// A snapshot that is listed is whole.
fn snapshots_are_whole(node: &Node) -> anyhow::Result<()> {
    let list = node.result("GET", &format!("{COLLECTION}/snapshots"), None)?;
    for made in list.as_array().context("a list of snapshots")? {
        let name = made["name"].as_str().context("a name")?;
        let body = node.request("GET", &format!("{COLLECTION}/snapshots/{name}"), None)?;
        ensure!(
            body.code == 200 && json!(body.body.len()) == made["size"],
            "{made} has {} bytes, code {}",
            body.body.len(),
            body.code
        );
        node.result("DELETE", &format!("{COLLECTION}/snapshots/{name}?wait=true"), None)?;
    }
    Ok(())
}

/// Writes until `until` acknowledgements more have come, then kills the node under the writers.
fn write_and_kill(node: &mut Node, ledger: &Ledger, round: u64, until: u64) -> anyhow::Result<()> {
    let (acks, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let port = node.port;
        for writer in 0..WRITERS {
            let (acks, stop) = (&acks, &stop);
            scope.spawn(move || writers::write(port, ledger, writer, round, acks, stop));
        }
        let stopped = &stop;
        scope.spawn(move || writers::snapshot_and_index(port, round, stopped));
        let waited = wait_until(60, "enough acknowledgements", || {
            Ok((acks.load(Ordering::Relaxed) >= until).then_some(()))
        });
        let killed = node.kill();
        stop.store(true, Ordering::Relaxed);
        waited.and(killed)
    })
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_invented() -> anyhow::Result<()> {
    let seed = std::env::var("QUIVER_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("QUIVER_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir()?;
    let mut node = Node::new(folder.path())?;
    let ledger = Ledger::default();
    node.start()?;
    create(&node)?;
    let mut acknowledged = 0;
    for round in 0..kills() {
        let until = 5 + random.below(150);
        write_and_kill(&mut node, &ledger, round, until).with_context(|| format!("round {round}"))?;
        acknowledged += until;
        node.start().with_context(|| format!("start after kill {round}"))?;
        let found = stored(&node).with_context(|| format!("after kill {round}"))?;
        if let Err(wrong) = ledger.settle(&found) {
            let kept = folder.keep();
            anyhow::bail!("after kill {round}: {wrong}; the node's folder is kept: {}", kept.display());
        }
        indexes_agree(&node, &found).with_context(|| format!("after kill {round}"))?;
        snapshots_are_whole(&node).with_context(|| format!("after kill {round}"))?;
    }
    println!(
        "{} kills, at least {acknowledged} acknowledged requests, {} points at the end",
        kills(),
        ledger.alive()
    );
    Ok(())
}
