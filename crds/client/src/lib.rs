//! How the operator and the nodes reach the API server: with connections whose death is noticed in seconds.
//!
//! A connection that a network fault interrupted is kept by TCP for many minutes, and is tried ever more rarely: after a cut of
//! 20 s its next try may come 25 s later. A request on it hangs for so long, and a watch on it is silent without a
//! word. So each connection is given up when nothing was acknowledged for some seconds, and made anew.
#![forbid(unsafe_code)]

use std::time::Duration;

use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

/// Longest time for making a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// A connection on which something sent was not acknowledged for so long is given up. Long enough for five tries.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// A connection on which nothing was said for so long is asked whether it lives, and then so often.
const ASK_AFTER: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Longest time until an answer begins; a watch's begins at once.
const ANSWER: Duration = Duration::from_secs(15);

/// Connects as a pod does, or as KUBECONFIG says.
///
/// Nothing is retried here: callers know until when an answer is of use, and plan anew when it didn't come.
///
/// # Errors
/// When neither says how, or what it says can't be used.
pub async fn connect() -> anyhow::Result<Client> {
    let config = Config::infer().await?;
    // It says itself that it knows no proxies.
    if config.proxy_url.is_some() {
        return Ok(Client::try_from(config)?);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(ASK_AFTER));
    tcp.set_keepalive_interval(Some(ASK_EVERY));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let http: Http<_, Body> = Http::builder(TokioExecutor::new()).build(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .timeout(ANSWER)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}
