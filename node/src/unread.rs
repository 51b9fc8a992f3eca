//! What an answer left unread of its request's body: it is read to the end before the answer goes out.
//!
//! An answer to the head alone (of a request whose token or parameters are wrong, say) would make the server close the
//! connection, since the body that still arrives would be taken for the next request. The client would learn of it when its
//! next request fails.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;

/// So much is read for nothing; who sends more has to connect again.
const READ_MAX: u64 = 1 << 20;
/// So long is waited for it.
const READ_FOR: Duration = Duration::from_secs(1);

/// Where a body is put that was dropped before its end.
#[derive(Clone, Default)]
pub struct Unread(Arc<Mutex<Option<Body>>>);

/// A body that leaves what wasn't read of it.
struct Watched {
    body: Body,
    left: Unread,
}

/// The body to give to a handler, and where it leaves what it doesn't read. `None`: there is none, or the client waits to be
/// told that it may send it.
pub fn watch(headers: &HeaderMap, body: Body) -> (Body, Option<Unread>) {
    if body.is_end_stream() || headers.contains_key(header::EXPECT) {
        return (body, None);
    }
    let left = Unread::default();
    (Body::new(Watched { body, left: left.clone() }), Some(left))
}

impl Unread {
    /// Reads what was left, and says so in the answer if the connection ends all the same.
    pub async fn read(self, version: Version, response: &mut Response) {
        let Some(mut body) = self.0.lock().take() else { return };
        let announced = body.size_hint().lower();
        let reading = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > READ_MAX {
                    return false;
                }
            }
            true
        };
        let ended = announced <= READ_MAX && tokio::time::timeout(READ_FOR, reading).await.unwrap_or(false);
        if !ended && version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            *self.left.0.lock() = Some(std::mem::take(&mut self.body));
        }
    }
}
