//! Mutual TLS of the internal port: both sides show a certificate of one authority, which the operator made for this
//! collection alone. API keys don't open this port and public certificates don't either.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use axum::http::{HeaderName, HeaderValue};
use quiver_api::internal::{PROTOCOL_HEADER, PROTOCOL_VERSION};

use crate::config::Cluster as Settings;
use crate::server::{TlsFiles, identity, roots};

/// Certificates are read again as often as this; the operator renews them long before they end.
const RELOAD: Duration = Duration::from_secs(60);
/// A connection on which something sent was not acknowledged for so long is made anew: TCP itself would try one that a network
/// fault interrupted ever more rarely.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// The files of the internal port's own certificate. `None`: a port on this machine's loopback, without TLS.
pub fn files(settings: &Settings) -> Result<Option<TlsFiles>> {
    let dir = &settings.tls_dir;
    if !dir.as_os_str().is_empty() {
        return Ok(Some(TlsFiles {
            cert: dir.join("tls.crt"),
            key: dir.join("tls.key"),
            client_ca: Some(dir.join("ca.crt")),
            reload_every: RELOAD,
        }));
    }
    let loopback = settings.p2p_host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loopback {
        bail!(
            "cluster.tls_dir is not set: the internal port is served without TLS only on 127.0.0.1 (cluster.p2p_host)"
        );
    }
    Ok(None)
}

/// A client for the internal ports of others; its certificates are read again from time to time.
pub struct PeerClient {
    client: ArcSwap<reqwest::Client>,
    scheme: &'static str,
}

impl PeerClient {
    pub fn start(settings: &Settings) -> Result<Arc<Self>> {
        let files = files(settings)?;
        let connect = Duration::from_millis(settings.connection_timeout_ms);
        let client = build(files.as_ref(), connect)?;
        let scheme = if files.is_some() { "https" } else { "http" };
        let peers = Arc::new(Self { client: ArcSwap::from_pointee(client), scheme });
        if let Some(files) = files {
            let reloading = Arc::downgrade(&peers);
            tokio::spawn(async move {
                let mut last = stamp(&files);
                loop {
                    tokio::time::sleep(RELOAD).await;
                    let Some(peers) = reloading.upgrade() else { return };
                    let now = stamp(&files);
                    if now == last {
                        continue;
                    }
                    match build(Some(&files), connect) {
                        Ok(client) => {
                            peers.client.store(Arc::new(client));
                            last = now;
                        }
                        Err(e) => tracing::warn!("the peer certificate could not be read again: {e:#}"),
                    }
                }
            });
        }
        Ok(peers)
    }

    pub fn client(&self) -> Arc<reqwest::Client> {
        self.client.load_full()
    }

    pub fn url(&self, address: &str, path: &str) -> String {
        format!("{}://{address}{path}", self.scheme)
    }
}

/// When the files changed last. A secret's files are links: what they point at counts.
fn stamp(files: &TlsFiles) -> Vec<Option<std::time::SystemTime>> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let ca = files.client_ca.as_deref().and_then(modified);
    vec![modified(&files.cert), modified(&files.key), ca]
}

fn build(files: Option<&TlsFiles>, connect: Duration) -> Result<reqwest::Client> {
    let version = HeaderValue::from_static(PROTOCOL_VERSION);
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .default_headers([(HeaderName::from_static(PROTOCOL_HEADER), version)].into_iter().collect())
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        builder = builder.tcp_user_timeout(UNACKNOWLEDGED);
    }
    if let Some(files) = files {
        let (chain, key) = identity(&files.cert, &files.key)?;
        let ca = files.client_ca.as_deref().context("the internal port always has an authority")?;
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots(ca)?)
            .with_client_auth_cert(chain, key)
            .context("the peer certificate and its key")?;
        builder = builder.tls_backend_preconfigured(tls);
    }
    builder.build().context("making the client of the internal ports")
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
