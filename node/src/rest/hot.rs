//! The frequent calls, recognised by method and path alone.
//!
//! They get the same answers as by way of the router, from the same functions; what they do without is what a request
//! for ten points would spend most of its time in: routing, layers and extractors.

use axum::body::Body;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use quiver_api::points::BatchOperation;

use super::AppState;
use super::extract::{Options, Started, fast_body, plain_body};
use super::{points, query};
use crate::auth::{Access, Right};
use crate::error::Result;

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Query,
    QueryBatch,
    Search,
    SearchBatch,
    Upsert,
    Retrieve,
    Scroll,
    Count,
    Get,
}

/// A frequent call of one collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    kind: Kind,
    pub name: &'a str,
    /// Of a point, if the path names one.
    id: &'a str,
    /// The route as the protocol writes it.
    pub endpoint: &'static str,
    pub method: &'static str,
    pub right: Right,
}

/// The call that a request is, if it is one of the frequent ones. A path that has to be decoded first is not.
pub fn call_of<'a>(method: &Method, path: &'a str) -> Option<Call<'a>> {
    let (name, rest) = path.strip_prefix("/collections/")?.split_once('/')?;
    if name.is_empty() || path.contains('%') {
        return None;
    }
    let post = *method == Method::POST;
    let call = |kind, endpoint| {
        let (method, right) = match kind {
            Kind::Upsert => ("PUT", Right::WritePoints),
            Kind::Get => ("GET", Right::Read),
            _ => ("POST", Right::Read),
        };
        Some(Call { kind, name, id: "", endpoint, method, right })
    };
    match rest {
        "points" if post => call(Kind::Retrieve, "/collections/{collection_name}/points"),
        "points" if *method == Method::PUT => call(Kind::Upsert, "/collections/{collection_name}/points"),
        "points/query" if post => call(Kind::Query, "/collections/{collection_name}/points/query"),
        "points/query/batch" if post => {
            call(Kind::QueryBatch, "/collections/{collection_name}/points/query/batch")
        }
        "points/search" if post => call(Kind::Search, "/collections/{collection_name}/points/search"),
        "points/search/batch" if post => {
            call(Kind::SearchBatch, "/collections/{collection_name}/points/search/batch")
        }
        "points/scroll" if post => call(Kind::Scroll, "/collections/{collection_name}/points/scroll"),
        "points/count" if post => call(Kind::Count, "/collections/{collection_name}/points/count"),
        _ if *method == Method::GET => {
            // Any other word could be the name of a call.
            let id = rest.strip_prefix("points/")?;
            let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
            let call = call(Kind::Get, "/collections/{collection_name}/points/{id}")?;
            is_id.then_some(Call { id, ..call })
        }
        _ => None,
    }
}

/// Answers a call.
pub async fn answer(state: &AppState, call: Call<'_>, access: Access, parts: &Parts, body: Body) -> Response {
    let at = Started::now();
    let options = Options::parse(parts.uri.query().unwrap_or_default(), call.right.is_read());
    let options = match options.and_then(|options| options.for_route(call.endpoint)) {
        Ok(options) => Options { access, ..options },
        Err(e) => return e.to_response(0.0),
    };
    match parsed_answer(state, call, parts, body, options, at).await {
        Ok(response) => response,
        Err(e) => e.to_response(at.seconds()),
    }
}

/// The error is that of a body that can't be read.
async fn parsed_answer(
    state: &AppState,
    call: Call<'_>,
    parts: &Parts,
    body: Body,
    options: Options,
    at: Started,
) -> Result<Response> {
    let (name, headers) = (call.name, &parts.headers);
    Ok(match call.kind {
        Kind::Query => {
            let body = fast_body(headers, body, state).await?;
            query::query_answer(state, name, options, at, body).await
        }
        Kind::QueryBatch => {
            let body = fast_body(headers, body, state).await?;
            query::query_batch_answer(state, name, options, at, body).await
        }
        Kind::Search => {
            let body = fast_body(headers, body, state).await?;
            query::search_answer(state, name, options, at, body).await
        }
        Kind::SearchBatch => {
            let body = fast_body(headers, body, state).await?;
            query::search_batch_answer(state, name, options, at, body).await
        }
        Kind::Upsert => {
            let body = fast_body(headers, body, state).await?;
            at.answer(points::run(state, name, &options, BatchOperation::Upsert(body)).await)
        }
        Kind::Retrieve => {
            let body = plain_body(headers, body, state).await?;
            points::retrieve_answer(state, name, options, at, body).await
        }
        Kind::Scroll => {
            let body = plain_body(headers, body, state).await?;
            points::scroll_answer(state, name, options, at, body).await
        }
        Kind::Count => {
            let body = plain_body(headers, body, state).await?;
            points::count_answer(state, name, options, at, body).await
        }
        Kind::Get => points::get_answer(state, name, call.id, options, at).await,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, path: &str, expected: Option<(Kind, &str, &str)>) {
        let found = call_of(&method, path).map(|c| (c.kind, c.name, c.id));
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn frequent_calls_are_recognised_and_nothing_else_is() {
        check(Method::POST, "/collections/a/points/query", Some((Kind::Query, "a", "")));
        check(Method::POST, "/collections/a/points/query/batch", Some((Kind::QueryBatch, "a", "")));
        check(Method::PUT, "/collections/a-b_c/points", Some((Kind::Upsert, "a-b_c", "")));
        check(Method::POST, "/collections/a/points", Some((Kind::Retrieve, "a", "")));
        check(Method::GET, "/collections/a/points/17", Some((Kind::Get, "a", "17")));
        check(Method::GET, "/collections/a/points/0a-b", Some((Kind::Get, "a", "0a-b")));
        for path in [
            "/collections/a/points/query",
            "/collections/a/points/search",
            "/collections/a/points/",
            "/collections/a/points/1/2",
            "/collections/a",
            "/collections/a/cluster",
            "/collections/%61/points/1",
        ] {
            check(Method::GET, path, None);
        }
        for path in
            ["/collections/a/points/", "/collections//points", "/collections/a/points/delete", "/points"]
        {
            check(Method::POST, path, None);
        }
    }

    #[test]
    fn rights_are_those_of_the_routes() {
        for (method, path) in [
            (Method::POST, "points/query"),
            (Method::POST, "points/query/batch"),
            (Method::POST, "points/search"),
            (Method::POST, "points/search/batch"),
            (Method::POST, "points/scroll"),
            (Method::POST, "points/count"),
            (Method::POST, "points"),
            (Method::PUT, "points"),
            (Method::GET, "points/1"),
        ] {
            let full = format!("/collections/a/{path}");
            let call = call_of(&method, &full).expect("a frequent call");
            let route = call.endpoint.replace("{collection_name}", "{name}");
            assert_eq!(call.right, crate::auth::right_of(&method, &route), "{method} {path}");
            assert_eq!(call.method, method.as_str());
        }
    }
}
