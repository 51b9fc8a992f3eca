//! Searches: the older form, and the universal query as far as it is served.

use axum::extract::{Path, State};
use axum::response::Response;
use quiver_api::filter::{Condition, Conditions, Filter};
use quiver_api::point::{PointId, ScoredPoint, Vector};
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::query::{Query, QueryBatchRequest, QueryRequest, SearchBatchRequest, SearchRequest};
use quiver_api::shard_call::ShardSearch;
use quiver_api::validate::Invalid;
use serde_json::json;

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::collection::Collection;
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

/// Hits of a query that names no limit.
const QUERY_LIMIT: usize = 10;

fn search_of(r: SearchRequest, path: &str) -> Result<(ShardSearch, usize)> {
    let mut invalid = Invalid::new();
    invalid.at_least(&format!("{path}limit"), Some(r.limit), 1);
    if let Some(params) = &r.params {
        params.validate(path, &mut invalid);
    }
    if let Some(filter) = &r.filter {
        filter.validate(&format!("{path}filter"), &mut invalid);
    }
    invalid.done()?;
    let offset = r.offset.unwrap_or(0);
    let search = ShardSearch {
        using: r.vector.name,
        vector: r.vector.vector,
        filter: r.filter,
        params: r.params.unwrap_or_default(),
        limit: r.limit.saturating_add(offset),
        score_threshold: r.score_threshold,
        payload: r.with_payload.unwrap_or(WithPayload::Bool(false)),
        vectors: r.with_vector.unwrap_or(WithVector::Bool(false)),
    };
    Ok((search, offset))
}

async fn run(
    state: &AppState,
    collection: &Collection,
    searches: Vec<(ShardSearch, usize)>,
    deadline: Deadline,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let at = Started::now();
    let found = collection.search(searches, deadline).await;
    let slow = state.registry.node.settings.service.slow_query_secs;
    if at.seconds() > slow {
        tracing::warn!(
            collection = collection.name(),
            seconds = at.seconds(),
            "slow search: GET /issues shows filters without a payload index and other causes"
        );
    }
    found
}

pub async fn search(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<SearchRequest>,
) -> Response {
    let result = async {
        let search = search_of(body, "search_request.")?;
        let collection = state.registry.get(&name)?;
        let mut found = run(&state, &collection, vec![search], options.deadline(&state)).await?;
        Ok(found.pop().unwrap_or_default())
    };
    at.answer(result.await)
}

pub async fn search_batch(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<SearchBatchRequest>,
) -> Response {
    let result = async {
        let searches = body.searches.into_iter().enumerate();
        let searches = searches
            .map(|(i, r)| search_of(r, &format!("searches[{i}].search_request.")))
            .collect::<Result<Vec<_>>>()?;
        let collection = state.registry.get(&name)?;
        run(&state, &collection, searches, options.deadline(&state)).await
    };
    at.answer(result.await)
}

pub async fn query(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<QueryRequest>,
) -> Response {
    let result = async {
        check(&body, "internal.")?;
        let collection = state.registry.get(&name)?;
        let points = answer(&state, &collection, body, options.deadline(&state)).await?;
        Ok(json!({ "points": points }))
    };
    at.answer(result.await)
}

pub async fn query_batch(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<QueryBatchRequest>,
) -> Response {
    let result = async {
        for (i, request) in body.searches.iter().enumerate() {
            check(request, &format!("searches[{i}]."))?;
        }
        let collection = state.registry.get(&name)?;
        let deadline = options.deadline(&state);
        let all = body.searches.into_iter().map(|r| answer(&state, &collection, r, deadline));
        let all = futures::future::try_join_all(all).await?;
        Ok(all.into_iter().map(|points| json!({ "points": points })).collect::<Vec<_>>())
    };
    at.answer(result.await)
}

fn check(r: &QueryRequest, path: &str) -> Result<()> {
    let mut invalid = Invalid::new();
    invalid.at_least(&format!("{path}limit"), r.limit, 1);
    if let Some(params) = &r.params {
        params.validate(path, &mut invalid);
    }
    if let Some(filter) = &r.filter {
        filter.validate(&format!("{path}filter"), &mut invalid);
    }
    invalid.done()?;
    if let Some(Query::Other(kind)) = &r.query {
        return Err(ApiError::not_served(&format!("a query of the kind `{kind}`")));
    }
    if r.has_prefetch() {
        return Err(match r.query {
            None => ApiError::bad_request(
                "A query is needed to merge the prefetches. Can't have prefetches without defining a query.",
            ),
            Some(_) => ApiError::not_served("prefetch"),
        });
    }
    if r.query.is_none() && r.score_threshold.is_some() {
        return Err(ApiError::bad_request(
            "A query is needed to use the score_threshold. Can't have score_threshold without defining a query.",
        ));
    }
    Ok(())
}

async fn answer(
    state: &AppState,
    collection: &Collection,
    r: QueryRequest,
    deadline: Deadline,
) -> Result<Vec<ScoredPoint>> {
    let (limit, offset) = (r.limit.unwrap_or(QUERY_LIMIT), r.offset.unwrap_or(0));
    let payload = r.with_payload.unwrap_or(WithPayload::Bool(false));
    let vectors = r.with_vector.unwrap_or(WithVector::Bool(false));
    let using = r.using.unwrap_or_default();
    let (vector, filter) = match r.query {
        None => {
            let limit_all = limit.saturating_add(offset);
            let (all, _) = collection.scroll(r.filter, None, limit_all, (payload, vectors), deadline).await?;
            return Ok(all.into_iter().skip(offset).map(unscored).collect());
        }
        Some(Query::Other(kind)) => return Err(ApiError::not_served(&kind)),
        Some(Query::Vector(v)) => (v, r.filter),
        Some(Query::Id(id)) => {
            let (vector, elsewhere) =
                vector_of(state, collection, id, &using, r.lookup_from, deadline).await?;
            (vector, if elsewhere { r.filter } else { Some(without(id, r.filter)) })
        }
    };
    let search = ShardSearch {
        using,
        vector,
        filter,
        params: r.params.unwrap_or_default(),
        limit: limit.saturating_add(offset),
        score_threshold: r.score_threshold,
        payload,
        vectors,
    };
    let mut found = run(state, collection, vec![(search, offset)], deadline).await?;
    Ok(found.pop().unwrap_or_default())
}

/// The vector of a point, and whether it is another collection's.
async fn vector_of(
    state: &AppState,
    collection: &Collection,
    id: PointId,
    using: &str,
    lookup: Option<quiver_api::query::LookupFrom>,
    deadline: Deadline,
) -> Result<(Vector, bool)> {
    let Some(lookup) = lookup else {
        return Ok((collection.vector_of(id, using, deadline).await?, false));
    };
    let missing = || ApiError::not_found(format!("Collection {} not found", lookup.collection));
    let other = state.registry.find(&lookup.collection).ok_or_else(missing)?;
    let name = lookup.vector.as_deref().unwrap_or(using);
    Ok((other.vector_of(id, name, deadline).await?, other.name() != collection.name()))
}

/// A filter that leaves one point out: a query by id never answers itself.
fn without(id: PointId, filter: Option<Filter>) -> Filter {
    let mut all = Filter {
        must_not: Some(Conditions(vec![Condition::HasId { has_id: vec![id] }])),
        ..Filter::default()
    };
    all.must = filter.map(|f| Conditions(vec![Condition::Filter(f)]));
    all
}

/// A point that was not searched for, as the protocol shows it.
fn unscored(r: quiver_api::point::Record) -> ScoredPoint {
    ScoredPoint { id: r.id, version: 0, score: 1.0, payload: r.payload, vector: r.vector }
}
