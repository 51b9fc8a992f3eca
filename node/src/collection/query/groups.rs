//! Answers in groups of points that have a payload value in common.
//!
//! What would be answered without groups is asked for in growing numbers until the groups are full. If one value has so
//! many points that this takes too long, full groups are left out of what is asked next, so that others show up.

use std::collections::HashMap;

use quiver_api::filter::{Condition, Conditions, FieldCondition, Filter, Match, PayloadField, Scalars};
use quiver_api::point::{PointId, ScoredPoint};
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::query::{GroupId, LookupRecords, PointGroup, Prefetch, QueryGroupsRequest};
use quiver_api::validate::Invalid;
use quiver_engine::RawPayload;
use quiver_engine::json_path::{JsonPath, Step};
use serde_json::Value;

use super::{Asking, Shown, both, other, plan, stage_of};
use crate::collection::convert;
use crate::error::Result;

/// Points of a group, unless the request says otherwise.
pub const GROUP_SIZE: usize = 3;
/// Groups, unless the request says otherwise.
pub const GROUPS: usize = 10;
/// So many times the points that would fill the groups are asked for, one number after the other.
const GROWTH: [usize; 3] = [2, 8, 32];
/// Points that are asked for at most at once.
const POINTS_MAX: usize = 100_000;
/// Further questions that leave out what is known, each for so many times the points of the one before.
const FURTHER: usize = 6;
const FURTHER_GROWTH: usize = 4;

/// Refuses values out of range.
pub fn validate(r: &QueryGroupsRequest, path: &str) -> Result<()> {
    let mut invalid = Invalid::new();
    invalid.at_least(&format!("{path}group_size"), r.group_size, 1);
    invalid.at_least(&format!("{path}limit"), r.limit, 1);
    invalid.done()?;
    convert::path(&r.group_by)?;
    plan::validate(&r.query(), path)
}

impl Asking<'_> {
    /// The groups with the best points, best first.
    pub async fn groups(&self, r: QueryGroupsRequest) -> Result<Vec<PointGroup>> {
        let key = convert::path(&r.group_by)?;
        if let Some(lookup) = &r.lookup_from {
            other(self.registry, &lookup.collection)?;
        }
        let size = r.group_size.unwrap_or(GROUP_SIZE);
        let mut groups =
            Groups { limit: r.limit.unwrap_or(GROUPS), size, order: Vec::new(), hits: HashMap::new() };
        let (stage, mut shown) = stage_of(r.query());
        let mut stage = self.outermost(stage).await?;
        // Prefetches that would be enough for one list are to be enough for all groups.
        widen(&mut stage, size);
        stage.filter = both(stage.filter, Some(has_value(&r.group_by)));
        let wanted = groups.limit.saturating_mul(size);
        let numbers = GROWTH.map(|times| wanted.saturating_mul(times).min(POINTS_MAX));
        let mut asked = 0;
        for count in numbers.into_iter().filter(|count| std::mem::replace(&mut asked, *count) != *count) {
            let found = self.round(&stage, count, &key).await?;
            groups = Groups { order: Vec::new(), hits: HashMap::new(), ..groups };
            let all = found.len() < count;
            groups.add(found, &key)?;
            if all || groups.are_full() {
                return self.shown_groups(groups, r.with_lookup, &mut shown).await;
            }
        }
        let mut count = numbers[0];
        for _ in 0..FURTHER {
            let mut further = stage.clone();
            further.filter = both(further.filter, groups.left(&r.group_by));
            let found = self.round(&further, count, &key).await?;
            let all = found.len() < count;
            groups.add(found, &key)?;
            if all || groups.are_full() {
                break;
            }
            // Points whose values name no group come again: others are behind them.
            count = count.saturating_mul(FURTHER_GROWTH).min(POINTS_MAX);
        }
        self.shown_groups(groups, r.with_lookup, &mut shown).await
    }

    async fn round(&self, stage: &Prefetch, count: usize, key: &JsonPath) -> Result<Vec<ScoredPoint>> {
        // A part of an array can't be shown by itself.
        let whole = key.steps().iter().any(|step| matches!(step, Step::Index(_)));
        let payload = match whole {
            true => WithPayload::Bool(true),
            false => WithPayload::Fields(vec![key.as_str().to_owned()]),
        };
        let shown = Shown { payload, ..Shown::nothing() };
        self.answer(Prefetch { limit: Some(count), ..stage.clone() }, None, shown).await
    }

    async fn shown_groups(
        &self,
        groups: Groups,
        lookup: Option<LookupRecords>,
        shown: &mut Shown,
    ) -> Result<Vec<PointGroup>> {
        let mut made = groups.made();
        let mut hits: Vec<ScoredPoint> = made.iter().flat_map(|g| g.hits.iter().cloned()).collect();
        hits.sort_by_key(|p| p.id);
        hits.dedup_by_key(|p| p.id);
        let whole: HashMap<PointId, ScoredPoint> =
            self.show(hits, shown).await?.into_iter().map(|p| (p.id, p)).collect();
        for group in &mut made {
            let show = |hit: ScoredPoint| {
                let shown = whole.get(&hit.id)?.clone();
                Some(ScoredPoint { payload: shown.payload, vector: shown.vector, ..hit })
            };
            group.hits = std::mem::take(&mut group.hits).into_iter().filter_map(show).collect();
        }
        if let Some(lookup) = lookup {
            self.look_up(&mut made, lookup).await?;
        }
        Ok(made)
    }

    /// Puts the point beside each group whose id it has.
    async fn look_up(&self, groups: &mut [PointGroup], lookup: LookupRecords) -> Result<()> {
        let (name, payload, vectors) = match lookup {
            LookupRecords::Collection(name) => (name, Some(WithPayload::Bool(true)), None),
            LookupRecords::Parts { collection, with_payload, with_vectors } => {
                (collection, with_payload, with_vectors)
            }
        };
        let other = other(self.registry, &name)?;
        let (payload, vectors) =
            (payload.unwrap_or(WithPayload::Bool(false)), vectors.unwrap_or(WithVector::Bool(false)));
        let ids: Vec<PointId> = groups.iter().filter_map(|g| point_id(&g.id)).collect();
        let found = other.retrieve(ids, payload, vectors, self.deadline).await?;
        let mut found: HashMap<PointId, _> = found.into_iter().map(|r| (r.id, r)).collect();
        for group in groups {
            group.lookup = point_id(&group.id).and_then(|id| found.remove(&id));
        }
        Ok(())
    }
}

fn point_id(id: &GroupId) -> Option<PointId> {
    match id {
        GroupId::Text(text) => uuid::Uuid::try_parse(text).ok().map(PointId::Uuid),
        GroupId::Unsigned(n) => Some(PointId::Num(*n)),
        GroupId::Integer(n) => u64::try_from(*n).ok().map(PointId::Num),
    }
}

fn widen(stage: &mut Prefetch, times: usize) {
    for inner in stage.prefetch.iter_mut().flat_map(|p| &mut p.0) {
        inner.limit = Some(inner.limit.unwrap_or(super::LIMIT).saturating_mul(times).min(POINTS_MAX));
        widen(inner, times);
    }
}

fn has_value(key: &str) -> Filter {
    let empty = Condition::IsEmpty { is_empty: PayloadField { key: key.to_owned() } };
    Filter { must_not: Some(Conditions(vec![empty])), ..Filter::default() }
}

/// Groups as they are found; those with the better points come first.
struct Groups {
    limit: usize,
    size: usize,
    order: Vec<GroupId>,
    hits: HashMap<GroupId, Vec<ScoredPoint>>,
}

impl Groups {
    /// Adds points, best first.
    fn add(&mut self, points: Vec<ScoredPoint>, key: &JsonPath) -> Result<()> {
        for mut point in points {
            let payload = point.payload.take();
            let payload = payload.as_ref().map_or("", |p| p.get());
            let payload = RawPayload::from_json_bytes(payload.as_bytes()).parse()?;
            for id in ids_of(&key.values(&payload)) {
                let hits = self.hits.entry(id.clone()).or_default();
                if hits.is_empty() {
                    self.order.push(id);
                }
                if hits.len() < self.size && hits.iter().all(|hit| hit.id != point.id) {
                    hits.push(point.clone());
                }
            }
        }
        Ok(())
    }

    fn is_full(&self, id: &GroupId) -> bool {
        self.hits.get(id).is_some_and(|hits| hits.len() >= self.size)
    }

    fn are_full(&self) -> bool {
        self.order.len() >= self.limit && self.order.iter().take(self.limit).all(|id| self.is_full(id))
    }

    /// What is still worth asking for: the groups that are not full, or others than those that are.
    fn left(&self, key: &str) -> Option<Filter> {
        let enough = self.order.len() >= self.limit;
        let ids = self.order.iter().take(self.limit).filter(|id| self.is_full(id) != enough);
        let values = Some(Conditions(matching(key, ids)));
        Some(match enough {
            true => Filter { should: values, ..Filter::default() },
            false => Filter { must_not: values, ..Filter::default() },
        })
    }

    fn made(mut self) -> Vec<PointGroup> {
        let first = self.order.iter().take(self.limit);
        first
            .map(|id| PointGroup {
                hits: self.hits.remove(id).unwrap_or_default(),
                id: id.clone(),
                lookup: None,
            })
            .collect()
    }
}

/// The groups of a point. One value that can't name a group keeps the point out of all, as the protocol has it.
fn ids_of(values: &[&Value]) -> Vec<GroupId> {
    let mut ids = Vec::with_capacity(values.len());
    for value in values {
        let id = match value {
            Value::String(text) => GroupId::Text(text.clone()),
            Value::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => GroupId::Unsigned(n),
                (None, Some(n)) => GroupId::Integer(n),
                (None, None) => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// Conditions of which one holds for every point that has one of the values.
fn matching<'a>(key: &str, ids: impl Iterator<Item = &'a GroupId>) -> Vec<Condition> {
    let (mut texts, mut integers) = (Vec::new(), Vec::new());
    for id in ids {
        match id {
            GroupId::Text(text) => texts.push(text.clone()),
            GroupId::Integer(n) => integers.push(*n),
            GroupId::Unsigned(n) => integers.extend(i64::try_from(*n)),
        }
    }
    let any = |scalars| {
        let matches = Some(Match::Any(scalars));
        Condition::Field(Box::new(FieldCondition {
            key: key.to_owned(),
            matches,
            ..FieldCondition::default()
        }))
    };
    let texts = (!texts.is_empty()).then(|| any(Scalars::Keywords(texts)));
    let integers = (!integers.is_empty()).then(|| any(Scalars::Integers(integers)));
    texts.into_iter().chain(integers).collect()
}

#[cfg(test)]
mod tests {
    use quiver_api::point::RawJson;
    use serde_json::json;

    use super::*;

    fn point(n: u64, payload: &Value) -> ScoredPoint {
        let payload = Some(RawJson::from_json(payload.to_string()));
        ScoredPoint {
            id: PointId::Num(n),
            version: 1,
            score: 1.0 / (n + 1) as f32,
            payload,
            vector: None,
            shard_key: None,
            order_value: None,
        }
    }

    fn check(payloads: &[Value], limit: usize, size: usize, expected: &Value) {
        let key = JsonPath::parse("k").expect("a path");
        let mut groups = Groups { limit, size, order: Vec::new(), hits: HashMap::new() };
        let points = payloads.iter().enumerate().map(|(n, p)| point(n as u64, p)).collect();
        groups.add(points, &key).expect("payloads");
        let shown = |g: &PointGroup| json!([g.id, g.hits.iter().map(|p| p.id).collect::<Vec<_>>()]);
        let made: Vec<Value> = groups.made().iter().map(shown).collect();
        assert_eq!(json!(made), *expected, "{payloads:?}");
    }

    #[test]
    fn groups_come_in_the_order_of_their_best_points() {
        let payloads = ["a", "b", "a", "c", "b", "a"].map(|k| json!({"k": k}));
        check(&payloads, 2, 2, &json!([["a", [0, 2]], ["b", [1, 4]]]));
        check(&payloads, 9, 9, &json!([["a", [0, 2, 5]], ["b", [1, 4]], ["c", [3]]]));
    }

    #[test]
    fn only_strings_and_integers_name_groups() {
        let payloads =
            [json!({"k": [1, "1", 1]}), json!({"k": -1}), json!({"k": 1.5}), json!({"k": true}), json!({})];
        check(&payloads, 9, 9, &json!([[1, [0]], ["1", [0]], [-1, [1]]]));
        check(&[json!({"k": [1, null]}), json!({"k": u64::MAX})], 9, 9, &json!([[u64::MAX, [1]]]));
    }

    #[test]
    fn what_is_left_are_groups_with_room_or_others_than_the_full_ones() {
        let key = JsonPath::parse("k").expect("a path");
        let mut groups = Groups { limit: 3, size: 1, order: Vec::new(), hits: HashMap::new() };
        groups.add(vec![point(0, &json!({"k": "a"})), point(1, &json!({"k": 7}))], &key).expect("payloads");
        let others =
            json!({"must_not": [{"key": "k", "match": {"any": ["a"]}}, {"key": "k", "match": {"any": [7]}}]});
        assert_eq!(serde_json::to_value(groups.left("k")).expect("prints"), others);
        groups.limit = 2;
        assert!(groups.are_full());
        groups.size = 2;
        let room =
            json!({"should": [{"key": "k", "match": {"any": ["a"]}}, {"key": "k", "match": {"any": [7]}}]});
        assert_eq!(serde_json::to_value(groups.left("k")).expect("prints"), room);
    }
}
