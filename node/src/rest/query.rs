//! Searches: the older form, and the universal query as far as it is served.

use axum::extract::{Path, State};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt};
use quiver_api::filter::{Condition, Conditions, Filter};
use quiver_api::point::{PointId, ScoredPoint, Vector, Vectors};
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::print;
use quiver_api::query::{
    MMR_CANDIDATES_MAX, Mmr, Query, QueryBatchRequest, QueryRequest, SearchBatchRequest, SearchRequest,
};
use quiver_api::shard_call::ShardSearch;
use quiver_api::validate::Invalid;

use super::AppState;
use super::extract::{Body, Options, Started};
use super::points::refuse_shard_key;
use crate::collection::{Collection, mmr};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

/// Hits of a query that names no limit.
const QUERY_LIMIT: usize = 10;
/// Queries of one batch that run at the same time.
const BATCH_AT_ONCE: usize = 16;

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
    refuse_shard_key(r.shard_key.as_ref(), ApiError::bad_request)?;
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
    search_answer(&state, &name, options, at, body).await
}

pub(super) async fn search_answer(
    state: &AppState,
    name: &str,
    options: Options,
    at: Started,
    body: SearchRequest,
) -> Response {
    let result = async {
        let search = search_of(body, "search_request.")?;
        let collection = state.registry.get(name)?;
        let mut found = run(state, &collection, vec![search], options.deadline(state)).await?;
        Ok(found.pop().unwrap_or_default())
    };
    at.answer_printed(result.await, |out, points| print::scored_points(out, points))
}

pub async fn search_batch(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<SearchBatchRequest>,
) -> Response {
    search_batch_answer(&state, &name, options, at, body).await
}

pub(super) async fn search_batch_answer(
    state: &AppState,
    name: &str,
    options: Options,
    at: Started,
    body: SearchBatchRequest,
) -> Response {
    let result = async {
        let searches = body.searches.into_iter().enumerate();
        let searches = searches
            .map(|(i, r)| search_of(r, &format!("searches[{i}].search_request.")))
            .collect::<Result<Vec<_>>>()?;
        let collection = state.registry.get(name)?;
        run(state, &collection, searches, options.deadline(state)).await
    };
    at.answer_printed(result.await, |out, all| print::list(out, all, |out, p| print::scored_points(out, p)))
}

pub async fn query(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<QueryRequest>,
) -> Response {
    query_answer(&state, &name, options, at, body).await
}

pub(super) async fn query_answer(
    state: &AppState,
    name: &str,
    options: Options,
    at: Started,
    body: QueryRequest,
) -> Response {
    let result = async {
        check(&body, "internal.")?;
        let collection = state.registry.get(name)?;
        answer(state, &collection, body, options.deadline(state)).await
    };
    at.answer_printed(result.await, |out, points| print_query(out, points))
}

pub async fn query_batch(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<QueryBatchRequest>,
) -> Response {
    query_batch_answer(&state, &name, options, at, body).await
}

pub(super) async fn query_batch_answer(
    state: &AppState,
    name: &str,
    options: Options,
    at: Started,
    body: QueryBatchRequest,
) -> Response {
    let result = async {
        for (i, request) in body.searches.iter().enumerate() {
            check(request, &format!("searches[{i}]."))?;
        }
        let collection = state.registry.get(name)?;
        let deadline = options.deadline(state);
        if body.searches.iter().all(|r| matches!(r.query, Some(Query::Vector(_)))) {
            // Nothing but searches: they are spread over the cores together.
            let searches = body.searches.into_iter().filter_map(plain_search).collect();
            return run(state, &collection, searches, deadline).await;
        }
        // A few at a time: a long batch must not fill the queue that all requests wait in.
        let all = body.searches.into_iter().map(|r| answer(state, &collection, r, deadline));
        futures::stream::iter(all).buffered(BATCH_AT_ONCE).try_collect::<Vec<_>>().await
    };
    at.answer_printed(result.await, |out, all| print::list(out, all, |out, points| print_query(out, points)))
}

/// What the universal query answers. The scores are printed as they are: by way of a `Value` they would lose their
/// shortest form.
fn print_query(out: &mut Vec<u8>, points: &[ScoredPoint]) {
    out.extend_from_slice(b"{\"points\":");
    print::scored_points(out, points);
    out.push(b'}');
}

/// The search that a query by a vector is, and its offset; `None` for any other query.
fn plain_search(r: QueryRequest) -> Option<(ShardSearch, usize)> {
    let Some(Query::Vector(vector)) = r.query else { return None };
    let offset = r.offset.unwrap_or(0);
    let search = ShardSearch {
        using: r.using.unwrap_or_default(),
        vector,
        filter: r.filter,
        params: r.params.unwrap_or_default(),
        limit: r.limit.unwrap_or(QUERY_LIMIT).saturating_add(offset),
        score_threshold: r.score_threshold,
        payload: r.with_payload.unwrap_or(WithPayload::Bool(false)),
        vectors: r.with_vector.unwrap_or(WithVector::Bool(false)),
    };
    Some((search, offset))
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
    if let Some(Query::Diverse(_, mmr)) = &r.query {
        mmr.validate(&format!("{path}query.mmr"), &mut invalid);
    }
    invalid.done()?;
    refuse_shard_key(r.shard_key.as_ref(), ApiError::bad_request)?;
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
    let (query, mmr) = match r.query {
        Some(Query::Diverse(nearest, mmr)) => (Some(*nearest), Some(mmr)),
        query => (query, None),
    };
    let (vector, filter) = match query {
        None => {
            let limit_all = limit.saturating_add(offset);
            let (all, _) = collection.scroll(r.filter, None, limit_all, (payload, vectors), deadline).await?;
            return Ok(all.into_iter().skip(offset).map(unscored).collect());
        }
        Some(Query::Diverse(..)) => return Err(ApiError::not_served("a query inside `nearest`")),
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
    if let Some(mmr) = mmr {
        return diverse(state, collection, search, (mmr, limit, offset), deadline).await;
    }
    let mut found = run(state, collection, vec![(search, offset)], deadline).await?;
    Ok(found.pop().unwrap_or_default())
}

/// The nearest points that are unlike each other. The offset is applied to what was chosen, not to the candidates.
async fn diverse(
    state: &AppState,
    collection: &Collection,
    mut search: ShardSearch,
    (mmr, limit, offset): (Mmr, usize, usize),
    deadline: Deadline,
) -> Result<Vec<ScoredPoint>> {
    let distance = collection.distance(&search.using)?;
    let (using, shown) = (search.using.clone(), search.vectors.clone());
    search.vectors = match &shown {
        WithVector::Bool(true) => WithVector::Bool(true),
        WithVector::Bool(false) => WithVector::Names(vec![using.clone()]),
        WithVector::Names(names) => WithVector::Names(names.iter().chain([&using]).cloned().collect()),
    };
    search.limit = mmr.candidates_limit.unwrap_or(limit).min(MMR_CANDIDATES_MAX);
    let found = run(state, collection, vec![(search, 0)], deadline).await?.pop().unwrap_or_default();
    let (diversity, count) = (mmr.diversity.unwrap_or(0.5), limit.saturating_add(offset));
    let choose = move |_: &_| {
        let candidates: Vec<(f32, &[f32])> = found.iter().map(|p| (p.score, dense(p, &using))).collect();
        let chosen = mmr::choose(&candidates, distance, diversity, count);
        let mut found: Vec<Option<ScoredPoint>> = found.into_iter().map(Some).collect();
        chosen.into_iter().skip(offset).filter_map(|i| found[i].take()).map(|p| only(p, &shown)).collect()
    };
    Ok(state.registry.node.pools.search.run("Search", deadline, choose).await?)
}

/// The vector that was searched by.
fn dense<'a>(point: &'a ScoredPoint, using: &str) -> &'a [f32] {
    let vector = match &point.vector {
        Some(Vectors::Unnamed(v)) => Some(v),
        Some(Vectors::Named(map)) => map.get(using),
        None => None,
    };
    match vector {
        Some(Vector::Dense(v)) => v,
        _ => &[],
    }
}

/// Leaves only the vectors that were asked for.
fn only(mut point: ScoredPoint, shown: &WithVector) -> ScoredPoint {
    point.vector = match (point.vector, shown) {
        (_, WithVector::Bool(false)) => None,
        (Some(Vectors::Named(mut map)), WithVector::Names(names)) => {
            map.retain(|name, _| names.contains(name));
            Some(Vectors::Named(map))
        }
        (vector, _) => vector,
    };
    point
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
