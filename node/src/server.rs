//! Serving a router on a port: limits of connections and heads, TLS with reload, stopping gracefully.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum_server::Handle;
use axum_server::accept::{Accept, NoDelayAcceptor};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};

use crate::shutdown::Shutdown;

/// An idle connection is closed after this, and so is one whose next request's head takes longer.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(75);
/// Largest head of a request.
pub(crate) const HEAD_MAX_BYTES: usize = 16 << 10;

/// How a port is served.
#[derive(Clone, Debug)]
pub struct Options {
    pub connections_max: usize,
    pub first_request: Duration,
    /// How long running requests may go on after a signal.
    pub drain: Duration,
    pub tls: Option<TlsFiles>,
}

/// Where certificates are. Read again as often as `reload_every` says.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: std::path::PathBuf,
    pub key: std::path::PathBuf,
    /// Clients have to show a certificate of this authority.
    pub client_ca: Option<std::path::PathBuf>,
    pub reload_every: Duration,
}

/// Opens the port, so that its number and errors are known before anything is said.
pub async fn listen(host: &str, port: u16) -> Result<TcpListener> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    TcpListener::bind((host, port)).await.with_context(|| match port {
        0 => format!("listening on {host}"),
        _ => format!(
            "listening on {host}:{port}; if another program has the port, choose one with --http-port or \
             QUIVER__SERVICE__HTTP_PORT"
        ),
    })
}

/// Serves until `shutdown` has begun and what runs has finished.
pub async fn serve(listener: TcpListener, app: Router, options: Options, shutdown: Shutdown) -> Result<()> {
    let handle: Handle<SocketAddr> = Handle::new();
    let drain = options.drain;
    let stopping = handle.clone();
    let stop = tokio::spawn(async move {
        shutdown.begun().await;
        stopping.graceful_shutdown(Some(drain));
    });
    let bounded = Bounded { handle: handle.clone(), max: options.connections_max };
    let service = app.into_make_service();
    let mut server = axum_server::Server::<SocketAddr>::from_listener(listener)
        .handle(handle)
        .acceptor(bounded.clone())
        .first_request_timeout(options.first_request);
    server.http_builder().http1().header_read_timeout(IDLE_MAX).max_buf_size(HEAD_MAX_BYTES.max(64 << 10));
    server.http_builder().http2().max_header_list_size(HEAD_MAX_BYTES as u32);
    let served = match options.tls {
        None => server.serve(service).await,
        Some(files) => {
            let config = RustlsConfig::from_config(server_config(&files)?);
            let reloading = tokio::spawn(reload(config.clone(), files));
            let served = server.acceptor(RustlsAcceptor::new(config).acceptor(bounded)).serve(service).await;
            reloading.abort();
            served
        }
    };
    stop.abort();
    served.context("serving")
}

/// Refuses connections above a number; no delay for those it takes.
#[derive(Clone)]
struct Bounded {
    handle: Handle<SocketAddr>,
    max: usize,
}

impl<S: Send + 'static> Accept<TcpStream, S> for Bounded {
    type Stream = TcpStream;
    type Service = S;
    type Future = std::future::Ready<io::Result<(TcpStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        if self.handle.connection_count() > self.max {
            return std::future::ready(Err(io::Error::other("too many connections")));
        }
        NoDelayAcceptor::new().accept(stream, service)
    }
}

/// A configuration of rustls from files.
pub fn server_config(files: &TlsFiles) -> Result<Arc<rustls::ServerConfig>> {
    let (chain, key) = identity(&files.cert, &files.key)?;
    let builder = rustls::ServerConfig::builder();
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots(ca)?))
                .build()
                .with_context(|| format!("the certificate authority in {}", ca.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).with_context(|| {
        format!("the certificate {} and key {}", files.cert.display(), files.key.display())
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A certificate chain and its key.
pub fn identity(cert: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("reading the certificate {}", cert.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("reading the key {}", key.display()))?;
    Ok((chain, key))
}

/// The authorities in a PEM file.
pub fn roots(ca: &Path) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("reading the certificate authority {}", ca.display()))?;
    for certificate in certificates {
        roots.add(certificate).with_context(|| format!("a certificate in {}", ca.display()))?;
    }
    Ok(roots)
}

/// Reads the files again and again; files that are half written or wrong leave the last good ones in force.
async fn reload(config: RustlsConfig, files: TlsFiles) {
    let mut tick = tokio::time::interval(files.reload_every.max(Duration::from_secs(1)));
    tick.tick().await;
    loop {
        tick.tick().await;
        match server_config(&files) {
            Ok(new) => config.reload_from_config(new),
            Err(e) => tracing::warn!("the certificate could not be read again, the old one stays: {e:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn started(options: Options) -> (SocketAddr, Shutdown, tokio::task::JoinHandle<Result<()>>) {
        let listener = listen("127.0.0.1", 0).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = Shutdown::default();
        let app = Router::new().route("/", get(|| async { "here" }));
        let served = tokio::spawn(serve(listener, app, options, shutdown.clone()));
        (address, shutdown, served)
    }

    fn plain() -> Options {
        Options {
            connections_max: 100,
            first_request: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            tls: None,
        }
    }

    async fn get_root(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn a_stopped_server_finishes_and_goes() {
        let (address, shutdown, served) = started(plain()).await;
        assert!(get_root(address).await.ends_with("here"));
        shutdown.begin();
        served.await.expect("joined").expect("stopped without an error");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn connections_above_the_limit_are_closed() {
        let (address, shutdown, served) = started(Options { connections_max: 1, ..plain() }).await;
        let mut first = TcpStream::connect(address).await.expect("connected");
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut byte = [0u8; 1];
        first.read_exact(&mut byte).await.expect("the first connection is served");
        assert_eq!(get_root(address).await, "", "the second one is closed");
        drop(first);
        shutdown.begin();
        served.await.expect("joined").expect("stopped");
    }
}
