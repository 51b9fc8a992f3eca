//! Who may do what on the public port.
//!
//! Decided from the headers, the route that matched and the collection in its path, before the first byte of a body is
//! read; never from the text of the path. What a body names besides is checked when it is parsed, by
//! [`Access::check_query`] and [`Access::check_groups`]. The port of the other nodes has nothing of this: there only
//! certificates count.

mod access;
mod routes;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

pub use access::{Access, Right};
#[cfg(test)]
pub use routes::entry;
pub use routes::right_of;
#[cfg(test)]
pub use token::signed;
pub use token::{Refused, ValueExists};

use crate::collection::registry::Registry;
use crate::config::{Secret, Service};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

/// The keys, as digests: comparing them takes the same time whatever was sent.
#[derive(Default)]
pub struct Keys {
    full: Vec<[u8; 32]>,
    read_only: Vec<[u8; 32]>,
    tokens: Vec<token::Reader>,
    pub refusals: Refusals,
}

/// Requests that were refused since the start.
#[derive(Debug, Default)]
pub struct Refusals {
    /// For want of a key or token that counts.
    pub credentials: AtomicU64,
    /// For want of a right.
    pub rights: AtomicU64,
}

/// Whom the headers name.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub access: Access,
    /// What has to be looked for before that counts.
    pub unless_gone: Option<ValueExists>,
}

impl Keys {
    pub fn new(service: &Service) -> Self {
        let digests = |keys: &[&Option<Secret>]| {
            keys.iter().filter_map(|k| k.as_ref()).map(|k| Sha256::digest(k.expose()).into()).collect()
        };
        let signers = [&service.api_key, &service.alt_api_key].into_iter().flatten();
        Self {
            full: digests(&[&service.api_key, &service.alt_api_key]),
            read_only: digests(&[&service.read_only_api_key]),
            tokens: signers.filter(|_| service.jwt_rbac).map(token::Reader::new).collect(),
            refusals: Refusals::default(),
        }
    }

    /// Whether any key is set.
    pub fn required(&self) -> bool {
        !self.full.is_empty() || !self.read_only.is_empty()
    }

    /// Whose request it is, by its headers.
    pub fn bearer(&self, headers: &HeaderMap) -> std::result::Result<Bearer, Refused> {
        let by_key = |access| Ok(Bearer { access, unless_gone: None });
        if !self.required() {
            return by_key(Access::FULL);
        }
        let Some(sent) = sent_key(headers) else {
            let text = "Must provide an API key or an Authorization bearer token";
            return Err(Refused::unauthorized(text));
        };
        let digest: [u8; 32] = Sha256::digest(sent).into();
        let any =
            |keys: &[[u8; 32]]| keys.iter().fold(Choice::from(0), |found, key| found | key.ct_eq(&digest));
        match (bool::from(any(&self.full)), bool::from(any(&self.read_only))) {
            (true, _) => by_key(Access::FULL),
            (false, true) => by_key(Access::READ_ONLY),
            (false, false) => self.bearer_of_token(sent),
        }
    }

    /// A token of either key counts; of several reasons against it the first is told.
    fn bearer_of_token(&self, token: &[u8]) -> std::result::Result<Bearer, Refused> {
        let mut refused = None;
        for read in self.tokens.iter().filter_map(|reader| reader.read(token)) {
            match read {
                Ok(claims) => return Ok(Bearer { access: claims.access, unless_gone: claims.value_exists }),
                Err(e) => refused = refused.or(Some(e)),
            }
        }
        Err(refused.unwrap_or_else(|| Refused::unauthorized("Invalid API key or JWT")))
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
pub async fn authorize(State(registry): State<Arc<Registry>>, mut request: Request, next: Next) -> Response {
    let keys = &registry.node.keys;
    if !keys.required() {
        request.extensions_mut().insert(Access::FULL);
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let matched = parts.extensions.get::<MatchedPath>().cloned();
    let right = matched.as_ref().map_or(Right::GlobalManage, |p| right_of(&parts.method, p.as_str()));
    if right == Right::Free {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let access = match let_in(&registry, &parts.headers).await {
        Ok(access) => access,
        Err(response) => {
            keys.refusals.credentials.fetch_add(1, Ordering::Relaxed);
            return response;
        }
    };
    // An unknown route is 404 for whoever may be here at all.
    if matched.is_some() {
        let params = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
        let name = params.as_ref().and_then(|p| p.iter().find(|(key, _)| *key == "name")).map(|(_, v)| v);
        if let Err(e) = access.check(right, name) {
            keys.refusals.rights.fetch_add(1, Ordering::Relaxed);
            return e.to_response(0.0);
        }
    }
    parts.extensions.insert(access);
    next.run(Request::from_parts(parts, body)).await
}

/// What the bearer of these headers may do, or the answer to whom they let do nothing.
async fn let_in(registry: &Registry, headers: &HeaderMap) -> std::result::Result<Access, Response> {
    let refuse = |e: Refused| (e.code, [(header::CONTENT_TYPE, "text/plain")], e.text).into_response();
    let bearer = registry.node.keys.bearer(headers).map_err(refuse)?;
    if let Some(wanted) = bearer.unless_gone {
        const TEXT: &str = "Invalid JWT, stateful validation failed";
        match value_exists(registry, wanted).await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => return Err(refuse(Refused::unauthorized(TEXT))),
            Ok(None) => return Err(refuse(Refused::forbidden(TEXT))),
            Err(e) => return Err(e.to_response(0.0)),
        }
    }
    Ok(bearer.access)
}

/// Whether a point is there that a token depends on; `None` without such a collection.
async fn value_exists(registry: &Registry, wanted: ValueExists) -> Result<Option<bool>> {
    use quiver_api::points::{WithPayload, WithVector};
    if !registry.is_open() {
        return Err(ApiError::starting());
    }
    let Some(collection) = registry.find(&wanted.collection) else { return Ok(None) };
    let longest = registry.node.settings.service.request_timeout_sec;
    let deadline = Deadline::after(Duration::from_secs(longest));
    let nothing = (WithPayload::Bool(false), WithVector::Bool(false));
    let (found, _) = collection.scroll(Some(wanted.filter), None, 1, nothing, deadline).await?;
    Ok(Some(!found.is_empty()))
}
