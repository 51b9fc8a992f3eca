//! Calls of the nodes' internal port, over mutual TLS. The names of pods are verified but not looked up: the
//! operator knows their addresses, and needs no DNS to repair a cluster.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use quiver_api::internal::{
    DeleteSnapshotAnswer, DeleteSnapshotRequest, InternalError, NodeStatus, PutManifestAnswer,
    PutManifestRequest, SchemaAnswer, SchemaRequest, ShardManifest, UploadRequest,
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::build::PEER_PORT;
use crate::build::certificate::PeerTls;

const CONNECT: Duration = Duration::from_secs(3);
const STATUS: Duration = Duration::from_secs(5);
const SCHEMA: Duration = Duration::from_secs(60);
const SNAPSHOT: Duration = Duration::from_secs(900);

/// Why a node didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer: it may have been done.
    #[error("{0}")]
    Unreachable(String),
    /// It said no.
    #[error("{error}")]
    Refused { status: StatusCode, error: String, retryable: bool },
}

impl CallError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            CallError::Unreachable(_) => true,
            CallError::Refused { retryable, .. } => *retryable,
        }
    }
}

/// A client for each collection: each has an authority of its own.
#[derive(Default)]
pub struct NodeClients {
    by_uid: Mutex<BTreeMap<String, (String, NodeClient)>>,
}

impl NodeClients {
    /// The client for a collection's nodes.
    pub fn of(&self, uid: &str, tls: &PeerTls) -> Result<NodeClient> {
        let mut clients = self.by_uid.lock();
        if let Some((certificate, client)) = clients.get(uid)
            && *certificate == tls.tls_crt
        {
            return Ok(client.clone());
        }
        let client = NodeClient::new(tls)?;
        clients.insert(uid.to_owned(), (tls.tls_crt.clone(), client.clone()));
        Ok(client)
    }

    /// Forgets a collection that is gone.
    pub fn forget(&self, uid: &str) {
        self.by_uid.lock().remove(uid);
    }
}

/// The nodes of one collection.
#[derive(Clone)]
pub struct NodeClient {
    http: reqwest::Client,
    addresses: Addresses,
}

#[derive(Clone, Default)]
struct Addresses(Arc<Mutex<HashMap<String, IpAddr>>>);

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.lock().get(name.as_str()).copied();
        Box::pin(async move {
            let ip = found.ok_or("the pod has no address")?;
            let addresses: Addrs = Box::new(std::iter::once(SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

impl NodeClient {
    fn new(tls: &PeerTls) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(tls.ca_crt.as_bytes()) {
            roots.add(certificate.context("ca.crt of the peers")?).context("ca.crt of the peers")?;
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(tls.tls_crt.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(tls.tls_key.as_bytes()).context("tls.key of the peers")?;
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.context("tls.crt of the peers")?, key)
            .context("the certificate of the peers and its key")?;
        let addresses = Addresses::default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .pool_idle_timeout(Duration::from_secs(30))
            .dns_resolver(Arc::new(addresses.clone()))
            .tls_backend_preconfigured(config)
            .build()
            .context("making the client of the internal ports")?;
        Ok(Self { http, addresses })
    }

    /// Remembers where a pod is.
    pub fn locate(&self, host: &str, ip: IpAddr) {
        self.addresses.0.lock().insert(host.to_owned(), ip);
    }

    pub async fn status(&self, host: &str) -> Result<NodeStatus, CallError> {
        self.call(Method::GET, host, "/internal/status", None::<&()>, STATUS).await
    }

    pub async fn put_schema(&self, host: &str, schema: &SchemaRequest) -> Result<SchemaAnswer, CallError> {
        self.call(Method::PUT, host, "/internal/schema", Some(schema), SCHEMA).await
    }

    /// Uploads a shard; takes as long as it takes, up to `limit`.
    pub async fn upload(
        &self,
        host: &str,
        shard: i32,
        request: &UploadRequest,
        limit: Duration,
    ) -> Result<ShardManifest, CallError> {
        self.call(Method::POST, host, &format!("/internal/shards/{shard}/upload"), Some(request), limit).await
    }

    pub async fn put_manifest(
        &self,
        host: &str,
        request: &PutManifestRequest,
    ) -> Result<PutManifestAnswer, CallError> {
        self.call(Method::POST, host, "/internal/snapshots/manifest", Some(request), SNAPSHOT).await
    }

    pub async fn delete_snapshot(
        &self,
        host: &str,
        request: &DeleteSnapshotRequest,
    ) -> Result<DeleteSnapshotAnswer, CallError> {
        self.call(Method::POST, host, "/internal/snapshots/delete", Some(request), SNAPSHOT).await
    }

    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        host: &str,
        path: &str,
        body: Option<&B>,
        limit: Duration,
    ) -> Result<A, CallError> {
        let pod = host.split('.').next().unwrap_or(host);
        let lost =
            |e: reqwest::Error| CallError::Unreachable(format!("node {pod} can't be reached: {}", root(&e)));
        let mut request =
            self.http.request(method, format!("https://{host}:{PEER_PORT}{path}")).timeout(limit);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(lost)?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(lost);
        }
        let refused = answer.json::<InternalError>().await;
        let refused = refused.unwrap_or_else(|_| InternalError {
            error: format!("node {pod} answered {status}"),
            retryable: status.is_server_error(),
        });
        Err(CallError::Refused { status, error: refused.error, retryable: refused.retryable })
    }
}

/// The innermost cause: what reqwest puts around it says nothing.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
