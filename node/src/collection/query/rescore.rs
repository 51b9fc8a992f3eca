//! Points that prefetches found, scored by a formula.

use std::collections::HashMap;

use quiver_api::point::{PointId, Record, ScoredPoint, Vectors};
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::query::FormulaQuery;
use quiver_engine::RawPayload;

use super::Asking;
use super::formula::{Formula, Subject};
use crate::error::Result;

impl Asking<'_> {
    /// All points of the lists with what the formula gives them, in no order.
    pub(super) async fn by_formula(
        &self,
        query: FormulaQuery,
        lists: Vec<Vec<ScoredPoint>>,
    ) -> Result<Vec<ScoredPoint>> {
        let formula = Formula::new(query)?;
        let (points, scores) = united(lists);
        let mut records = HashMap::new();
        if formula.reads_payload() {
            let ids: Vec<PointId> = points.iter().map(|p| p.id).collect();
            let vectors = WithVector::Bool(formula.asks_for_vectors());
            let found =
                self.collection.retrieve(ids, WithPayload::Bool(true), vectors, self.deadline).await?;
            records.extend(found.into_iter().map(|r| (r.id, r)));
        }
        let needs_record = formula.reads_payload();
        let work = move |_: &_| {
            let mut scored = Vec::with_capacity(points.len());
            for (point, scores) in points.into_iter().zip(scores) {
                let record = records.get(&point.id);
                if needs_record && record.is_none() {
                    // It was deleted since it was found.
                    continue;
                }
                scored.push(ScoredPoint { score: score(&formula, point.id, &scores, record)?, ..point });
            }
            Ok(scored)
        };
        self.collection.node.pools.search.run("Search", self.deadline, work).await?
    }
}

/// Each point once, with its score in each list.
fn united(lists: Vec<Vec<ScoredPoint>>) -> (Vec<ScoredPoint>, Vec<Vec<Option<f32>>>) {
    let (mut points, mut scores) = (Vec::new(), Vec::new());
    let (mut places, count) = (HashMap::new(), lists.len());
    for (i, list) in lists.into_iter().enumerate() {
        for point in list {
            let place = *places.entry(point.id).or_insert_with(|| {
                scores.push(vec![None; count]);
                scores.len() - 1
            });
            // A point that a prefetch by values found several times has the same score each time.
            scores[place][i] = Some(point.score);
            if place == points.len() {
                points.push(point);
            }
        }
    }
    (points, scores)
}

fn score(formula: &Formula, id: PointId, scores: &[Option<f32>], record: Option<&Record>) -> Result<f32> {
    let payload = record.and_then(|r| r.payload.as_ref()).map_or("", |p| p.get());
    let payload = RawPayload::from_json_bytes(payload.as_bytes()).parse()?;
    let has_vector = |name: &str| match record.and_then(|r| r.vector.as_ref()) {
        Some(Vectors::Unnamed(_)) => name.is_empty(),
        Some(Vectors::Named(all)) => all.contains_key(name),
        None => false,
    };
    formula.score(&Subject { id, scores, payload: &payload, has_vector: &has_vector })
}
