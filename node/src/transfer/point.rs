//! A point as it travels: its id is read, everything else stays the text it came in.

use quiver_api::point::PointId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A record of a scroll, and a line of a dump.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    pub id: PointId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Of a collection whose shards the user names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_key: Option<Box<RawValue>>,
}

impl Point {
    /// About how many bytes it takes in a request.
    pub fn bytes(&self) -> usize {
        let length = |raw: &Option<Box<RawValue>>| raw.as_ref().map_or(4, |r| r.get().len());
        64 + length(&self.vector) + length(&self.payload)
    }

    /// The point as an upsert takes it. A point without vectors says so with an empty map.
    pub fn to_upsert(&self) -> Upsert<'_> {
        let none = || serde_json::from_str("{}").expect("an empty map is JSON");
        let vector = self.vector.as_deref().unwrap_or_else(none);
        Upsert { id: self.id, vector, payload: self.payload.as_deref() }
    }
}

/// A point in the body of an upsert.
#[derive(Serialize)]
pub struct Upsert<'a> {
    id: PointId,
    vector: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

/// Ids spread evenly over all that were seen, however many those are: every second one is dropped whenever there are too
/// many, and from then on only every second one is taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    ids: Vec<PointId>,
    stride: u64,
    seen: u64,
}

/// Points whose content is compared in the end.
pub const SAMPLE: usize = 1_000;

impl Default for Sample {
    fn default() -> Self {
        Self { ids: Vec::new(), stride: 1, seen: 0 }
    }
}

impl Sample {
    pub fn see(&mut self, id: PointId) {
        if self.seen.is_multiple_of(self.stride) {
            self.ids.push(id);
        }
        self.seen += 1;
        if self.ids.len() > 2 * SAMPLE {
            let mut keep = false;
            self.ids.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// Between [`SAMPLE`] and twice as many, or all if there are fewer.
    pub fn ids(&self) -> &[PointId] {
        &self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seen: u64, expected: (usize, u64)) {
        let mut sample = Sample::default();
        (0..seen).for_each(|n| sample.see(PointId::Num(n)));
        assert_eq!((sample.ids().len(), sample.stride), expected, "of {seen}");
        let even = |pair: &[PointId]| match pair {
            [PointId::Num(a), PointId::Num(b)] => b - a == sample.stride,
            _ => false,
        };
        assert!(sample.ids().windows(2).all(even), "of {seen}");
    }

    #[test]
    fn a_sample_is_spread_evenly_whatever_the_number() {
        check(0, (0, 1));
        check(7, (7, 1));
        check(2_000, (2_000, 1));
        check(2_001, (1_001, 2));
        check(1_000_000, (1_954, 512));
    }

    #[test]
    fn a_point_keeps_the_text_it_came_in() {
        let line = r#"{"id":7,"vector":[0.10,1e0],"payload":{"big":123456789012345678901234567890}}"#;
        let point: Point = serde_json::from_str(line).expect("a point");
        assert_eq!(serde_json::to_string(&point).expect("JSON"), line);
        let bare: Point = serde_json::from_str(r#"{"id":7,"payload":null}"#).expect("a point");
        assert_eq!(serde_json::to_string(&bare.to_upsert()).expect("JSON"), r#"{"id":7,"vector":{}}"#);
    }
}
