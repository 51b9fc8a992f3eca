//! A server of the protocol as a client sees it: a few calls, tried again while they may still succeed.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Bytes, BytesMut};
use quiver_api::point::PointId;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Method, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::point::Point;

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest time without a byte of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// An answer above this is refused rather than kept in memory.
const ANSWER_BYTES_MAX: usize = 512 << 20;
/// How often a call is made before its failure counts.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// One server.
#[derive(Clone)]
pub struct Remote {
    client: reqwest::Client,
    url: Url,
    key: Option<HeaderValue>,
}

/// An answer that says no.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered {status}: {text}")]
pub struct Refused {
    pub status: u16,
    pub text: String,
    pub url: String,
}

/// Some points, and where the next ones start.
#[derive(Deserialize)]
pub struct Page {
    pub points: Vec<Point>,
    #[serde(default)]
    pub next_page_offset: Option<PointId>,
}

#[derive(Deserialize)]
struct Answer<T> {
    result: T,
}

#[derive(Serialize)]
struct ScrollBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<PointId>,
    limit: usize,
    with_payload: bool,
    with_vector: bool,
}

/// How one try ended that may be made again.
struct Again {
    why: anyhow::Error,
    wait: Option<Duration>,
}

impl Remote {
    /// # Errors
    /// If it is no address of a server.
    pub fn new(url: &str, key: Option<&str>) -> Result<Self> {
        let mut parsed = Url::parse(url).with_context(|| format!("`{url}` is no URL"))?;
        if !["http", "https"].contains(&parsed.scheme()) || parsed.cannot_be_a_base() {
            bail!("`{url}` is no URL of a server: it has to start with http:// or https://");
        }
        parsed.set_query(None);
        parsed.set_fragment(None);
        let key =
            key.map(HeaderValue::from_str).transpose().context("the api key is no value of a header")?;
        let mut builder = reqwest::Client::builder().connect_timeout(CONNECT_MAX).read_timeout(SILENCE_MAX);
        // An image without certificates of its own trusts the public authorities; without any no client can be made.
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|c| Certificate::from_der(c));
            builder = builder.tls_certs_only(public.collect::<Result<Vec<_>, _>>()?);
        }
        let client = builder.build().context("preparing to connect")?;
        Ok(Self { client, url: parsed, key })
    }

    /// Its address, for sentences.
    pub fn name(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Makes a call and gives its `result`. `path` is a list of parts, which are escaped here.
    ///
    /// # Errors
    /// [`Refused`] if the server says no, another one if it doesn't answer although it was asked again and again.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &str,
        body: Option<Bytes>,
    ) -> Result<T> {
        let mut wait = FIRST_WAIT;
        for left in (0..TRIES).rev() {
            match self.try_once(&method, path, query, body.clone()).await? {
                Ok(raw) => {
                    let answer: Answer<T> = serde_json::from_slice(&raw)
                        .with_context(|| format!("{} gave an answer of another form", self.name()))?;
                    return Ok(answer.result);
                }
                Err(again) if left == 0 => return Err(again.why),
                Err(again) => tokio::time::sleep(again.wait.unwrap_or(wait).min(WAIT_MAX)).await,
            }
            wait *= 2;
        }
        unreachable!("the last try returns")
    }

    async fn try_once(
        &self,
        method: &Method,
        path: &[&str],
        query: &str,
        body: Option<Bytes>,
    ) -> Result<std::result::Result<Bytes, Again>> {
        let mut url = self.url.clone();
        url.path_segments_mut().map_err(|()| anyhow!("no base"))?.pop_if_empty().extend(path);
        url.set_query((!query.is_empty()).then_some(query));
        let shown = format!("{}{}", self.name(), url.path().trim_start_matches(self.url.path()).trim_end());
        let mut request = self.client.request(method.clone(), url);
        if let Some(key) = &self.key {
            request = request.header("api-key", key);
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(e) => return Ok(Err(Again { why: anyhow!(e).context(self.silent()), wait: None })),
        };
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        let mut raw = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(piece)) if raw.len() + piece.len() <= ANSWER_BYTES_MAX => raw.extend(piece),
                Ok(Some(_)) => bail!("{shown} gave an answer of more than {ANSWER_BYTES_MAX} bytes"),
                Err(e) => return Ok(Err(Again { why: anyhow!(e).context(self.silent()), wait: None })),
            }
        }
        if status.is_success() {
            return Ok(Ok(raw.freeze()));
        }
        let refused = Refused { status: status.as_u16(), text: text_of(&raw), url: shown };
        // A full disk (507) stays full, and a defect (500) stays a defect.
        match status.as_u16() {
            429 | 502 | 503 | 504 => {
                Ok(Err(Again { why: refused.into(), wait: wait.map(Duration::from_secs) }))
            }
            _ => Err(refused.into()),
        }
    }

    fn silent(&self) -> String {
        format!("{} does not answer", self.name())
    }

    /// Names of all collections, in order.
    pub async fn collections(&self) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        #[derive(Deserialize)]
        struct List {
            collections: Vec<Named>,
        }
        let list: List = self.call(Method::GET, &["collections"], "", None).await?;
        let mut names: Vec<String> = list.collections.into_iter().map(|c| c.name).collect();
        names.sort();
        Ok(names)
    }

    /// Whether a collection is there. A server that is older than the question is asked for the collection itself.
    pub async fn exists(&self, collection: &str) -> Result<bool> {
        match self.call::<Value>(Method::GET, &["collections", collection], "", None).await {
            Ok(_) => Ok(true),
            Err(e) if e.downcast_ref::<Refused>().is_some_and(|r| r.status == 404) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The exact number of points.
    pub async fn count(&self, collection: &str) -> Result<u64> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        let path = ["collections", collection, "points", "count"];
        let count: Count =
            self.call(Method::POST, &path, "", Some(bytes(&json!({ "exact": true }))?)).await?;
        Ok(count.count)
    }

    /// Points with everything they have, in the order of their ids.
    pub async fn scroll(&self, collection: &str, offset: Option<PointId>, limit: usize) -> Result<Page> {
        let body = ScrollBody { offset, limit, with_payload: true, with_vector: true };
        let path = ["collections", collection, "points", "scroll"];
        self.call(Method::POST, &path, "", Some(bytes(&body)?)).await
    }

    /// Points by their ids; what isn't there is absent.
    pub async fn retrieve(&self, collection: &str, ids: &[PointId]) -> Result<Vec<Point>> {
        let body = json!({ "ids": ids, "with_payload": true, "with_vector": true });
        self.call(Method::POST, &["collections", collection, "points"], "", Some(bytes(&body)?)).await
    }
}

/// A body.
pub fn bytes(body: &impl Serialize) -> Result<Bytes> {
    Ok(serde_json::to_vec(body).context("writing a body")?.into())
}

/// What an error answer says, with its hint if it has one.
fn text_of(raw: &[u8]) -> String {
    let parsed: Value = serde_json::from_slice(raw).unwrap_or_default();
    let part = |name: &str| parsed["status"][name].as_str().map(str::to_owned);
    match (part("error"), part("hint")) {
        (Some(error), Some(hint)) => format!("{error} ({hint})"),
        (Some(error), None) => error,
        (None, _) => String::from_utf8_lossy(&raw[..raw.len().min(300)]).into_owned(),
    }
}
