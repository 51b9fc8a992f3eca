//! Fetching a snapshot from an address that a client names. Off unless the settings switch it on.
//!
//! The client decides where this node connects to, so the node decides what it may reach: hosts on the list if there is
//! one; addresses that are public unless the host is on the list; no redirects; a name is resolved once, and what was
//! looked at is what is connected to.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use tokio::io::AsyncWriteExt;

use super::{Result, SnapshotError, io};
use crate::config::Service;

/// Longest time without a byte.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Fetches `location` into a new file of at most `size_max` bytes. `api_key` is sent along, for another node's own.
pub async fn fetch(
    settings: &Service,
    location: &str,
    api_key: Option<&str>,
    into: &Path,
    size_max: u64,
) -> Result<()> {
    let (url, addresses) = allowed(settings, location).await?;
    let host = url.host_str().unwrap_or_default().to_string();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_MAX)
        .read_timeout(SILENCE_MAX)
        .resolve_to_addrs(&host, &addresses)
        .build()
        .map_err(|e| SnapshotError::Store(e.to_string()))?;
    let mut request = client.get(url);
    if let Some(key) = api_key {
        request = request.header("api-key", key);
    }
    let failed = |e: reqwest::Error| SnapshotError::Remote(format!("Http request error: {e}"));
    let mut response = request.send().await.map_err(failed)?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(SnapshotError::Remote(format!("Http request error: {location} answered {status}")));
    }
    let what = || format!("writing {}", into.display());
    let mut file = tokio::fs::File::create_new(into).await.map_err(io(what()))?;
    let mut size = 0u64;
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        size += piece.len() as u64;
        if size > size_max {
            return Err(SnapshotError::BadInput(format!(
                "the snapshot is larger than {size_max} bytes, which is free"
            )));
        }
        file.write_all(&piece).await.map_err(io(what()))?;
    }
    file.flush().await.map_err(io(what()))
}

/// The address if this node may connect to it, and what its name means.
async fn allowed(settings: &Service, location: &str) -> Result<(Url, Vec<SocketAddr>)> {
    let forbidden = |text: String| Err(SnapshotError::Forbidden(text));
    if !settings.enable_snapshot_url_recovery {
        return forbidden("Snapshot recovery from remote URLs is disabled in the configuration".into());
    }
    let url =
        Url::parse(location).map_err(|e| SnapshotError::BadInput(format!("Invalid snapshot URI: {e}")))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let listed = settings.snapshot_url_hosts.iter().any(|h| h.eq_ignore_ascii_case(&host));
    if !settings.snapshot_url_hosts.is_empty() && !listed {
        return forbidden(format!(
            "snapshots may not be fetched from {host}: service.snapshot_url_hosts does not list it"
        ));
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let addresses: Vec<SocketAddr> =
        found.map_err(|e| SnapshotError::Remote(format!("Http request error: {host}: {e}")))?.collect();
    if !listed && let Some(private) = addresses.iter().find(|a| !is_public(a.ip())) {
        return forbidden(format!(
            "{host} is {}, an address of the inner network: list the host in service.snapshot_url_hosts to allow it",
            private.ip()
        ));
    }
    Ok((url, addresses))
}

/// Whether an address belongs to the public internet. What isn't certain isn't public.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = a == 0 || a >= 224 || (a == 192 && b == 0) || (a == 198 && (18..20).contains(&b));
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_documentation()
                || shared
                || special)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_public(IpAddr::V4(ip)),
            // Only 2000::/3 is global unicast; tunnels inside it carry IPv4 addresses of any kind.
            None => {
                (ip.segments()[0] & 0xe000) == 0x2000
                    && ip.segments()[0] != 0x2002
                    && ip.segments()[..2] != [0x2001, 0]
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get;

    use super::*;
    use crate::server;

    fn settings(enabled: bool, hosts: &[&str]) -> Service {
        Service {
            enable_snapshot_url_recovery: enabled,
            snapshot_url_hosts: hosts.iter().map(|h| h.to_string()).collect(),
            ..Service::default()
        }
    }

    async fn check(enabled: bool, hosts: &[&str], location: &str, expected: &str) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let into = folder.path().join("fetched");
        match fetch(&settings(enabled, hosts), location, None, &into, 100).await {
            Ok(()) => assert_eq!(expected, "", "{location}"),
            Err(e) => assert!(!expected.is_empty() && e.to_string().contains(expected), "{location}: {e}"),
        }
    }

    #[tokio::test]
    async fn clients_cannot_make_the_node_reach_the_inner_network() {
        check(false, &[], "https://example.com/x", "disabled in the configuration").await;
        for inner in [
            "http://127.0.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/",
            "http://[::1]/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://[fd00::1]/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://localhost/",
        ] {
            check(true, &[], inner, "an address of the inner network").await;
        }
        check(true, &["good.example"], "https://bad.example/x", "does not list it").await;
        check(true, &[], "not a url", "Invalid snapshot URI").await;
    }

    #[tokio::test]
    async fn a_listed_host_is_fetched_from_but_never_followed_elsewhere() {
        let listener = server::listen("127.0.0.1", 0).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let app = Router::new()
            .route("/good", get(|| async { "a snapshot" }))
            .route("/large", get(|| async { "x".repeat(101) }))
            .route("/away", get(|| async { Redirect::temporary("http://169.254.169.254/") }));
        let served = tokio::spawn(async move { axum::serve(listener, app).await });
        check(true, &["127.0.0.1"], &format!("http://{address}/good"), "").await;
        check(true, &["127.0.0.1"], &format!("http://{address}/large"), "larger than 100 bytes").await;
        check(true, &["127.0.0.1"], &format!("http://{address}/away"), "answered 307").await;
        check(true, &["127.0.0.1"], &format!("http://{address}/none"), "answered 404").await;
        served.abort();
    }
}
