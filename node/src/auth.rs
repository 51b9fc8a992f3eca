//! Who may do what on the public port.
//!
//! Decided from the headers and the route that matched, before the first byte of a body is read; never from
//! the text of the path. A route without an entry in [`ROUTES`] is closed to everybody but the full key.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{Secret, Service};

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Nothing: for probes, and the files of the dashboard.
    Free,
    /// Any key.
    Read,
    /// The full key.
    Manage,
}

/// Every route of the public port that is not [`Right::Manage`]. Paths as they are given to the router.
pub const ROUTES: &[(&str, &str, Right)] = &[
    ("GET", "/", Right::Free),
    ("GET", "/healthz", Right::Free),
    ("GET", "/livez", Right::Free),
    ("GET", "/readyz", Right::Free),
    ("GET", "/dashboard", Right::Free),
    ("GET", "/dashboard/{*file}", Right::Free),
    ("GET", "/telemetry", Right::Read),
    ("GET", "/metrics", Right::Read),
    ("GET", "/issues", Right::Read),
    ("GET", "/cluster", Right::Read),
    ("GET", "/cluster/telemetry", Right::Read),
    ("GET", "/quotas", Right::Read),
    ("GET", "/aliases", Right::Read),
    ("GET", "/collections", Right::Read),
    ("GET", "/collections/{name}", Right::Read),
    ("GET", "/collections/{name}/exists", Right::Read),
    ("GET", "/collections/{name}/aliases", Right::Read),
    ("GET", "/collections/{name}/cluster", Right::Read),
    ("GET", "/collections/{name}/optimizations", Right::Read),
    ("GET", "/collections/{name}/memory", Right::Read),
    ("GET", "/collections/{name}/shards", Right::Read),
    ("GET", "/collections/{name}/points/{id}", Right::Read),
    ("POST", "/collections/{name}/points", Right::Read),
    ("POST", "/collections/{name}/points/scroll", Right::Read),
    ("POST", "/collections/{name}/points/count", Right::Read),
    ("POST", "/collections/{name}/facet", Right::Read),
    ("POST", "/collections/{name}/points/query", Right::Read),
    ("POST", "/collections/{name}/points/query/batch", Right::Read),
    ("POST", "/collections/{name}/points/query/groups", Right::Read),
    ("POST", "/collections/{name}/points/search", Right::Read),
    ("POST", "/collections/{name}/points/search/batch", Right::Read),
    ("POST", "/collections/{name}/points/search/groups", Right::Read),
    ("POST", "/collections/{name}/points/search/matrix/pairs", Right::Read),
    ("POST", "/collections/{name}/points/search/matrix/offsets", Right::Read),
    ("POST", "/collections/{name}/points/recommend", Right::Read),
    ("POST", "/collections/{name}/points/recommend/batch", Right::Read),
    ("POST", "/collections/{name}/points/recommend/groups", Right::Read),
    ("POST", "/collections/{name}/points/discover", Right::Read),
    ("POST", "/collections/{name}/points/discover/batch", Right::Read),
    ("GET", "/collections/{name}/snapshots", Right::Read),
    ("GET", "/collections/{name}/snapshots/{snapshot}", Right::Read),
    ("GET", "/snapshots", Right::Read),
    ("GET", "/snapshots/{snapshot}", Right::Read),
];

/// The right that a matched route needs. HEAD is GET without a body.
pub fn right_of(method: &Method, matched: &str) -> Right {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let entry = ROUTES.iter().find(|(m, path, _)| *m == method && *path == matched);
    entry.map_or(Right::Manage, |(_, _, right)| *right)
}

/// The keys, as digests: comparing them takes the same time whatever was sent.
#[derive(Clone, Default)]
pub struct Keys {
    full: Vec<[u8; 32]>,
    read_only: Vec<[u8; 32]>,
}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Full,
    ReadOnly,
}

impl Keys {
    pub fn new(service: &Service) -> Self {
        let digests = |keys: &[&Option<Secret>]| {
            keys.iter().filter_map(|k| k.as_ref()).map(|k| Sha256::digest(k.expose()).into()).collect()
        };
        Self {
            full: digests(&[&service.api_key, &service.alt_api_key]),
            read_only: digests(&[&service.read_only_api_key]),
        }
    }

    /// Whether any key is set.
    pub fn required(&self) -> bool {
        !self.full.is_empty() || !self.read_only.is_empty()
    }

    /// What the headers allow; the error is the text of the 401.
    pub fn access(&self, headers: &HeaderMap) -> Result<Access, &'static str> {
        if !self.required() {
            return Ok(Access::Full);
        }
        let sent = sent_key(headers).ok_or("Must provide an API key or an Authorization bearer token")?;
        let sent: [u8; 32] = Sha256::digest(sent).into();
        let any =
            |keys: &[[u8; 32]]| keys.iter().fold(Choice::from(0), |found, key| found | key.ct_eq(&sent));
        let (full, read_only) = (any(&self.full), any(&self.read_only));
        match (bool::from(full), bool::from(read_only)) {
            (true, _) => Ok(Access::Full),
            (false, true) => Ok(Access::ReadOnly),
            (false, false) => Err("Invalid API key or JWT"),
        }
    }
}

fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// The layer. To be put around the router with [`axum::Router::layer`], so that unknown routes pass it too.
pub async fn authorize(State(keys): State<Arc<Keys>>, request: Request, next: Next) -> Response {
    if !keys.required() {
        return next.run(request).await;
    }
    let matched = request.extensions().get::<MatchedPath>();
    let right = matched.map_or(Right::Manage, |path| right_of(request.method(), path.as_str()));
    if right == Right::Free {
        return next.run(request).await;
    }
    match keys.access(request.headers()) {
        Err(text) => (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, "text/plain")], text).into_response(),
        // An unknown route is 404 for whoever may be here at all.
        Ok(Access::ReadOnly) if right == Right::Manage && matched.is_some() => {
            let body = r#"{"status":{"error":"Forbidden: Global manage access is required"},"time":0.0}"#;
            (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Ok(_) => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::{get, put};
    use tower::ServiceExt;

    use super::*;

    fn app(service: &Service) -> Router {
        Router::new()
            .route("/", get(|| async { "root" }))
            .route("/collections", get(|| async { "list" }))
            .route("/collections/{name}", put(|| async { "made" }).get(|| async { "got" }))
            .layer(axum::middleware::from_fn_with_state(Arc::new(Keys::new(service)), authorize))
    }

    async fn check(call: (&str, &str), header: Option<(&str, &str)>, expected: (u16, &str)) {
        let service = Service {
            api_key: Some(Secret::new("full")),
            alt_api_key: Some(Secret::new("next")),
            read_only_api_key: Some(Secret::new("reader")),
            ..Service::default()
        };
        let mut request = Request::builder().method(call.0).uri(call.1);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let response = app(&service).oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        assert_eq!((status, std::str::from_utf8(&body).expect("text")), expected, "{call:?} {header:?}");
    }

    #[tokio::test]
    async fn every_right_is_checked_on_the_route_that_matched() {
        let no_key = "Must provide an API key or an Authorization bearer token";
        let forbidden = r#"{"status":{"error":"Forbidden: Global manage access is required"},"time":0.0}"#;
        check(("GET", "/"), None, (200, "root")).await;
        check(("GET", "/collections"), None, (401, no_key)).await;
        check(("GET", "/nothing"), None, (401, no_key)).await;
        check(("GET", "/nothing"), Some(("api-key", "reader")), (404, "")).await;
        check(("GET", "/collections"), Some(("api-key", "wrong")), (401, "Invalid API key or JWT")).await;
        check(("GET", "/collections"), Some(("api-key", "reader")), (200, "list")).await;
        check(("GET", "/collections/a"), Some(("authorization", "Bearer reader")), (200, "got")).await;
        check(("PUT", "/collections/a"), Some(("api-key", "reader")), (403, forbidden)).await;
        check(("PUT", "/collections/a"), Some(("api-key", "full")), (200, "made")).await;
        check(("PUT", "/collections/a"), Some(("authorization", "bearer next")), (200, "made")).await;
        check(("GET", "/collections"), Some(("authorization", "Basic full")), (401, no_key)).await;
    }

    #[tokio::test]
    async fn without_keys_everything_is_open() {
        let request =
            Request::builder().method("PUT").uri("/collections/a").body(Body::empty()).expect("a request");
        let response = app(&Service::default()).oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
    }
}
