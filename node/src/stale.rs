//! Reads whose answer may be older than is promised: who asked is told.
//!
//! A copy that has not heard from the others for long may have been replaced. When no other one answers, its data is worth
//! more than an error, as long as nobody takes it for what was written last.

use std::cell::Cell;

use axum::http::HeaderValue;
use axum::response::Response;

/// Header of such an answer, on both ports.
pub const HEADER: &str = "quiver-stale";

tokio::task_local! {
    /// Whether anything in the answer to the request of this task may be old.
    static OLD: Cell<bool>;
}

/// Answers a request; the answer says so if anything in it may be old.
pub async fn told(answering: impl Future<Output = Response>) -> Response {
    let answering = async {
        let mut response = answering.await;
        if OLD.with(Cell::get) {
            response.headers_mut().insert(HEADER, HeaderValue::from_static("true"));
        }
        response
    };
    OLD.scope(Cell::new(false), answering).await
}

/// Something in the answer to the request that this task works on may be old.
pub fn mark() {
    // A read for the node's own use has nobody to be told.
    let _ = OLD.try_with(|old| old.set(true));
}
