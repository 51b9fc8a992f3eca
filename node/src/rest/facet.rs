//! Facets.

use axum::extract::{Path, State};
use axum::response::Response;
use quiver_api::facet::{FacetRequest, FacetResponse};
use quiver_api::validate::Invalid;

use super::AppState;
use super::extract::{Body, Options, Started};
use crate::collection::convert;
use crate::collection::strict::Asked;
use crate::error::{ApiError, Result};

/// Values of an answer whose request says no number.
const LIMIT: usize = 10;

pub async fn facet(
    State(state): State<AppState>,
    Path(name): Path<String>,
    options: Options,
    at: Started,
    Body(body): Body<FacetRequest>,
) -> Response {
    at.answer(answer(&state, &name, &options, body).await)
}

async fn answer(
    state: &AppState,
    name: &str,
    options: &Options,
    body: FacetRequest,
) -> Result<FacetResponse> {
    let mut invalid = Invalid::new();
    invalid.at_least("limit", body.limit, 1);
    if let Some(filter) = &body.filter {
        filter.validate("filter", &mut invalid);
    }
    invalid.done()?;
    let collection = state.registry.get(name)?.among(body.shard_key.as_ref(), ApiError::bad_request)?;
    convert::path(&body.key)?;
    let (limit, exact) = (body.limit.unwrap_or(LIMIT), body.exact.unwrap_or(false));
    let deadline = options.deadline(state);
    let asked = Asked { limit: Some(limit), filter: body.filter.as_ref(), exact, ..Asked::default() };
    collection.check_read(options.timeout, deadline, || vec![asked]).await?;
    let hits = collection.facet(body.key, body.filter, limit, exact, deadline).await?;
    Ok(FacetResponse { hits })
}
