//! Typed calls to the internal ports of a collection's pods, over mutual TLS.
//!
//! Pods are reached by the host name that their certificate has, at the address that the pod object gives:
//! no DNS between the operator and a pod that was just made.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use parking_lot::{Mutex, RwLock};
use quiver_api::internal::{
    DeleteSnapshotAnswer, DeleteSnapshotRequest, FetchManifestRequest, HandOverAnswer, HandOverRequest,
    InternalError, NodeStatus, PROTOCOL_HEADER, PROTOCOL_VERSION, PlaceCopyAnswer, PlaceCopyRequest,
    PutManifestAnswer, PutManifestRequest, S3Destination, SchemaAnswer, SchemaRequest, ShardManifest,
    SnapshotManifest, UploadRequest,
};
use quiver_crds::s3::S3Location;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::certificates::PeerCertificates;
use crate::error::{Error, Result};
use crate::liveness::Standing;
use crate::names;

const CONNECT: Duration = Duration::from_secs(3);
/// A connection on which something sent was not acknowledged for so long is made anew.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
const STATUS: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(1);
/// What a silent node says changes nothing for its shards.
const SILENT: Duration = Duration::from_millis(250);
const PLACE: Duration = Duration::from_secs(10);
const SCHEMA: Duration = Duration::from_secs(60);
const OBJECTS: Duration = Duration::from_secs(600);

/// The same place in the words of the wire.
pub fn destination_of(location: &S3Location) -> S3Destination {
    S3Destination {
        bucket: location.bucket.clone(),
        prefix: location.prefix.clone(),
        region: location.region.clone(),
        endpoint: location.endpoint.clone(),
        force_path_style: location.force_path_style,
    }
}

/// Clients by collection, made again when the certificates change.
#[derive(Default)]
pub struct NodeClients {
    by_uid: Mutex<HashMap<String, (PeerCertificates, Arc<NodeClient>)>>,
}

impl NodeClients {
    /// The client of one collection.
    pub fn of(
        &self,
        uid: &str,
        collection: &str,
        namespace: &str,
        with: &PeerCertificates,
    ) -> Result<Arc<NodeClient>> {
        let mut clients = self.by_uid.lock();
        if let Some((made_with, client)) = clients.get(uid)
            && made_with == with
        {
            return Ok(client.clone());
        }
        let client = Arc::new(NodeClient::new(collection, namespace, with)?);
        clients.insert(uid.to_owned(), (with.clone(), client.clone()));
        Ok(client)
    }

    /// Forgets a collection that is gone.
    pub fn forget(&self, uid: &str) {
        self.by_uid.lock().remove(uid);
    }
}

#[derive(Clone, Default)]
struct Addresses(Arc<RwLock<HashMap<String, IpAddr>>>);

impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.read().get(name.as_str()).copied();
        let host = name.as_str().to_owned();
        Box::pin(async move {
            match found {
                Some(ip) => Ok(Box::new(std::iter::once(SocketAddr::new(ip, 0))) as Addrs),
                None => Err(format!("the pod behind {host} has no address yet").into()),
            }
        })
    }
}

/// Calls to the pods of one collection.
pub struct NodeClient {
    http: reqwest::Client,
    addresses: Addresses,
    collection: String,
    namespace: String,
}

impl NodeClient {
    fn new(collection: &str, namespace: &str, certificates: &PeerCertificates) -> Result<Self> {
        let bad = |e: &dyn std::fmt::Display| Error::Certificates(e.to_string());
        let mut roots = rustls::RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(certificates.ca.as_bytes()) {
            roots.add(ca.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
        }
        let chain: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificates.operator.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(certificates.operator_key.as_bytes()).map_err(|e| bad(&e))?;
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.map_err(|e| bad(&e))?, key)
            .map_err(|e| bad(&e))?;
        let addresses = Addresses::default();
        let version = HeaderValue::from_static(PROTOCOL_VERSION);
        let http = reqwest::Client::builder();
        #[cfg(target_os = "linux")]
        let http = http.tcp_user_timeout(UNACKNOWLEDGED);
        let http = http
            .no_proxy()
            .default_headers([(HeaderName::from_static(PROTOCOL_HEADER), version)].into_iter().collect())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .dns_resolver(addresses.clone())
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|e| bad(&e))?;
        Ok(Self { http, addresses, collection: collection.into(), namespace: namespace.into() })
    }

    /// Learns where the pods are.
    pub fn locate(&self, pods: &[Pod]) {
        let mut found = HashMap::new();
        for pod in pods {
            let status = pod.status.as_ref();
            let running = status.and_then(|s| s.phase.as_deref()) == Some("Running");
            let ip = status.and_then(|s| s.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
            if let Some(ip) = ip.filter(|_| running) {
                found.insert(self.host(&pod.name_any()), ip);
            }
        }
        *self.addresses.0.write() = found;
    }

    /// Whether a pod has an address.
    pub fn knows(&self, pod: &str) -> bool {
        self.addresses.0.read().contains_key(&self.host(pod))
    }

    fn host(&self, pod: &str) -> String {
        names::host(&self.collection, &self.namespace, pod)
    }

    /// What a node says of itself; one that may be dead isn't waited for long.
    pub async fn status(&self, pod: &str, standing: Standing) -> Result<NodeStatus> {
        let patience = match standing {
            Standing::Silent(_) => SILENT,
            Standing::Late => LATE,
            Standing::Alive | Standing::Unknown => STATUS,
        };
        self.call(pod, Method::GET, "status", None::<&()>, patience).await
    }

    /// Lets a node make a copy of a shard that it hasn't got.
    pub async fn place(&self, pod: &str, shard: i32, request: &PlaceCopyRequest) -> Result<PlaceCopyAnswer> {
        self.call(pod, Method::POST, &format!("shards/{shard}/place"), Some(request), PLACE).await
    }

    /// Asks the node that leads a shard to let another copy lead.
    pub async fn hand_over(
        &self,
        pod: &str,
        shard: i32,
        request: &HandOverRequest,
    ) -> Result<HandOverAnswer> {
        self.call(pod, Method::POST, &format!("shards/{shard}/hand-over"), Some(request), PLACE).await
    }

    pub async fn put_schema(&self, pod: &str, request: &SchemaRequest) -> Result<SchemaAnswer> {
        self.call(pod, Method::PUT, "schema", Some(request), SCHEMA).await
    }

    /// Uploads a shard; as long as `patience`, for the files may be large.
    pub async fn upload(
        &self,
        pod: &str,
        shard: i32,
        request: &UploadRequest,
        patience: Duration,
    ) -> Result<ShardManifest> {
        self.call(pod, Method::POST, &format!("shards/{shard}/upload"), Some(request), patience).await
    }

    pub async fn put_manifest(&self, pod: &str, request: &PutManifestRequest) -> Result<PutManifestAnswer> {
        self.call(pod, Method::POST, "snapshots/manifest", Some(request), OBJECTS).await
    }

    pub async fn fetch_manifest(
        &self,
        pod: &str,
        request: &FetchManifestRequest,
    ) -> Result<SnapshotManifest> {
        self.call(pod, Method::POST, "snapshots/fetch-manifest", Some(request), SCHEMA).await
    }

    pub async fn delete_snapshot(
        &self,
        pod: &str,
        request: &DeleteSnapshotRequest,
    ) -> Result<DeleteSnapshotAnswer> {
        self.call(pod, Method::POST, "snapshots/delete", Some(request), OBJECTS).await
    }

    async fn call<B: Serialize, A: DeserializeOwned>(
        &self,
        pod: &str,
        method: Method,
        path: &str,
        body: Option<&B>,
        patience: Duration,
    ) -> Result<A> {
        let failed = |message: String, retryable| Error::Node { pod: pod.to_owned(), message, retryable };
        let url = format!("https://{}:{}/internal/{path}", self.host(pod), names::P2P_PORT);
        let mut request = self.http.request(method, url).timeout(patience);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|e| failed(causes(&e), true))?;
        if response.status().is_success() {
            return response
                .json()
                .await
                .map_err(|e| failed(format!("its answer can't be read: {}", causes(&e)), true));
        }
        let (message, retryable) = refusal(response).await;
        Err(failed(message, retryable))
    }
}

async fn refusal(response: Response) -> (String, bool) {
    let status = response.status();
    match response.json::<InternalError>().await {
        Ok(e) => (e.error, e.retryable),
        Err(_) => (format!("it answers {status}"), status.is_server_error()),
    }
}

/// The whole chain: reqwest's own text stops at "error sending request".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
