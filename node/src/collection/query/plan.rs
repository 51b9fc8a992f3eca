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

/// Refuses what can't be meant; `path` is where the request stands in the body, and ends in a point.
pub fn check(r: &QueryRequest, path: &str) -> Result<()> {
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
    invalid.done()?;
    let mut cost = Cost::default();
    let prefetches = r.prefetch.as_ref().map_or(&[][..], |p| &p.0);
    check_stage(r.query.as_ref(), r.using.is_some(), r.score_threshold.is_some(), prefetches)?;
    prefetches.iter().try_for_each(|p| cost.add(p, 1))
}

/// What the prefetches of a request add up to.
#[derive(Default)]
struct Cost {
    prefetches: usize,
    points: usize,
}

impl Cost {
    fn add(&mut self, p: &Prefetch, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(ApiError::bad_request(format!(
                "prefetches depth {depth} exceeds max depth {DEPTH_MAX}"
            )));
        }
        self.prefetches += 1;
        self.points = self.points.saturating_add(p.limit.unwrap_or(LIMIT));
        if self.prefetches > PREFETCHES_MAX {
            return Err(ApiError::bad_request(format!("a query has more than {PREFETCHES_MAX} prefetches")));
        }
        if self.points > PREFETCHED_MAX {
            return Err(ApiError::bad_request(format!(
                "the limits of all prefetches of a query add up to more than {PREFETCHED_MAX}"
            )));
        }
        check_stage(p.query.as_ref(), p.using.is_some(), p.score_threshold.is_some(), p.prefetches())?;
        p.prefetches().iter().try_for_each(|inner| self.add(inner, depth + 1))
    }
}

fn check_stage(query: Option<&Query>, using: bool, threshold: bool, prefetches: &[Prefetch]) -> Result<()> {
    let refuse = |text: &str| Err(ApiError::bad_request(text));
    let without_prefetches = |what: &str| {
        Err(ApiError::wrong_input(format!("Validation failed: cannot apply {what} without prefetches")))
    };
    match query {
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
        Some(query) => check_examples(query),
        None => Ok(()),
    }
}

fn check_examples(query: &Query) -> Result<()> {
    use quiver_api::query::Strategy::AverageVector;
    let (count, max) = match query {
        Query::Recommend(r) => {
            let count = [&r.positive, &r.negative].into_iter().flatten().map(Vec::len).sum();
            let averaged = r.strategy.unwrap_or_default() == AverageVector;
            (count, if averaged { AVERAGED_MAX } else { EXAMPLES_MAX })
        }
        Query::Discover(d) => (2 * d.context.len() + 1, EXAMPLES_MAX),
        Query::Context(pairs) => (2 * pairs.len(), EXAMPLES_MAX),
        Query::Feedback(f) => (f.feedback.len() + 1, EXAMPLES_MAX),
        _ => (0, EXAMPLES_MAX),
    };
    if count > max {
        return Err(ApiError::bad_request(format!("a query has {count} examples, more than {max}")));
    }
    Ok(())
}
