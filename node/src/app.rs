//! The layers around the routes of the public port, outermost last.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::CorsLayer;
use tower_http::normalize_path::NormalizePathLayer;

use crate::auth::authorize;
use crate::collection::registry::Registry;
use crate::metrics::count_requests;

/// Answers below this are not worth compressing: they fit into a few packets, and compressing ten hits takes longer than
/// finding them.
const COMPRESS_FROM_BYTES: u64 = 8 << 10;

/// Puts keys, counting, compression, CORS and a net for panics around `routes`.
pub fn with_layers(routes: Router, registry: &Arc<Registry>) -> Router {
    let node = &registry.node;
    let mut app = routes
        .layer(compression())
        .layer(axum::middleware::from_fn_with_state(registry.clone(), authorize))
        .layer(axum::middleware::from_fn_with_state(node.requests.clone(), count_requests))
        .layer(CatchPanicLayer::custom(panicked));
    if node.settings.service.enable_cors {
        app = app.layer(CorsLayer::permissive());
    }
    // Trailing slashes are trimmed before a route is looked for, so around the whole router.
    Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(app))
}

fn compression() -> CompressionLayer<impl Predicate> {
    let large = SizeAbove::new(COMPRESS_FROM_BYTES).and(NotForContentType::new("application/octet-stream"));
    CompressionLayer::new().compress_when(large)
}

/// Whether an answer is worth compressing.
pub fn is_large(response: &Response) -> bool {
    response.body().size_hint().lower() >= COMPRESS_FROM_BYTES
}

/// An answer as a client takes it that accepts these encodings.
pub async fn compressed(accepted: &HeaderValue, response: Response) -> Response {
    let mut request = Request::new(Body::empty());
    request.headers_mut().insert(header::ACCEPT_ENCODING, accepted.clone());
    let mut answer = Some(response);
    let ready = service_fn(move |_: Request| {
        let response = answer.take().expect("it is asked once");
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    match compression().layer(ready).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// The answer when a defect stopped a request.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    let body = r#"{"status":{"error":"Service internal error: the operation failed unexpectedly; the node's log has the details"},"time":0.0}"#;
    let json = HeaderValue::from_static("application/json");
    (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, json)], body).into_response()
}
