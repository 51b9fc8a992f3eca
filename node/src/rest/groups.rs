//! Answers in groups, and the matrix of distances between points.

use axum::extract::{Path, State};
use axum::response::Response;
use quiver_api::query::{
    GroupsResult, MatrixOffsets, MatrixPair, MatrixPairs, MatrixRequest, QueryGroupsRequest,
    RecommendGroupsRequest, SearchGroupsRequest,
};

use super::AppState;
use super::extract::{Body, Options, Started};
use super::query::{asking, noticed};
use crate::collection::query::{groups, matrix};
use crate::collection::strict::Asked;
use crate::error::{ApiError, Result};

async fn grouped(
    state: &AppState,
    name: &str,
    options: &Options,
    request: QueryGroupsRequest,
    path: &str,
) -> Result<GroupsResult> {
    groups::validate(&request, path)?;
    options.access.check_groups(&request)?;
    let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
    let collection = collection.among(request.shard_key.as_ref(), ApiError::bad_request)?;
    collection.check_read(options.timeout, deadline, || Asked::groups(&request)).await?;
    let asking = asking(state, &collection, deadline);
    Ok(GroupsResult { groups: noticed(state, &collection, asking.groups(request)).await? })
}

pub async fn query(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<QueryGroupsRequest>,
) -> Response {
    at.answer(grouped(&state, &name, &options, body, "search_group_request.").await)
}

pub async fn search(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<SearchGroupsRequest>,
) -> Response {
    at.answer(grouped(&state, &name, &options, body.into(), "search_group_request.group_request.").await)
}

pub async fn recommend(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<RecommendGroupsRequest>,
) -> Response {
    at.answer(grouped(&state, &name, &options, body.into(), "recommend_group_request.group_request.").await)
}

async fn drawn_matrix(
    state: &AppState,
    name: &str,
    options: &Options,
    request: MatrixRequest,
) -> Result<MatrixOffsets> {
    matrix::check(&request, "search_request.")?;
    let (collection, deadline) = (state.registry.get(name)?, options.deadline(state));
    let collection = collection.among(request.shard_key.as_ref(), ApiError::bad_request)?;
    collection.check_read(options.timeout, deadline, || Asked::matrix(&request)).await?;
    let asking = asking(state, &collection, deadline);
    let (ids, rows) = noticed(state, &collection, asking.matrix(request)).await?;
    let mut found = MatrixOffsets::default();
    for (row, hits) in rows.iter().enumerate() {
        for hit in hits {
            // Every hit is one of the points drawn, which are in the order of their ids.
            let Ok(place) = ids.binary_search(&hit.id) else { continue };
            found.offsets_row.push(row);
            found.offsets_col.push(place);
            found.scores.push(hit.score);
        }
    }
    Ok(MatrixOffsets { ids, ..found })
}

pub async fn matrix_offsets(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<MatrixRequest>,
) -> Response {
    at.answer(drawn_matrix(&state, &name, &options, body).await)
}

pub async fn matrix_pairs(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<MatrixRequest>,
) -> Response {
    let found = drawn_matrix(&state, &name, &options, body).await;
    at.answer(found.map(|m| {
        let places = m.offsets_row.iter().zip(&m.offsets_col).zip(&m.scores);
        let pair = |((a, b), score): ((&usize, &usize), &f32)| MatrixPair {
            a: m.ids[*a],
            b: m.ids[*b],
            score: *score,
        };
        MatrixPairs { pairs: places.map(pair).collect() }
    }))
}
