//! The public port: routes and what they share. Handlers parse, check, call a collection, and wrap the answer.

#[cfg(test)]
mod access_tests;
mod cluster;
mod coding;
#[cfg(test)]
mod collection_tests;
mod collections;
mod download;
mod extract;
mod facet;
mod groups;
pub mod hot;
mod openapi;
mod points;
mod query;
#[cfg(test)]
mod quota_tests;
mod recommend;
pub mod service;
#[cfg(test)]
mod shard_key_tests;
mod shard_keys;
mod shard_snapshots;
#[cfg(test)]
mod snapshot_tests;
mod snapshots;
mod storage_snapshots;
#[cfg(test)]
mod strict_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod write_tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{delete, get, post, put};

use crate::collection::registry::Registry;
use crate::dashboard;
use crate::error::ApiError;
use crate::snapshot::catalog::Catalog;

/// What handlers work with.
#[derive(Clone)]
pub struct AppState {
    pub registry: Arc<Registry>,
    pub snapshots: Catalog,
}

/// Every route of the public port. An unknown one, and a known one with another method, is 404 without a body.
pub fn router(state: AppState) -> Router {
    let collection = "/collections/{name}";
    let at = |rest: &str| format!("{collection}{rest}");
    Router::new()
        .route("/", get(service::root))
        .route("/openapi.json", get(openapi::openapi))
        .route("/healthz", get(service::healthz))
        .route("/livez", get(service::livez))
        .route("/readyz", get(service::readyz))
        .route("/dashboard", get(dashboard::index))
        .route("/dashboard/{*file}", get(dashboard::file))
        .route("/telemetry", get(service::telemetry))
        .route("/metrics", get(service::metrics))
        .route("/issues", get(service::issues).delete(service::clear_issues))
        .route("/cluster", get(service::cluster))
        .merge(cluster::routes())
        .route("/cluster/recover", post(service::no_consensus))
        .route("/cluster/peer/{peer}", delete(service::remove_peer))
        .route("/collections", get(collections::list))
        .route("/collections/aliases", post(collections::change_aliases))
        .route("/aliases", get(collections::all_aliases))
        .route(
            collection,
            get(collections::info)
                .put(collections::create)
                .patch(collections::update)
                .delete(collections::remove),
        )
        .route(&at("/exists"), get(collections::exists))
        .route(&at("/aliases"), get(collections::aliases))
        .route(&at("/cluster"), get(collections::cluster).post(cluster::change_collection))
        .route(&at("/optimizations"), get(collections::optimizations))
        .route(&at("/shards"), get(shard_keys::list).put(shard_keys::create))
        .route(&at("/shards/delete"), post(shard_keys::remove))
        .route(&at("/index"), put(collections::create_index))
        .route(&at("/index/{field}"), delete(collections::drop_index))
        .route(&at("/vectors/{vector}"), put(collections::create_vector).delete(collections::drop_vector))
        .route(&at("/facet"), post(facet::facet))
        .route(&at("/points"), put(points::upsert).post(points::retrieve))
        .route(&at("/points/{id}"), get(points::get))
        .route(&at("/points/delete"), post(points::delete))
        .route(&at("/points/scroll"), post(points::scroll))
        .route(&at("/points/count"), post(points::count))
        .route(&at("/points/batch"), post(points::batch))
        .route(&at("/points/vectors"), put(points::update_vectors))
        .route(&at("/points/vectors/delete"), post(points::delete_vectors))
        .route(&at("/points/payload"), post(points::set_payload).put(points::overwrite_payload))
        .route(&at("/points/payload/delete"), post(points::delete_payload))
        .route(&at("/points/payload/clear"), post(points::clear_payload))
        .route(&at("/points/search"), post(query::search))
        .route(&at("/points/search/batch"), post(query::search_batch))
        .route(&at("/points/query"), post(query::query))
        .route(&at("/points/query/batch"), post(query::query_batch))
        .route(&at("/points/query/groups"), post(groups::query))
        .route(&at("/points/search/groups"), post(groups::search))
        .route(&at("/points/search/matrix/pairs"), post(groups::matrix_pairs))
        .route(&at("/points/search/matrix/offsets"), post(groups::matrix_offsets))
        .route(&at("/points/recommend"), post(recommend::recommend))
        .route(&at("/points/recommend/batch"), post(recommend::recommend_batch))
        .route(&at("/points/recommend/groups"), post(groups::recommend))
        .route(&at("/points/discover"), post(recommend::discover))
        .route(&at("/points/discover/batch"), post(recommend::discover_batch))
        .merge(snapshots::routes())
        .merge(shard_snapshots::routes())
        .merge(storage_snapshots::routes())
        .layer(axum::middleware::from_fn_with_state(state.clone(), wait_until_open))
        .method_not_allowed_fallback(not_found)
        .fallback(not_found)
        .with_state(state)
}

async fn not_found() -> axum::http::StatusCode {
    axum::http::StatusCode::NOT_FOUND
}

/// Nothing is answered about collections before all logs have been replayed.
async fn wait_until_open(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let about_the_process =
        ["/", "/healthz", "/livez", "/readyz"].contains(&path) || path.starts_with("/dashboard");
    if about_the_process || state.registry.is_open() {
        return next.run(request).await;
    }
    ApiError::starting().to_response(0.0)
}
