//! The layers around the routes of the public port, outermost last.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::Layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::CorsLayer;
use tower_http::normalize_path::NormalizePathLayer;

use crate::auth::authorize;
use crate::metrics::count_requests;
use crate::node::Node;

/// Answers below this are not worth compressing.
const COMPRESS_FROM_BYTES: u64 = 1024;

/// Puts keys, counting, compression, CORS and a net for panics around `routes`.
pub fn with_layers(routes: Router, node: &Arc<Node>) -> Router {
    let large = SizeAbove::new(COMPRESS_FROM_BYTES).and(NotForContentType::new("application/octet-stream"));
    let mut app = routes
        .layer(CompressionLayer::new().compress_when(large))
        .layer(axum::middleware::from_fn_with_state(node.keys.clone(), authorize))
        .layer(axum::middleware::from_fn_with_state(node.requests.clone(), count_requests))
        .layer(CatchPanicLayer::custom(panicked));
    if node.settings.service.enable_cors {
        app = app.layer(CorsLayer::permissive());
    }
    // Trailing slashes are trimmed before a route is looked for, so around the whole router.
    Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(app))
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    let body = r#"{"status":{"error":"Service internal error: the operation failed unexpectedly; the node's log has the details"},"time":0.0}"#;
    let json = HeaderValue::from_static("application/json");
    (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, json)], body).into_response()
}
