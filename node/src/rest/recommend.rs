//! The older calls for recommendations and discoveries: universal queries with another body and another envelope.

use axum::extract::{Path, State};
use axum::response::Response;
use quiver_api::point::ScoredPoint;
use quiver_api::print;
use quiver_api::query::{
    DiscoverBatchRequest, DiscoverRequest, QueryRequest, RecommendBatchRequest, RecommendRequest, Strategy,
};

use super::AppState;
use super::extract::{Body, Options, Started};
use super::query::{answer, answer_all};
use crate::collection::query::{other, plan};
use crate::collection::strict::Asked;
use crate::error::{ApiError, Result};

/// A request as a query. Without an example there is nothing to recommend; here that is no matter of the body's form, as it is
/// in a query, and told after all else that is wrong.
struct Older {
    query: QueryRequest,
    wrong: Option<ApiError>,
}

impl Older {
    fn discover(r: DiscoverRequest) -> Self {
        let query = r.into_query();
        let wrong = || ApiError::bad_request("Neither a target nor a context is given");
        Self { wrong: query.query.is_none().then(wrong), query }
    }

    fn recommend(r: RecommendRequest) -> Self {
        let is_empty = [&r.positive, &r.negative].into_iter().flatten().all(Vec::is_empty);
        let wanted = match r.strategy.unwrap_or_default() {
            Strategy::AverageVector => "positive",
            Strategy::BestScore | Strategy::SumScores => "positive or negative",
        };
        let query = QueryRequest::from(r);
        if !is_empty {
            return Self { query, wrong: None };
        }
        let text = format!("At least one {wanted} vector ID required with this strategy");
        Self { query: QueryRequest { query: None, ..query }, wrong: Some(ApiError::bad_request(text)) }
    }
}

/// A collection that examples are looked up in has to exist, even if no example is an id.
fn check_lookup(state: &AppState, query: &QueryRequest) -> Result<()> {
    query.lookup_from.as_ref().map_or(Ok(()), |l| other(&state.registry, &l.collection).map(drop))
}

async fn one(
    state: &AppState,
    name: &str,
    options: &Options,
    Older { query, wrong }: Older,
    path: &str,
) -> Result<Vec<ScoredPoint>> {
    plan::validate(&query, path)?;
    options.access.check_query(&query)?;
    let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
    check_lookup(state, &query)?;
    wrong.map_or(Ok(()), Err)?;
    collection.check_read(options.timeout, deadline, || Asked::query(&query)).await?;
    answer(state, &collection, query, deadline).await
}

async fn all(
    state: &AppState,
    name: &str,
    options: &Options,
    requests: Vec<Older>,
    path: &str,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let (queries, wrong): (Vec<_>, Vec<_>) = requests.into_iter().map(|r| (r.query, r.wrong)).unzip();
    for (i, query) in queries.iter().enumerate() {
        plan::validate(query, &format!("searches[{i}].{path}"))?;
        options.access.check_query(query)?;
    }
    let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
    queries.iter().try_for_each(|query| check_lookup(state, query))?;
    wrong.into_iter().flatten().next().map_or(Ok(()), Err)?;
    let asked = || queries.iter().flat_map(Asked::query).collect();
    collection.check_reads(options.timeout, deadline, queries.len(), asked).await?;
    answer_all(state, &collection, queries, deadline).await
}

pub async fn recommend(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<RecommendRequest>,
) -> Response {
    let found = one(&state, &name, &options, Older::recommend(body), "recommend_request.").await;
    at.answer_printed(found, |out, points| print::scored_points(out, points))
}

pub async fn recommend_batch(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<RecommendBatchRequest>,
) -> Response {
    let queries = body.searches.into_iter().map(Older::recommend).collect();
    let found = all(&state, &name, &options, queries, "recommend_request.").await;
    at.answer_printed(found, |out, all| print::list(out, all, |out, p| print::scored_points(out, p)))
}

pub async fn discover(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<DiscoverRequest>,
) -> Response {
    let found = one(&state, &name, &options, Older::discover(body), "discover_request.").await;
    at.answer_printed(found, |out, points| print::scored_points(out, points))
}

pub async fn discover_batch(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<DiscoverBatchRequest>,
) -> Response {
    let queries = body.searches.into_iter().map(Older::discover).collect();
    let found = all(&state, &name, &options, queries, "discover_request.").await;
    at.answer_printed(found, |out, all| print::list(out, all, |out, p| print::scored_points(out, p)))
}
