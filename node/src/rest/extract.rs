//! From a request to typed values, and from results to the envelope.

use std::time::{Duration, Instant};

use axum::body::{Body as HttpBody, BodyDataStream, Bytes};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use quiver_api::fast::FastBody;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AppState;
use super::coding::Coding;
use crate::auth::{Access, right_of};
use crate::clock;
use crate::error::{ApiError, Result};
use crate::limits::Reservation;
use crate::node::Node;
use crate::pool::Deadline;

/// Bodies up to this are parsed where they arrive; larger ones on a thread of the pool.
const PARSE_INLINE_BYTES: usize = 64 << 10;
/// A parsed body takes about so many times its bytes while it is worked on.
const MEMORY_FACTOR: u64 = 3;
/// How much, and for how long, is taken of a body that is refused for its size.
const DISCARD_MAX_BYTES: usize = 256 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// When a request arrived.
#[derive(Clone, Copy)]
pub struct Started(Instant);

impl Started {
    /// Now.
    pub fn now() -> Self {
        Self(clock::now())
    }

    /// Since then, in seconds.
    pub fn seconds(self) -> f64 {
        clock::now().saturating_duration_since(self.0).as_secs_f64()
    }

    /// The envelope around a result or an error.
    pub fn answer<T: Serialize>(self, result: Result<T>) -> Response {
        match result {
            Err(e) => e.to_response(self.seconds()),
            Ok(result) => {
                #[derive(Serialize)]
                struct Envelope<T> {
                    result: T,
                    status: &'static str,
                    time: f64,
                }
                json_response(StatusCode::OK, &Envelope { result, status: "ok", time: self.seconds() })
            }
        }
    }

    /// The envelope around a result that is printed by `print`.
    pub fn answer_printed<T>(self, result: Result<T>, print: impl FnOnce(&mut Vec<u8>, &T)) -> Response {
        let value = match result {
            Ok(value) => value,
            Err(e) => return e.to_response(self.seconds()),
        };
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(b"{\"result\":");
        print(&mut bytes, &value);
        bytes.extend_from_slice(b",\"status\":\"ok\",\"time\":");
        serde_json::to_writer(&mut bytes, &self.seconds()).expect("a number always prints");
        bytes.push(b'}');
        (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], bytes).into_response()
    }

    /// The answer to what goes on in the background.
    pub fn accepted(self) -> Response {
        json_response(
            StatusCode::ACCEPTED,
            &serde_json::json!({"status": "accepted", "time": self.seconds()}),
        )
    }
}

fn json_response<T: Serialize>(code: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (code, [(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(e) => ApiError::internal(format!("the answer could not be printed: {e}")).to_response(0.0),
    }
}

impl FromRequestParts<AppState> for Started {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, _: &AppState) -> std::result::Result<Self, Self::Rejection> {
        Ok(Self::now())
    }
}

/// Whose data wins when a snapshot is recovered. With one copy of each shard all of them mean the snapshot's.
pub(super) const PRIORITIES: [&str; 3] = ["no_sync", "snapshot", "replica"];

/// What any request may say in its query string, and what it may do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub wait: Option<bool>,
    pub timeout: Option<u64>,
    /// As it was given, checked to be one of the protocol's.
    pub consistency: Option<String>,
    pub per_collection: bool,
    pub details_level: u64,
    pub checksum: Option<String>,
    /// Parts of a report, and how many finished steps it shows at most.
    pub with: String,
    pub completed_limit: Option<usize>,
    /// For what the body names.
    pub access: Access,
}

impl Options {
    /// Until when the request has to be answered.
    pub fn deadline(&self, state: &AppState) -> Deadline {
        let longest = state.registry.node.settings.service.request_timeout_sec;
        // Whoever leads has all; with one copy of a shard, that is any answer.
        let strong = self.consistency.is_some();
        Deadline::after(Duration::from_secs(self.timeout.unwrap_or(longest))).strongly(strong)
    }

    /// Whether to wait until the write is applied.
    pub fn wait(&self) -> bool {
        self.wait.unwrap_or(false)
    }

    /// Changes of whole collections take no time limit of 0, as other writes do.
    pub(super) fn for_route(mut self, route: &str) -> Result<Self> {
        if self.timeout != Some(0) {
            return Ok(self);
        }
        if ["/collections/{name}", "/collections/aliases"].contains(&route) {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]",
            ));
        }
        self.timeout = Some(1);
        Ok(self)
    }

    /// Reads a query string.
    pub fn parse(query: &str, is_read: bool) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in form_pairs(query) {
            let flag = || match value.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(bad_query("provided string was not `true` or `false`")),
            };
            match key.as_str() {
                "wait" => options.wait = Some(flag()?),
                "per_collection" => options.per_collection = flag()?,
                "anonymize" => drop(flag()?),
                "timeout" => options.timeout = Some(timeout(&value, is_read)?),
                "ordering" if !["weak", "medium", "strong"].contains(&value.as_str()) => {
                    return Err(bad_query(format!(
                        "unknown variant `{value}`, expected one of `weak`, `medium`, `strong`"
                    )));
                }
                "consistency" => options.consistency = consistency(value)?,
                "details_level" => {
                    let level = value.parse().map_err(|_| bad_query("invalid digit found in string"))?;
                    options.details_level = level;
                }
                "with" => options.with = value,
                "completed_limit" => {
                    let limit = value.parse().map_err(|_| bad_query("invalid digit found in string"))?;
                    options.completed_limit = Some(limit);
                }
                "checksum" => options.checksum = Some(value),
                "priority" if !PRIORITIES.contains(&value.as_str()) => {
                    return Err(bad_query(format!(
                        "unknown variant `{value}`, expected one of `no_sync`, `snapshot`, `replica`"
                    )));
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

fn bad_query(text: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, format!("Deserialize error in query parameters: {text}"))
}

fn timeout(value: &str, is_read: bool) -> Result<u64> {
    match value.parse::<u64>() {
        Ok(0) if is_read => Err(bad_query("invalid value: integer `0`, expected a nonzero u64")),
        Ok(seconds) => Ok(seconds),
        Err(_) => Err(bad_query("invalid digit found in string")),
    }
}

fn consistency(value: String) -> Result<Option<String>> {
    if value.is_empty() {
        return Ok(None);
    }
    let known = ["majority", "quorum", "all"].contains(&value.as_str());
    if known || value.parse::<usize>().is_ok_and(|n| n > 0) {
        return Ok(Some(value));
    }
    Err(bad_query(format!("failed to deserialize read consistency query parameter value '{value}'")))
}

fn form_pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = (first == b'%').then(|| tail.get(..2)).flatten().and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl FromRequestParts<AppState> for Options {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> std::result::Result<Self, Response> {
        // For writes a time limit of 0 is accepted.
        let matched = parts.extensions.get::<MatchedPath>();
        let is_read = matched.is_some_and(|path| right_of(&parts.method, path.as_str()).is_read());
        let options = Self::parse(parts.uri.query().unwrap_or_default(), is_read)
            .and_then(|options| options.for_route(matched.map_or("", MatchedPath::as_str)));
        let access = parts.extensions.get().cloned().unwrap_or_default();
        options.map(|options| Self { access, ..options }).map_err(|e| e.to_response(0.0))
    }
}

/// A JSON body. Its content type is not looked at.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &AppState) -> std::result::Result<Self, Response> {
        let started = Started::now();
        let (parts, body) = request.into_parts();
        let read = read_body(&parts.headers, body, state, parse);
        read.await.map(Body).map_err(|e| e.to_response(started.seconds()))
    }
}

/// A body of a frequent request: in one pass where it is plain, with the same result and the same errors.
pub async fn fast_body<T: FastBody + Send + 'static>(
    headers: &HeaderMap,
    body: HttpBody,
    state: &AppState,
) -> Result<T> {
    read_body(headers, body, state, |bytes| T::read(bytes).map_or_else(|| parse(bytes), Ok)).await
}

/// Any other body.
pub async fn plain_body<T: DeserializeOwned + Send + 'static>(
    headers: &HeaderMap,
    body: HttpBody,
    state: &AppState,
) -> Result<T> {
    read_body(headers, body, state, parse).await
}

async fn read_body<T: Send + 'static>(
    headers: &HeaderMap,
    body: HttpBody,
    state: &AppState,
    parse: fn(&[u8]) -> Result<T>,
) -> Result<T> {
    let node = &state.registry.node;
    let longest = Duration::from_secs(node.settings.service.request_timeout_sec);
    let received = tokio::time::timeout(longest, receive(headers, body, node, longest)).await;
    let (bytes, _memory) = received.map_err(|_| {
        let text = format!("Timeout: the body of the request did not arrive within {}s", longest.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, text)
    })??;
    let coding = Coding::of(headers);
    if coding.is_none() && bytes.len() <= PARSE_INLINE_BYTES {
        return parse(&bytes);
    }
    let (deadline, limit) = (Deadline::after(longest), node.settings.service.max_request_size_mb << 20);
    let work = move |_: &_| match coding {
        None => parse(&bytes),
        Some(coding) => match coding.decoded(&bytes, limit)? {
            Some(plain) => parse(&plain),
            None => Err(too_large(limit.saturating_add(1), limit)),
        },
    };
    node.pools.search.run("Parse", deadline, work).await?
}

/// The whole body, and the memory that it was admitted with. Memory is asked for, and waited for, before the bytes are
/// taken: many bodies that arrive at the same time must not fill it.
async fn receive(
    headers: &HeaderMap,
    body: HttpBody,
    node: &Node,
    longest: Duration,
) -> Result<(Bytes, Reservation)> {
    let limit = node.settings.service.max_request_size_mb << 20;
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced: Option<usize> = announced.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let asks_first = headers.contains_key(header::EXPECT);
    let mut chunks = body.into_data_stream();
    if let Some(length) = announced.filter(|l| *l > limit) {
        if !asks_first {
            discard(&mut chunks).await;
        }
        return Err(too_large(length, limit));
    }
    let mut admitted = announced.unwrap_or(0);
    let admit = |bytes: usize| node.memory.admit(bytes as u64 * MEMORY_FACTOR, longest);
    let mut memory = match admit(admitted).await {
        Ok(memory) => memory,
        Err(refused) => {
            if !asks_first {
                discard(&mut chunks).await;
            }
            return Err(refused.into());
        }
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| {
            let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            ApiError::bad_request(format!("the body could not be read: {reason}"))
        })?;
        let length = bytes.len() + chunk.len();
        if length > limit {
            discard(&mut chunks).await;
            return Err(too_large(length, limit));
        }
        if length > admitted {
            admitted = (length * 2).min(limit);
            // What arrived so far is measured; to have it reserved as well would count it twice.
            drop(memory);
            memory = admit(admitted).await?;
        }
        // A body that arrives in one piece is used as it is.
        if bytes.is_empty() && Some(length) == announced {
            return Ok((chunk, memory));
        }
        bytes.reserve_exact(if bytes.is_empty() { admitted.max(length) } else { 0 });
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.into(), memory))
}

/// Takes what is left of a refused body for a while: most clients look for the answer only when they have sent all.
async fn discard(chunks: &mut BodyDataStream) {
    let taking = async {
        let mut left = DISCARD_MAX_BYTES;
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // Whoever sends for longer will see a closed connection.
    let _ = tokio::time::timeout(DISCARD_TIME, taking).await;
}

fn too_large(length: usize, limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        format!("JSON payload ({length} bytes) is larger than allowed (limit: {limit} bytes)."),
    )
    .hint("Send fewer points in one request, or raise service.max_request_size_mb")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // The parser would read an array as the fields of an object in their order, which nobody means.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
        return Err(ApiError::format("invalid type: sequence, expected an object at line 1 column 1"));
    }
    serde_json::from_slice(bytes).map_err(|e| {
        // Texts of the protocol's own stand without the position that the parser adds.
        let text = e.to_string();
        let own = ["is not a valid point ID, valid values"].iter().any(|t| text.contains(t));
        let shown = if own { text.split(" at line ").next().unwrap_or(&text).to_owned() } else { text };
        ApiError::format(shown)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, is_read: bool, expected: std::result::Result<(Option<bool>, Option<u64>), &str>) {
        match (Options::parse(query, is_read), expected) {
            (Ok(o), Ok(expected)) => assert_eq!((o.wait, o.timeout), expected, "{query}"),
            (Err(e), Err(text)) => {
                assert_eq!(e.text, format!("Deserialize error in query parameters: {text}"))
            }
            (got, _) => panic!("{query}: {got:?}"),
        }
    }

    #[test]
    fn query_strings() {
        check("", true, Ok((None, None)));
        check("wait=true&timeout=5", false, Ok((Some(true), Some(5))));
        check("wait=1", false, Err("provided string was not `true` or `false`"));
        check("timeout=0", true, Err("invalid value: integer `0`, expected a nonzero u64"));
        check("timeout=0", false, Ok((None, Some(0))));
        check(
            "ordering=foo",
            false,
            Err("unknown variant `foo`, expected one of `weak`, `medium`, `strong`"),
        );
        check("details_level=all", true, Err("invalid digit found in string"));
        check(
            "priority=mine",
            false,
            Err("unknown variant `mine`, expected one of `no_sync`, `snapshot`, `replica`"),
        );
        check(
            "consistency=foo",
            true,
            Err("failed to deserialize read consistency query parameter value 'foo'"),
        );
        assert_eq!(percent_decode("a%20b%zz"), "a b%zz");
    }
}
