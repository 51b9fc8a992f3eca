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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn a_client_gets_a_coding_that_it_accepts_and_reads_what_was_answered() {
        let plain = "again and again ".repeat(1000);
        let check = async |accepted: &str, expected: Option<&str>| {
            let accepted = HeaderValue::from_str(accepted).expect("a value");
            let response = compressed(&accepted, plain.clone().into_response()).await;
            let coding = response.headers().get(header::CONTENT_ENCODING).cloned();
            assert_eq!(
                coding.as_ref().map(HeaderValue::as_bytes),
                expected.map(str::as_bytes),
                "{accepted:?}"
            );
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("memory");
            let mut read = String::new();
            match expected {
                Some("br") => brotli::Decompressor::new(&bytes[..], 4096).read_to_string(&mut read),
                Some("zstd") => zstd::Decoder::new(&bytes[..]).expect("memory").read_to_string(&mut read),
                Some(_) => flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut read),
                None => (&bytes[..]).read_to_string(&mut read),
            }
            .expect("a text");
            assert!(read == plain, "{accepted:?}");
        };
        check("gzip", Some("gzip")).await;
        check("br", Some("br")).await;
        check("zstd", Some("zstd")).await;
        check("gzip, deflate, br", Some("br")).await;
        check("gzip, deflate, br, zstd", Some("zstd")).await;
        check("br;q=0.1, gzip;q=0.9", Some("gzip")).await;
        check("identity", None).await;
        check("x", None).await;
    }
}
