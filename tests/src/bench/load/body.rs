//! Bodies of requests. Numbers are printed as clients print them: as the `f64` that a float of 32 bits is.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::npy::Matrix;

/// A vector as text.
pub fn vector(into: &mut String, numbers: &[f32]) {
    into.push('[');
    for (i, n) in numbers.iter().enumerate() {
        if i > 0 {
            into.push(',');
        }
        // Writing to a string can't fail.
        let _ = write!(into, "{}", f64::from(*n));
    }
    into.push(']');
}

/// What all queries of a command say beside their vectors.
pub struct Ask<'a> {
    pub endpoint: &'a str,
    pub limit: u64,
    pub ef: Option<u64>,
    pub with_payload: bool,
    pub using: Option<&'a str>,
    pub more: &'a Value,
}

/// One query.
pub fn query(ask: &Ask, numbers: &[f32], filter: Option<&Value>) -> String {
    let mut body = String::from(if ask.endpoint == "search" { "{\"vector\":" } else { "{\"query\":" });
    vector(&mut body, numbers);
    let mut rest = json!({"limit": ask.limit});
    if let Some(ef) = ask.ef {
        rest["params"] = json!({"hnsw_ef": ef});
    }
    if ask.with_payload {
        rest["with_payload"] = true.into();
    }
    if let Some(using) = ask.using {
        rest["using"] = using.into();
    }
    if let Some(filter) = filter {
        rest["filter"] = filter.clone();
    }
    for (key, value) in ask.more.as_object().into_iter().flatten() {
        rest[key] = value.clone();
    }
    let rest = rest.to_string();
    body.push(',');
    body.push_str(&rest[1..]);
    body
}

/// Several queries in one request.
pub fn batch(queries: &[String]) -> String {
    format!("{{\"searches\":[{}]}}", queries.join(","))
}

/// An upsert of some rows, whose ids are their numbers.
pub fn upsert(vectors: &Matrix, rows: std::ops::Range<usize>, payloads: Option<&[String]>) -> Result<String> {
    let mut body = String::with_capacity((rows.end - rows.start) * vectors.columns * 20);
    body.push_str("{\"points\":[");
    for row in rows.clone() {
        if row > rows.start {
            body.push(',');
        }
        let _ = write!(body, "{{\"id\":{row},\"vector\":");
        vector(&mut body, &vectors.row(row)?);
        if let Some(payloads) = payloads {
            let _ = write!(body, ",\"payload\":{}", payloads[row]);
        }
        body.push('}');
    }
    body.push_str("]}");
    Ok(body)
}

/// The first lines of a file, each a payload.
pub fn payloads(path: &Path, count: usize) -> Result<Vec<String>> {
    let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    Ok(BufReader::new(file).lines().take(count).collect::<std::io::Result<_>>()?)
}
