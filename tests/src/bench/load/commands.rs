//! What can be asked: query, upsert, send.
//!
//! All of them take `server`, `connections` (1), `keep_alive` (true), `count`, `seconds` (3600), `pid` and `api_key`, and
//! answer `{requests, wall_s, rps, p50_us, p95_us, p99_us, max_us, cpu_s, cpu_us}`.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::body::{self, Ask};
use super::http::{address, request};
use super::npy::Matrix;
use super::run::{Load, Outcome, run as send_all};

/// Does what one command says.
pub fn run(command: &Value) -> Result<Value> {
    match text(command, "do")? {
        "query" => query(command),
        "upsert" => upsert(command),
        "send" => send(command),
        other => bail!("no command {other}"),
    }
}

fn text<'a>(command: &'a Value, key: &str) -> Result<&'a str> {
    command[key].as_str().with_context(|| format!("{key}: a text"))
}

fn number(command: &Value, key: &str) -> Option<usize> {
    command[key].as_u64().and_then(|n| usize::try_from(n).ok())
}

/// Sends requests as the command says; `count` of them unless it names another number.
fn send_as(command: &Value, requests: &[Vec<u8>], count: usize, keep: bool) -> Result<Outcome> {
    send_all(&Load {
        server: address(text(command, "server")?)?,
        requests,
        connections: number(command, "connections").unwrap_or(1),
        keep_alive: command["keep_alive"].as_bool().unwrap_or(true),
        count: number(command, "count").unwrap_or(count),
        seconds: command["seconds"].as_f64().unwrap_or(3600.0),
        pid: command["pid"].as_u64(),
        keep,
    })
}

fn head(command: &Value, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let keep_alive = command["keep_alive"].as_bool().unwrap_or(true);
    request(method, path, body, keep_alive, command["api_key"].as_str())
}

/// `{collection, queries: .npy, rows?, k, ef?, payload?, filters?, filter_of?, endpoint?, batch?, using?, more?}`; the
/// answer has `ids` as well: those of each query that was sent.
fn query(command: &Value) -> Result<Value> {
    let queries = Matrix::open(Path::new(text(command, "queries")?))?;
    let rows = number(command, "rows").unwrap_or(queries.rows).min(queries.rows);
    let endpoint = command["endpoint"].as_str().unwrap_or("query");
    let ask = Ask {
        endpoint,
        limit: command["k"].as_u64().unwrap_or(10),
        ef: command["ef"].as_u64(),
        with_payload: command["payload"].as_bool().unwrap_or(false),
        using: command["using"].as_str(),
        more: &command["more"],
    };
    let filters = command["filters"].as_array();
    let filter = |i: usize| {
        let number = command["filter_of"][i].as_u64().unwrap_or(0) as usize;
        filters.and_then(|f| f.get(number)).filter(|f| !f.is_null())
    };
    let body = |i: usize| Ok(body::query(&ask, &queries.row(i)?, filter(i)));
    let bodies: Vec<String> = (0..rows).map(body).collect::<Result<_>>()?;
    let path = format!("/collections/{}/points/{endpoint}", text(command, "collection")?);
    let batch = number(command, "batch").unwrap_or(1);
    let requests: Vec<Vec<u8>> = match batch {
        1 => bodies.iter().map(|b| head(command, "POST", &path, b.as_bytes())).collect(),
        n => {
            let path = format!("{path}/batch");
            bodies.chunks(n).map(|b| head(command, "POST", &path, body::batch(b).as_bytes())).collect()
        }
    };
    let mut outcome = send_as(command, &requests, requests.len(), true)?;
    let mut ids = Vec::new();
    for (answer, asked) in outcome.answers.iter().zip(bodies.chunks(batch)) {
        match answer {
            None => ids.extend(asked.iter().map(|_| Value::Null)),
            Some(bytes) => ids.extend(hits(bytes, batch > 1)?),
        }
    }
    outcome.summary["ids"] = ids.into();
    Ok(outcome.summary)
}

/// The ids of each query of an answer.
fn hits(answer: &[u8], batch: bool) -> Result<Vec<Value>> {
    let answer: Value = serde_json::from_slice(answer).context("an answer")?;
    let result = &answer["result"];
    let one = |of: &Value| -> Value {
        let points = of.get("points").unwrap_or(of);
        points.as_array().into_iter().flatten().map(|p| p["id"].clone()).collect()
    };
    Ok(match result.as_array().filter(|_| batch) {
        Some(all) => all.iter().map(one).collect(),
        None => vec![one(result)],
    })
}

/// `{collection, vectors: .npy, rows: [a, b], payload?: .jsonl, batch, wait?}`; every row is sent once. The answer has
/// `points_s` as well.
fn upsert(command: &Value) -> Result<Value> {
    let vectors = Matrix::open(Path::new(text(command, "vectors")?))?;
    let bound = |i: usize| command["rows"][i].as_u64().map(|n| n as usize);
    let (from, to) = (bound(0).unwrap_or(0), bound(1).unwrap_or(vectors.rows).min(vectors.rows));
    ensure!(from < to, "no rows");
    let payloads = command["payload"].as_str().map(|p| body::payloads(Path::new(p), to)).transpose()?;
    let wait = command["wait"].as_bool().unwrap_or(true);
    let path = format!("/collections/{}/points?wait={wait}", text(command, "collection")?);
    let batch = number(command, "batch").unwrap_or(100).max(1);
    let starts: Vec<usize> = (from..to).step_by(batch).collect();
    let make = |start: &usize| {
        let body = body::upsert(&vectors, *start..(start + batch).min(to), payloads.as_deref())?;
        Ok(head(command, "PUT", &path, body.as_bytes()))
    };
    let requests: Vec<Vec<u8>> = starts.iter().map(make).collect::<Result<_>>()?;
    let mut outcome = send_as(command, &requests, requests.len(), false)?;
    let sent = outcome.summary["requests"].as_u64().unwrap_or(0) as usize * batch;
    let wall = outcome.summary["wall_s"].as_f64().unwrap_or(f64::INFINITY);
    outcome.summary["points_s"] = (sent.min(to - from) as f64 / wall).into();
    Ok(outcome.summary)
}

/// `{requests: [[method, path, body?], …]}`; the answer has `last` as well, the last of the answers.
fn send(command: &Value) -> Result<Value> {
    let list = command["requests"].as_array().context("requests: a list")?;
    let one = |r: &Value| -> Result<Vec<u8>> {
        let part =
            |i: usize| r[i].as_str().with_context(|| format!("a request is [method, path, body?]: {r}"));
        let body = if r[2].is_null() { String::new() } else { r[2].to_string() };
        Ok(head(command, part(0)?, part(1)?, body.as_bytes()))
    };
    let requests = list.iter().map(one).collect::<Result<Vec<_>>>()?;
    let mut outcome = send_as(command, &requests, requests.len(), true)?;
    let last = outcome.answers.iter().rev().flatten().next();
    outcome.summary["last"] = match last {
        Some(bytes) => serde_json::from_slice(bytes).unwrap_or(json!(null)),
        None => json!(null),
    };
    Ok(outcome.summary)
}
