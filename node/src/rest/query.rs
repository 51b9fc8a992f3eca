//! Searches: the older form, and the universal query.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt};
use quiver_api::point::ScoredPoint;
use quiver_api::points::{WithPayload, WithVector};
use quiver_api::print;
use quiver_api::query::{Query, QueryBatchRequest, QueryRequest, SearchBatchRequest, SearchRequest};
use quiver_api::shard_call::{ShardQuery, ShardSearch};
use quiver_api::validate::Invalid;

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::collection::Collection;
use crate::collection::query::{Asking, LIMIT, plan, random_seed, stage_of};
use crate::collection::strict::Asked;
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

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
    r.vector.vector.validate(&format!("{path}vector.?"), &mut invalid);
    invalid.done()?;
    let offset = r.offset.unwrap_or(0);
    let search = ShardSearch {
        using: r.vector.name,
        query: ShardQuery::Nearest(r.vector.vector),
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
    noticed(state, collection, collection.search(searches, deadline)).await
}

/// The same, but one that takes long is noted.
pub(super) async fn noticed<T>(
    state: &AppState,
    collection: &Collection,
    searching: impl Future<Output = Result<T>>,
) -> Result<T> {
    let at = Started::now();
    let found = searching.await;
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
        let key = body.shard_key.clone();
        let search = search_of(body, "search_request.")?;
        let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
        let collection = collection.among(key.as_ref(), ApiError::bad_request)?;
        collection.check_read(options.timeout, deadline, || vec![Asked::search(&search)]).await?;
        let mut found = run(state, &collection, vec![search], deadline).await?;
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
        let keys: Vec<_> = body.searches.iter().map(|r| r.shard_key.clone()).collect();
        let searches = body.searches.into_iter().enumerate();
        let searches = searches
            .map(|(i, r)| search_of(r, &format!("searches[{i}].search_request.")))
            .collect::<Result<Vec<_>>>()?;
        let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
        let asked = || searches.iter().map(Asked::search).collect();
        collection.check_reads(options.timeout, deadline, searches.len(), asked).await?;
        if keys.iter().all(Option::is_none) {
            return run(state, &collection, searches, deadline).await;
        }
        let mut all = Vec::with_capacity(searches.len());
        for (search, key) in searches.into_iter().zip(&keys) {
            let collection = collection.among(key.as_ref(), ApiError::bad_request)?;
            all.append(&mut run(state, &collection, vec![search], deadline).await?);
        }
        Ok(all)
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
        plan::validate(&body, "internal.")?;
        options.access.check_query(&body)?;
        let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
        collection.check_read(options.timeout, deadline, || Asked::query(&body)).await?;
        answer(state, &collection, body, deadline).await
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
            plan::validate(request, &format!("searches[{i}]."))?;
            options.access.check_query(request)?;
        }
        let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
        let asked = || body.searches.iter().flat_map(Asked::query).collect();
        collection.check_reads(options.timeout, deadline, body.searches.len(), asked).await?;
        if body.searches.iter().all(|r| is_plain(r) && r.shard_key.is_none()) {
            // Nothing but searches: they are spread over the cores together.
            let searches = body.searches.into_iter().filter_map(plain_search).collect();
            return run(state, &collection, searches, deadline).await;
        }
        answer_all(state, &collection, body.searches, deadline).await
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
        query: ShardQuery::Nearest(vector),
        filter: r.filter,
        params: r.params.unwrap_or_default(),
        limit: r.limit.unwrap_or(LIMIT).saturating_add(offset),
        score_threshold: r.score_threshold,
        payload: r.with_payload.unwrap_or(WithPayload::Bool(false)),
        vectors: r.with_vector.unwrap_or(WithVector::Bool(false)),
    };
    Some((search, offset))
}

/// Whether it is no more than the nearest points to a vector.
fn is_plain(r: &QueryRequest) -> bool {
    matches!(r.query, Some(Query::Vector(_))) && !r.has_prefetch()
}

pub(super) async fn answer(
    state: &AppState,
    collection: &Arc<Collection>,
    r: QueryRequest,
    deadline: Deadline,
) -> Result<Vec<ScoredPoint>> {
    let collection = collection.among(r.shard_key.as_ref(), ApiError::bad_request)?;
    if is_plain(&r) {
        let search = plain_search(r).into_iter().collect();
        return Ok(run(state, &collection, search, deadline).await?.pop().unwrap_or_default());
    }
    let (stage, shown) = stage_of(r);
    let asking = asking(state, &collection, deadline);
    let answering = async { asking.answer(asking.outermost(stage).await?, None, shown).await };
    noticed(state, &collection, answering).await
}

pub(super) fn asking<'a>(state: &'a AppState, collection: &'a Collection, deadline: Deadline) -> Asking<'a> {
    Asking { registry: &state.registry, collection, deadline, seed: random_seed() }
}

/// Several queries, a few at a time: a long batch must not fill the queue that all requests wait in.
pub(super) async fn answer_all(
    state: &AppState,
    collection: &Arc<Collection>,
    all: Vec<QueryRequest>,
    deadline: Deadline,
) -> Result<Vec<Vec<ScoredPoint>>> {
    let all = all.into_iter().map(|r| answer(state, collection, r, deadline));
    futures::stream::iter(all).buffered(BATCH_AT_ONCE).try_collect().await
}
