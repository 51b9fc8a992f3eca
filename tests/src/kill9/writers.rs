//! The clients that the node is killed under. Each value is written once, in the payload and in the vector, so that a
//! point with an old half and a new half is seen.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use system_tests::harness::{Random, request};

use crate::COLLECTION;
use crate::ledger::{Ledger, State};

pub const DIM: usize = 8;
const POINTS_OF_A_WRITER: u64 = 400;
/// `f32` holds integers exactly below 2^24.
const BASE: u64 = 4096;

fn vector(id: u64, v: u64) -> Value {
    json!([v / BASE, v % BASE, id / BASE, id % BASE, 1, 0, -1, 0.5])
}

/// The state of a stored point, if its vector and payload belong together.
pub fn decode(id: u64, point: &Value) -> anyhow::Result<State> {
    let v = point["payload"]["v"].as_u64().context("a value in the payload")?;
    let read = |value: &Value| -> Vec<f64> {
        value.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    ensure!(read(&point["vector"]) == read(&vector(id, v)), "the vector does not go with the payload");
    let s = match &point["payload"]["s"] {
        Value::Null => None,
        text => Some(text.as_str().context("a text")?.parse()?),
    };
    Ok(State { v, s })
}

/// Points and what they become.
type Changes = Vec<(u64, Option<State>)>;

/// One request and what it changes.
fn next(
    ledger: &Ledger,
    random: &mut Random,
    writer: u64,
    v: u64,
) -> (&'static str, &'static str, Value, Changes) {
    let mut id = || writer * BASE * 2 + random.below(POINTS_OF_A_WRITER);
    let one = id();
    let many: std::collections::BTreeSet<u64> = (0..8).map(|_| id()).collect();
    match (random.below(10), ledger.current(one)) {
        (0, _) => {
            ("POST", "/points/delete", json!({"points": many}), many.iter().map(|id| (*id, None)).collect())
        }
        (1 | 2, Some(state)) => {
            let body = json!({"points": [one], "payload": {"s": v.to_string()}});
            ("POST", "/points/payload", body, vec![(one, Some(State { s: Some(v), ..state }))])
        }
        _ => {
            let points: Vec<Value> = many
                .iter()
                .map(|id| json!({"id": id, "vector": vector(*id, v), "payload": {"v": v}}))
                .collect();
            (
                "PUT",
                "/points",
                json!({"points": points}),
                many.iter().map(|id| (*id, Some(State { v, s: None }))).collect(),
            )
        }
    }
}

/// Writes until the node is gone. An answer that doesn't come leaves its changes open.
pub fn write(port: u16, ledger: &Ledger, writer: u64, round: u64, acks: &AtomicU64, stop: &AtomicBool) {
    let mut random = Random::new(round * 1000 + writer);
    for count in 1.. {
        // Unique over all rounds, and below 2^24 for as long as a test may run.
        let v = (round * 8000 + count) * crate::WRITERS + writer;
        let (method, path, body, changes) = next(ledger, &mut random, writer, v);
        ledger.asked(&changes);
        let wait = if random.below(4) == 0 { "false" } else { "true" };
        match request(port, method, &format!("{COLLECTION}{path}?wait={wait}"), Some(&body)) {
            Ok(answer) if answer.code == 200 => {
                ledger.acknowledged(&changes);
                acks.fetch_add(1, Ordering::Relaxed);
            }
            // Refused or cut off: whether it holds is open, and the next round must not build on it.
            Ok(answer) => {
                println!("{method} {path}: {} {}", answer.code, String::from_utf8_lossy(&answer.body));
                return;
            }
            Err(_) => return,
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Takes snapshots and makes an index anew, over and over, until the node is gone.
pub fn snapshot_and_index(port: u16, round: u64, stop: &AtomicBool) {
    let index = json!({"field_name": "s", "field_schema": "keyword"});
    while !stop.load(Ordering::Relaxed) {
        let done = if round.is_multiple_of(2) {
            request(port, "POST", &format!("{COLLECTION}/snapshots?wait=true"), None)
        } else {
            request(port, "DELETE", &format!("{COLLECTION}/index/s?wait=true"), None)
                .and_then(|_| request(port, "PUT", &format!("{COLLECTION}/index?wait=true"), Some(&index)))
        };
        if done.is_err() {
            return;
        }
    }
}
