//! Answers with many points, printed in one go: payloads are copied as they are, without being read again.
//!
//! The text is what serde would print; a test compares them.

use crate::point::{OrderValue, PointId, RawJson, Record, ScoredPoint, Vectors};
use crate::shard_key::ShardKey;

/// Adds a value that serde prints: numbers, ids, vectors.
fn put(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Numbers and lists always print, and a list of bytes takes everything.
    serde_json::to_writer(out, value).expect("numbers and vectors always print as JSON");
}

fn put_id(out: &mut Vec<u8>, id: &PointId) {
    out.extend_from_slice(b"{\"id\":");
    put(out, id);
}

fn put_rest(
    out: &mut Vec<u8>,
    payload: Option<&RawJson>,
    vector: Option<&Vectors>,
    shard_key: Option<&ShardKey>,
    order_value: Option<OrderValue>,
) {
    if let Some(payload) = payload {
        out.extend_from_slice(b",\"payload\":");
        out.extend_from_slice(payload.get().as_bytes());
    }
    if let Some(vector) = vector {
        out.extend_from_slice(b",\"vector\":");
        put(out, vector);
    }
    if let Some(key) = shard_key {
        out.extend_from_slice(b",\"shard_key\":");
        put(out, key);
    }
    if let Some(value) = order_value {
        out.extend_from_slice(b",\"order_value\":");
        put(out, &value);
    }
    out.push(b'}');
}

/// The list of what a search found.
pub fn scored_points(out: &mut Vec<u8>, points: &[ScoredPoint]) {
    list(out, points, |out, p| {
        put_id(out, &p.id);
        out.extend_from_slice(b",\"version\":");
        put(out, &p.version);
        out.extend_from_slice(b",\"score\":");
        put(out, &p.score);
        put_rest(out, p.payload.as_ref(), p.vector.as_ref(), p.shard_key.as_ref(), p.order_value);
    });
}

/// A list of points as they are stored.
pub fn records(out: &mut Vec<u8>, points: &[Record]) {
    list(out, points, record);
}

/// A point as it is stored.
pub fn record(out: &mut Vec<u8>, point: &Record) {
    put_id(out, &point.id);
    put_rest(out, point.payload.as_ref(), point.vector.as_ref(), point.shard_key.as_ref(), point.order_value);
}

/// A list of anything.
pub fn list<T>(out: &mut Vec<u8>, items: &[T], one: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        one(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Vector;

    #[test]
    fn the_text_is_what_serde_prints() {
        let payloads = [None, Some(RawJson::from_json(r#"{ "a" : [1.0, "\u00e4ß"] }"#))];
        let named = [("a".to_owned(), Vector::Dense(vec![1.5])), ("b\"".to_owned(), Vector::Dense(vec![]))];
        let vectors = [
            None,
            Some(Vectors::Unnamed(Vector::Dense(vec![0.1, -2.0, 3e-9]))),
            Some(Vectors::Named(named.into_iter().collect())),
        ];
        let ids = [PointId::Num(u64::MAX), PointId::Uuid(uuid::Uuid::from_u64_pair(1, 2))];
        let (mut found, mut stored) = (Vec::new(), Vec::new());
        for ((payload, vector), (id, score)) in payloads
            .iter()
            .flat_map(|p| vectors.iter().map(move |v| (p.clone(), v.clone())))
            .zip(ids.iter().cycle().zip([0.1f32, -0.0, 1.0, 1e20, f32::MIN_POSITIVE, 16_777_216.0]))
        {
            let (id, version) = (*id, 7);
            let order_value = match found.len() % 3 {
                0 => None,
                1 => Some(OrderValue::Integer(-7)),
                _ => Some(OrderValue::Float(1.0)),
            };
            let shard_key = match found.len() % 4 {
                0 => Some(ShardKey::Number(7)),
                1 => Some(ShardKey::Keyword("\"k\"".into())),
                _ => None,
            };
            let (p, v, key) = (payload.clone(), vector.clone(), shard_key.clone());
            stored.push(Record { id, payload: p, vector: v, shard_key: key, order_value });
            found.push(ScoredPoint { id, version, score, payload, vector, shard_key, order_value });
        }
        let (mut scored, mut listed) = (Vec::new(), Vec::new());
        scored_points(&mut scored, &found);
        records(&mut listed, &stored);
        assert_eq!(String::from_utf8_lossy(&scored), serde_json::to_string(&found).expect("prints"));
        assert_eq!(String::from_utf8_lossy(&listed), serde_json::to_string(&stored).expect("prints"));
    }
}
