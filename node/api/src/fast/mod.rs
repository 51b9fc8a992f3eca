//! Bodies of the frequent requests, read in one pass.
//!
//! What is read here is read exactly as serde reads it. Whatever is unusual (an escape in a key, a number that fills no
//! 64 bits, a field twice, an error) is `None`: the caller then reads the body again with serde, which also knows
//! the text of every error. So nothing here decides what is valid; it only knows the plain cases quickly.

mod scan;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

use self::scan::Scan;
use crate::point::{Payload, PointId, PointStruct, RawJson, Vector, Vectors};
use crate::points::{ParsedUpsert, UpdateMode, UpsertRequest};
use crate::query::{
    NamedQueryVector, Query, QueryBatchRequest, QueryRequest, SearchBatchRequest, SearchRequest,
};

/// A body that is read in one pass where it is plain.
pub trait FastBody: DeserializeOwned {
    /// `None`: read it with serde.
    fn read(body: &[u8]) -> Option<Self>;
}

/// The whole body as one object.
fn whole<T>(body: &[u8], object: impl FnOnce(&mut Scan) -> Option<T>) -> Option<T> {
    let mut scan = Scan::new(std::str::from_utf8(body).ok()?);
    let value = object(&mut scan)?;
    scan.is_at_end().then_some(value)
}

impl FastBody for QueryRequest {
    fn read(body: &[u8]) -> Option<Self> {
        whole(body, query_request)
    }
}

impl FastBody for QueryBatchRequest {
    fn read(body: &[u8]) -> Option<Self> {
        whole(body, |scan| Some(Self { searches: searches(scan, query_request)? }))
    }
}

impl FastBody for SearchRequest {
    fn read(body: &[u8]) -> Option<Self> {
        whole(body, search_request)
    }
}

impl FastBody for SearchBatchRequest {
    fn read(body: &[u8]) -> Option<Self> {
        whole(body, |scan| Some(Self { searches: searches(scan, search_request)? }))
    }
}

impl FastBody for ParsedUpsert {
    fn read(body: &[u8]) -> Option<Self> {
        whole(body, upsert)
    }
}

/// `{"searches": […]}` and nothing else.
fn searches<T>(scan: &mut Scan, one: fn(&mut Scan) -> Option<T>) -> Option<Vec<T>> {
    let mut all = None;
    let mut fields = scan.object()?;
    while let Some(key) = fields.next(scan)? {
        match key {
            "searches" if all.is_none() => all = Some(list(scan, one)?),
            _ => return None,
        }
    }
    all
}

fn list<T>(scan: &mut Scan, one: fn(&mut Scan) -> Option<T>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    let mut items = scan.array()?;
    while items.next(scan)? {
        all.push(one(scan)?);
    }
    Some(all)
}

/// Puts a field where it belongs, read by serde; a field twice is an error that serde explains.
fn field<T: DeserializeOwned>(scan: &mut Scan, into: &mut Option<Option<T>>) -> Option<()> {
    if into.is_some() {
        return None;
    }
    *into = Some(serde_json::from_str(scan.value()?).ok()?);
    Some(())
}

fn query_request(scan: &mut Scan) -> Option<QueryRequest> {
    let mut query = None;
    let (mut prefetch, mut using, mut filter, mut params) = (None, None, None, None);
    let (mut score_threshold, mut limit, mut offset) = (None, None, None);
    let (mut with_vector, mut with_payload, mut lookup_from, mut shard_key) = (None, None, None, None);
    let mut fields = scan.object()?;
    while let Some(key) = fields.next(scan)? {
        match key {
            "query" if query.is_none() => query = Some(nearest(scan)?),
            "prefetch" => field(scan, &mut prefetch)?,
            "using" => field(scan, &mut using)?,
            "filter" => field(scan, &mut filter)?,
            "params" => field(scan, &mut params)?,
            "score_threshold" => field(scan, &mut score_threshold)?,
            "limit" => field(scan, &mut limit)?,
            "offset" => field(scan, &mut offset)?,
            "with_vector" | "with_vectors" => field(scan, &mut with_vector)?,
            "with_payload" => field(scan, &mut with_payload)?,
            "lookup_from" => field(scan, &mut lookup_from)?,
            "shard_key" => field(scan, &mut shard_key)?,
            _ => return None,
        }
    }
    Some(QueryRequest {
        prefetch: prefetch.flatten(),
        query: query.flatten(),
        using: using.flatten(),
        filter: filter.flatten(),
        params: params.flatten(),
        score_threshold: score_threshold.flatten(),
        limit: limit.flatten(),
        offset: offset.flatten(),
        with_vector: with_vector.flatten(),
        with_payload: with_payload.flatten(),
        lookup_from: lookup_from.flatten(),
        shard_key: shard_key.flatten(),
    })
}

/// A vector, bare or as `{"nearest": […]}`; anything else by serde.
fn nearest(scan: &mut Scan) -> Option<Option<Query>> {
    match scan.peek()? {
        b'[' => Some(Some(Query::Vector(Vector::Dense(scan.floats()?)))),
        b'{' => {
            let start = *scan;
            let mut fields = scan.object()?;
            if fields.next(scan)? == Some("nearest") && scan.peek()? == b'[' {
                let vector = scan.floats()?;
                if fields.next(scan)?.is_none() {
                    return Some(Some(Query::Vector(Vector::Dense(vector))));
                }
            }
            *scan = start;
            serde_json::from_str(scan.value()?).ok()
        }
        _ => serde_json::from_str(scan.value()?).ok(),
    }
}

fn search_request(scan: &mut Scan) -> Option<SearchRequest> {
    let mut vector = None;
    let (mut limit, mut filter, mut params, mut offset) = (None, None, None, None);
    let (mut with_payload, mut with_vector, mut score_threshold, mut shard_key) = (None, None, None, None);
    let mut fields = scan.object()?;
    while let Some(key) = fields.next(scan)? {
        match key {
            "vector" if vector.is_none() => vector = Some(named_vector(scan)?),
            "limit" => field(scan, &mut limit)?,
            "filter" => field(scan, &mut filter)?,
            "params" => field(scan, &mut params)?,
            "offset" => field(scan, &mut offset)?,
            "with_payload" => field(scan, &mut with_payload)?,
            "with_vector" | "with_vectors" => field(scan, &mut with_vector)?,
            "score_threshold" => field(scan, &mut score_threshold)?,
            "shard_key" => field(scan, &mut shard_key)?,
            _ => return None,
        }
    }
    Some(SearchRequest {
        vector: vector?,
        limit: limit.flatten()?,
        filter: filter.flatten(),
        params: params.flatten(),
        offset: offset.flatten(),
        with_payload: with_payload.flatten(),
        with_vector: with_vector.flatten(),
        score_threshold: score_threshold.flatten(),
        shard_key: shard_key.flatten(),
    })
}

fn named_vector(scan: &mut Scan) -> Option<NamedQueryVector> {
    match scan.peek()? {
        b'[' => Some(NamedQueryVector { name: String::new(), vector: Vector::Dense(scan.floats()?) }),
        _ => serde_json::from_str(scan.value()?).ok(),
    }
}

/// An upsert as a list of points; the columnar form is left to serde.
fn upsert(scan: &mut Scan) -> Option<ParsedUpsert> {
    let mut points = None;
    let (mut shard_key, mut update_filter, mut update_mode) = (None, None, None);
    let mut fields = scan.object()?;
    while let Some(key) = fields.next(scan)? {
        match key {
            "points" if points.is_none() => points = Some(list(scan, point)?),
            "shard_key" => field(scan, &mut shard_key)?,
            "update_filter" => field(scan, &mut update_filter)?,
            "update_mode" => field::<UpdateMode>(scan, &mut update_mode)?,
            _ => return None,
        }
    }
    Some(ParsedUpsert(Ok(UpsertRequest {
        points: points?,
        shard_key: shard_key.flatten(),
        update_filter: update_filter.flatten(),
        update_mode: update_mode.flatten().unwrap_or_default(),
    })))
}

fn point(scan: &mut Scan) -> Option<PointStruct> {
    let (mut id, mut vector, mut payload) = (None, None, None);
    let mut fields = scan.object()?;
    while let Some(key) = fields.next(scan)? {
        match key {
            "id" if id.is_none() => id = Some(point_id(scan)?),
            "vector" | "vectors" if vector.is_none() => vector = Some(vectors(scan)?),
            "payload" if payload.is_none() => payload = Some(payload_of(scan)?),
            _ => return None,
        }
    }
    Some(PointStruct { id: id?, vector: vector?, payload: payload.unwrap_or_default() })
}

fn point_id(scan: &mut Scan) -> Option<PointId> {
    let text = scan.value()?;
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().ok().map(PointId::Num),
        false => serde_json::from_str(text).ok(),
    }
}

/// The unnamed vector, or a map of named ones.
fn vectors(scan: &mut Scan) -> Option<Vectors> {
    if scan.peek()? == b'[' {
        return Some(Vectors::Unnamed(Vector::Dense(scan.floats()?)));
    }
    let mut named = std::collections::BTreeMap::new();
    let mut fields = scan.object()?;
    while let Some(name) = fields.next(scan)? {
        named.insert(name.to_owned(), Vector::Dense(scan.floats()?));
    }
    Some(Vectors::Named(named))
}

fn payload_of(scan: &mut Scan) -> Option<Payload> {
    let text = scan.value()?;
    match text.as_bytes().first() {
        Some(b'n') => Some(Payload(None)),
        Some(b'{') => {
            let is_empty = text[1..].trim_start_matches([' ', '\n', '\r', '\t']).starts_with('}');
            Some(Payload((!is_empty).then(|| RawJson::from_json(text))))
        }
        _ => None,
    }
}
