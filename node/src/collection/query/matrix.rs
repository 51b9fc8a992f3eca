//! How near points are to each other: some are drawn, and each is searched for among the others.

use quiver_api::filter::{Condition, Conditions, Filter};
use quiver_api::point::{PointId, Record, ScoredPoint, Vector, Vectors};
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::query::MatrixRequest;
use quiver_api::shard_call::{ShardQuery, ShardSearch};
use quiver_api::validate::Invalid;

use super::{Asking, Shown, among, both};
use crate::error::{ApiError, Result};

/// Points that are drawn, unless the request says otherwise.
pub const SAMPLE: usize = 10;
/// Points that may be drawn; the work is that for each pair of them.
const SAMPLE_MAX: usize = 4096;
/// Others that are answered for each.
pub const LIMIT: usize = 3;
/// Points that are searched for together: each search carries all ids.
const AT_ONCE: usize = 64;

/// Refuses numbers that are out of range.
pub fn check(r: &MatrixRequest, path: &str) -> Result<()> {
    let mut invalid = Invalid::new();
    invalid.at_least(&format!("{path}sample"), r.sample, 2);
    invalid.at_least(&format!("{path}limit"), r.limit, 1);
    if let Some(filter) = &r.filter {
        filter.validate(&format!("{path}filter"), &mut invalid);
    }
    Ok(invalid.done()?)
}

impl Asking<'_> {
    /// The points that were drawn, in the order of their ids, and for each the nearest of the others.
    pub async fn matrix(&self, r: MatrixRequest) -> Result<(Vec<PointId>, Vec<Vec<ScoredPoint>>)> {
        let (sample, limit) = (r.sample.unwrap_or(SAMPLE), r.limit.unwrap_or(LIMIT));
        let using = r.using.unwrap_or_default();
        self.collection.distance(&using)?;
        let has_vector = Conditions(vec![Condition::HasVector { has_vector: using.clone() }]);
        let filter = both(r.filter, Some(Filter { must: Some(has_vector), ..Filter::default() }));
        let with = (WithPayload::Bool(false), WithVector::Names(vec![using.clone()]));
        let most = sample.min(SAMPLE_MAX + 1);
        let drawn = self.collection.sample(self.seed, filter, most, with, self.deadline).await?;
        if drawn.len() > SAMPLE_MAX {
            return Err(ApiError::bad_request(format!("a sample has more than {SAMPLE_MAX} points")));
        }
        let mut drawn: Vec<(PointId, Vector)> =
            drawn.into_iter().filter_map(|r| vector_of(r, &using)).collect();
        if drawn.len() < 2 {
            return Ok((Vec::new(), Vec::new()));
        }
        drawn.sort_by_key(|(id, _)| *id);
        let ids: Vec<PointId> = drawn.iter().map(|(id, _)| *id).collect();
        let limit = limit.min(ids.len() - 1);
        let mut rows = Vec::with_capacity(ids.len());
        for part in drawn.chunks(AT_ONCE) {
            let shown = Shown::nothing();
            let search = |(_, vector): &(PointId, Vector)| ShardSearch {
                using: using.clone(),
                query: ShardQuery::Nearest(vector.clone()),
                filter: Some(among(ids.clone())),
                params: quiver_api::query::SearchParams { exact: true, ..Default::default() },
                // One more: the point finds itself.
                limit: limit + 1,
                score_threshold: None,
                payload: shown.payload.clone(),
                vectors: shown.vectors.clone(),
            };
            let searches = part.iter().map(|point| (search(point), 0)).collect();
            let found = self.collection.search(searches, self.deadline).await?;
            for ((id, _), mut row) in part.iter().zip(found) {
                row.retain(|hit| hit.id != *id);
                row.truncate(limit);
                rows.push(row);
            }
        }
        Ok((ids, rows))
    }
}

fn vector_of(record: Record, using: &str) -> Option<(PointId, Vector)> {
    let vector = match record.vector? {
        Vectors::Unnamed(vector) => vector,
        Vectors::Named(mut all) => all.remove(using)?,
    };
    Some((record.id, vector))
}
