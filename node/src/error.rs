//! What a client is told when something goes wrong: status code, the protocol's text, and what to do about it.
//!
//! `status.error` holds the protocol's text to the letter, because clients and suites compare it; the advice is beside it,
//! in `status.hint`.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quiver_api::shard_call::ShardError;
use quiver_api::validate::Invalid;
use quiver_engine::Error as EngineError;
use serde_json::json;

use crate::limits::NoMemory;
use crate::pool::PoolError;

/// How [`ApiError::moved`] travels between nodes. No client sees it.
const MOVED: StatusCode = StatusCode::GONE;

/// The node's result.
pub type Result<T> = std::result::Result<T, ApiError>;

/// An error as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub code: StatusCode,
    pub text: String,
    pub hint: Option<String>,
    pub retry_after: Option<Duration>,
    /// Nothing was begun: other shards have the points now, or will in a moment.
    pub moved: bool,
}

impl ApiError {
    /// A status and a text that has its prefix already.
    pub fn new(code: StatusCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), hint: None, retry_after: None, moved: false }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// 400: the input can't be served.
    pub fn wrong_input(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Wrong input: {text}"))
    }

    /// 400: the request makes no sense.
    pub fn bad_request(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Bad request: {text}"))
    }

    /// 400: the body does not parse.
    pub fn format(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("Format error in JSON body: {text}"))
    }

    /// 422: the body parses and a value is out of range.
    pub fn invalid(invalid: &Invalid) -> Self {
        Self::invalid_in("JSON body", invalid)
    }

    /// 422: the same of another part of a request.
    pub fn invalid_in(part: &str, invalid: &Invalid) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("Validation error in {part}: {invalid}"))
    }

    /// 404.
    pub fn not_found(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Not found: {text}"))
    }

    /// 404 for a collection.
    pub fn no_collection(name: &str) -> Self {
        Self::not_found(format!("Collection `{name}` doesn't exist!")).hint(format!(
            "Create it with PUT /collections/{name}, or see GET /collections for the names there are"
        ))
    }

    /// 409: the name is taken.
    pub fn exists(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::CONFLICT, format!("Wrong input: {text}"))
    }

    /// 400: strict mode doesn't allow it; `help` says what would be allowed.
    pub fn strict(what: impl std::fmt::Display, help: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("{what}. Help: {help}"))
    }

    /// 429: too much at a time. Without a time to retry after, it never fits.
    pub fn rate_limited(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, format!("Rate limiting exceeded: {text}"))
    }

    /// 403.
    pub fn forbidden(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("Forbidden: {text}"))
    }

    /// 500.
    pub fn internal(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("Service internal error: {text}"))
    }

    /// 503: not all logs have been replayed.
    pub fn starting() -> Self {
        let text = "Service internal error: the node is starting: collections are being opened";
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, text);
        error.retry_after = Some(Duration::from_secs(1));
        error
    }

    /// 503: a shard can't be reached now.
    pub fn unavailable(text: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("Shard temporarily unavailable: {text}"))
    }

    /// 503: the shard that was asked owns other points now, or will in a moment. Nothing was begun.
    fn moved(text: impl Into<String>) -> Self {
        let retry_after = Some(Duration::from_secs(1));
        Self { moved: true, retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, text) }
    }

    /// As it travels between nodes.
    pub fn to_shard_error(&self) -> ShardError {
        let code = if self.moved { MOVED } else { self.code };
        ShardError { code: code.as_u16(), error: self.text.clone() }
    }

    /// The envelope.
    pub fn to_response(&self, seconds: f64) -> Response {
        let mut status = json!({"error": self.text});
        if let Some(hint) = &self.hint {
            status["hint"] = hint.as_str().into();
        }
        let body = json!({"status": status, "time": seconds}).to_string();
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.code, [(header::CONTENT_TYPE, json)], body).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs().max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self.code, StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT) {
            // What this node can't do, or not in time, another one may be able to: on a new connection the Service chooses again.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<ShardError> for ApiError {
    fn from(e: ShardError) -> Self {
        let code = StatusCode::from_u16(e.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        match code {
            MOVED => Self::moved(e.error),
            code => Self::new(code, e.error),
        }
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(&invalid)
    }
}

impl From<PoolError> for ApiError {
    fn from(e: PoolError) -> Self {
        match &e {
            PoolError::Busy(_) => {
                let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, format!("Rate limiting exceeded: {e}"));
                error.retry_after = Some(Duration::from_secs(1));
                error
            }
            PoolError::Timeout { operation: "Update", .. } => {
                Self::new(StatusCode::REQUEST_TIMEOUT, format!("Timeout: {e}")).hint(
                    "The write may still take effect: its outcome is unknown. Upserts, deletions and payload changes may be sent again: \
                     twice has the effect of once. A copy of the shard may be slow or gone; or allow more time with ?timeout=",
                )
            }
            PoolError::Timeout { .. } => Self::new(StatusCode::REQUEST_TIMEOUT, format!("Timeout: {e}")).hint(
                "A slow search: create payload indexes on the fields that are filtered on, lower hnsw_ef or the limit, or allow \
                 more time with ?timeout=",
            ),
            PoolError::Panicked => Self::internal(e),
        }
    }
}

impl From<NoMemory> for ApiError {
    fn from(e: NoMemory) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("Service internal error: {e}"));
        error.retry_after = e.worth_retrying.then_some(Duration::from_secs(1));
        error
    }
}

impl From<EngineError> for ApiError {
    fn from(e: EngineError) -> Self {
        match &e {
            EngineError::Dimension { expected, .. } => Self::wrong_input(&e).hint(format!(
                "The collection was created for vectors with {expected} dimensions: use the embedding model that it was made for, or \
                 create a collection with the size of yours"
            )),
            EngineError::VectorName(_) => Self::wrong_input(&e)
                .hint("GET /collections/{name} shows the names of its vectors under config.params.vectors"),
            EngineError::BadInput(_) => Self::wrong_input(&e),
            EngineError::PointNotFound(_) | EngineError::VectorNotFound(_) => Self::not_found(&e),
            EngineError::NoSpace(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                format!("Service internal error: no space left for this write: {e}"),
            )
            .hint("Reads and deletes go on. Delete points or grow the volume; writes are accepted again by themselves"),
            EngineError::Unavailable(_) => {
                let mut error = Self::unavailable(&e);
                error.retry_after = Some(Duration::from_secs(1));
                error
            }
            EngineError::Moved(_) => Self::moved(format!("Shard temporarily unavailable: {e}")),
            EngineError::Unknown(_) => Self::new(StatusCode::REQUEST_TIMEOUT, format!("Timeout: {e}"))
                .hint("The write may take effect or not: read the points before you decide to send it again"),
            EngineError::Cancelled => Self::new(StatusCode::REQUEST_TIMEOUT, "Timeout: the operation was cancelled"),
            EngineError::Io { .. } if e.is_no_space() => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, format!("Service internal error: {e}"))
                    .hint("Reads and deletes go on. Delete points or grow the volume; writes are accepted again by themselves")
            }
            EngineError::Corrupt { .. } | EngineError::Poisoned(_) | EngineError::Io { .. } => {
                tracing::error!(error = %e, "the engine failed");
                Self::internal(e)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_a_503_that_says_when_to_try_again() {
        let error =
            ApiError::from(EngineError::Unavailable("7 writes wait already: try again in a moment".into()));
        assert_eq!(error.code, StatusCode::SERVICE_UNAVAILABLE);
        assert!(error.text.contains("try again in a moment"));
        assert!(error.to_response(0.0).headers().contains_key(header::RETRY_AFTER));
    }

    #[test]
    fn a_client_whose_node_cannot_serve_it_connects_again() {
        let check = |error: ApiError, closes: bool| {
            let response = error.to_response(0.0);
            assert_eq!(response.headers().contains_key(header::CONNECTION), closes, "{}", response.status());
        };
        check(ApiError::starting(), true);
        check(ApiError::unavailable("shard 1: no copy of it answers"), true);
        // As a node says that is cut off from the one that leads.
        check(ApiError::from(EngineError::Unknown("shard 1 did not answer in time".into())), true);
        check(ApiError::no_collection("docs"), false);
        check(ApiError::rate_limited("7 requests wait already"), false);
    }
}
