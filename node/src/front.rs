//! What stands before the routes: frequent calls are answered here, everything else goes through router and layers.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::response::Response;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use tower::{Service, ServiceExt};

use crate::app;
use crate::auth::Access;
use crate::clock;
use crate::rest::AppState;
use crate::rest::hot::{self, Call};
use crate::{stale, unread};

/// The service of the public port.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    state: AppState,
    routes: Router,
    /// Where everything else than frequent calls runs; where the caller is, if unset.
    elsewhere: Option<Handle>,
}

impl Front {
    /// `routes` have all their layers.
    pub fn new(state: AppState, routes: Router, elsewhere: Option<Handle>) -> Self {
        Self(Arc::new(Inner { state, routes, elsewhere }))
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let version = parts.version;
        let (body, unread) = unread::watch(&parts.headers, body);
        let mut response = self.answered(parts, body).await;
        if response.headers().contains_key(stale::HEADER) {
            self.0.state.registry.node.stale_answers.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(unread) = unread {
            unread.read(version, &mut response).await;
        }
        response
    }

    async fn answered(&self, parts: Parts, body: Body) -> Response {
        let call = hot::call_of(&parts.method, parts.uri.path());
        let call = call.and_then(|call| Some((call, self.access(&call, &parts.headers)?)));
        let Some((call, access)) = call else {
            return self.routed(Request::from_parts(parts, body)).await;
        };
        let begun = clock::now();
        let answering = stale::told(hot::answer(&self.0.state, call, access, &parts, body));
        let response = AssertUnwindSafe(answering).catch_unwind().await.unwrap_or_else(app::panicked);
        let took = clock::now().saturating_duration_since(begun);
        let requests = &self.0.state.registry.node.requests;
        requests.add(call.method, call.endpoint, response.status().as_u16(), took);
        match parts.headers.get(header::ACCEPT_ENCODING) {
            Some(accepted) if app::is_large(&response) => app::compressed(accepted, response).await,
            _ => response,
        }
    }

    /// What the request may do, if nothing stands against answering it here: what is refused, tokens that depend on a
    /// point, and what browsers ask, is the layers' business.
    fn access(&self, call: &Call<'_>, headers: &axum::http::HeaderMap) -> Option<Access> {
        let registry = &self.0.state.registry;
        if !registry.is_open() || headers.contains_key(header::ORIGIN) {
            return None;
        }
        let bearer = registry.node.keys.bearer(headers).ok()?;
        let access = bearer.unless_gone.is_none().then_some(bearer.access)?;
        access.check(call.right, Some(call.name)).is_ok().then_some(access)
    }

    async fn routed(&self, request: Request) -> Response {
        let answering = self.0.routes.clone().oneshot(request);
        let answering = stale::told(answering.map(|answered| match answered {
            Ok(response) => response,
            Err(never) => match never {},
        }));
        match &self.0.elsewhere {
            None => answering.await,
            // A client that goes away ends it, as if it ran here.
            Some(handle) => match AbortOnDropHandle::new(handle.spawn(answering)).await {
                Ok(answered) => answered,
                Err(e) => app::panicked(Box::new(e)),
            },
        }
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { Ok(front.answer(request).await) })
    }
}
