//! What a query may ask for: refused are contradictions, and more than one request should cost.

use quiver_api::query::{Fusion, Prefetch, Query, QueryRequest};
use quiver_api::validate::Invalid;

use super::{LIMIT, fusion};
use crate::error::{ApiError, Result};

/// Prefetches in prefetches that are followed.
const DEPTH_MAX: usize = 64;
/// Prefetches of one request.
const PREFETCHES_MAX: usize = 1024;
/// Points that all prefetches of one request may find together.
const PREFETCHED_MAX: usize = 1_000_000;
/// Examples whose mean is looked for.
const AVERAGED_MAX: usize = 65_536;
/// Examples that every point is compared with.
const EXAMPLES_MAX: usize = 1024;

/// Refuses values out of range; `path` is where the request stands in the body, and ends in a point.
pub fn validate(r: &QueryRequest, path: &str) -> Result<()> {
    let mut invalid = Invalid::new();
    for (i, inner) in r.prefetch.iter().flat_map(|p| &p.0).enumerate() {
        inner.validate(&format!("{path}prefetch[{i}]."), &mut invalid);
    }
    invalid.at_least(&format!("{path}limit"), r.limit, 1);
    if let Some(params) = &r.params {
        params.validate(path, &mut invalid);
    }
    if let Some(filter) = &r.filter {
        filter.validate(&format!("{path}filter"), &mut invalid);
    }
    if let Some(query) = &r.query {
        query.validate(&format!("{path}query"), &mut invalid);
    }
    Ok(invalid.done()?)
}

/// Refuses what costs too much, in a request's outermost stage and all that is inside it. No prefetch finds more than
/// `points`.
pub fn check_cost(stage: &Prefetch, points: usize) -> Result<()> {
    let mut cost = Cost { all: points, prefetches: 0, points: 0 };
    check_examples(stage)?;
    stage.prefetches().iter().try_for_each(|p| cost.add(p, 1))
}

/// Refuses contradictions, in a stage and all that is inside it.
pub fn check(stage: &Prefetch) -> Result<()> {
    check_stage(stage)?;
    stage.prefetches().iter().try_for_each(check)
}

/// What the prefetches of a request add up to.
struct Cost {
    /// Points of the collection.
    all: usize,
    prefetches: usize,
    points: usize,
}

impl Cost {
    fn add(&mut self, p: &Prefetch, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(ApiError::wrong_input(format!(
                "Validation failed: prefetches depth {depth} exceeds max depth {DEPTH_MAX}"
            )));
        }
        self.prefetches += 1;
        self.points = self.points.saturating_add(p.limit.unwrap_or(LIMIT).min(self.all));
        if self.prefetches > PREFETCHES_MAX {
            return Err(ApiError::bad_request(format!("a query has more than {PREFETCHES_MAX} prefetches")));
        }
        if self.points > PREFETCHED_MAX {
            return Err(ApiError::bad_request(format!(
                "the limits of all prefetches of a query add up to more than {PREFETCHED_MAX}"
            )));
        }
        check_examples(p)?;
        p.prefetches().iter().try_for_each(|inner| self.add(inner, depth + 1))
    }
}

fn check_stage(stage: &Prefetch) -> Result<()> {
    let (prefetches, threshold) = (stage.prefetches(), stage.score_threshold.is_some());
    // An empty name is that of the default vector, as none is.
    let using = stage.using.as_ref().is_some_and(|name| !name.is_empty());
    let refuse = |text: &str| Err(ApiError::bad_request(text));
    let without_prefetches = |what: &str| {
        Err(ApiError::wrong_input(format!("Validation failed: cannot apply {what} without prefetches")))
    };
    match &stage.query {
        None if !prefetches.is_empty() => refuse(
            "A query is needed to merge the prefetches. Can't have prefetches without defining a query.",
        ),
        None if threshold => refuse(
            "A query is needed to use the score_threshold. Can't have score_threshold without defining a query.",
        ),
        Some(Query::OrderBy(_)) if threshold => refuse("Can't use score_threshold with an order_by query."),
        Some(Query::Fusion(_)) if using => {
            refuse("Fusion queries cannot be combined with the 'using' field.")
        }
        Some(Query::Fusion(_)) if prefetches.is_empty() => without_prefetches("Fusion"),
        Some(Query::Formula(_)) if prefetches.is_empty() => without_prefetches("Formula"),
        Some(Query::Fusion(Fusion::Rrf { weights, .. })) => {
            fusion::check_weights(weights.as_deref(), prefetches.len())
        }
        _ => Ok(()),
    }
}

fn check_examples(stage: &Prefetch) -> Result<()> {
    use quiver_api::query::Strategy::AverageVector;
    let (count, max) = match &stage.query {
        Some(Query::Recommend(r)) => {
            let count = [&r.positive, &r.negative].into_iter().flatten().map(Vec::len).sum();
            let averaged = r.strategy.unwrap_or_default() == AverageVector;
            (count, if averaged { AVERAGED_MAX } else { EXAMPLES_MAX })
        }
        Some(Query::Discover(d)) => (2 * d.context.len() + 1, EXAMPLES_MAX),
        Some(Query::Context(pairs)) => (2 * pairs.len(), EXAMPLES_MAX),
        Some(Query::Feedback(f)) => (f.feedback.len() + 1, EXAMPLES_MAX),
        _ => (0, EXAMPLES_MAX),
    };
    if count > max {
        return Err(ApiError::bad_request(format!("a query has {count} examples, more than {max}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(stage: Value, points: usize, expected: Option<&str>) {
        let stage: Prefetch = serde_json::from_value(stage).expect("a stage");
        let refused = check_cost(&stage, points).err().map(|e| e.text);
        assert_eq!(refused.as_deref(), expected, "of {points} points");
    }

    #[test]
    fn prefetches_may_find_so_many_points_together_and_no_more() {
        let two = json!({"query": {"fusion": "rrf"}, "prefetch": [{"limit": 900_000}, {"limit": 900_000}]});
        let nested = json!({"prefetch": {"limit": 1, "prefetch": two.clone()}});
        let refused = "Bad request: the limits of all prefetches of a query add up to more than 1000000";
        for stage in [two, nested] {
            check(stage.clone(), usize::MAX, Some(refused));
            check(stage.clone(), 600_000, Some(refused));
            check(stage, 240, None);
        }
        check(json!({"prefetch": {"limit": u64::MAX}}), 1_000_000, None);
    }
}
