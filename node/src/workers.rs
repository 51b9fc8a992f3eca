//! Serving the public port without TLS: a thread for each core, each with a runtime of its own.
//!
//! A connection stays on the thread that took it, and a short request is answered there without waking another one. All
//! threads wait at the same port.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use crate::front::Front;
use crate::server::{HEAD_MAX_BYTES, IDLE_MAX, Options};
use crate::shutdown::Shutdown;

/// A thread that has more connections than another leaves a new one to it for so long.
const LEAVE_FOR: Duration = Duration::from_millis(1);
/// Without file handles to spare, the next connection is tried for after this.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Serves with `threads` threads until `shutdown` has begun and what runs has finished.
pub async fn serve(
    listener: tokio::net::TcpListener,
    front: Front,
    options: Options,
    shutdown: Shutdown,
    threads: usize,
) -> Result<()> {
    let listener = listener.into_std().context("taking the port over")?;
    let connections: Arc<[AtomicUsize]> = (0..threads.max(1)).map(|_| AtomicUsize::new(0)).collect();
    let mut running = Vec::new();
    for number in 0..connections.len() {
        let worker = Worker {
            number,
            connections: connections.clone(),
            gone: Arc::default(),
            front: front.clone(),
            options: options.clone(),
            shutdown: shutdown.clone(),
        };
        let listener = listener.try_clone().context("sharing the port")?;
        let (done, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("rest-{number}"))
            .spawn(move || drop(done.send(worker.run(listener))))
            .context("starting a thread that serves")?;
        running.push(ended);
    }
    // Once the threads have let go of it, nobody listens any more.
    drop(listener);
    for ended in running {
        ended.await.context("a thread that serves panicked")??;
    }
    Ok(())
}

/// One thread.
struct Worker {
    number: usize,
    /// How many each thread has.
    connections: Arc<[AtomicUsize]>,
    /// Told when a connection of this thread has ended.
    gone: Arc<Notify>,
    front: Front,
    options: Options,
    shutdown: Shutdown,
}

/// A connection; no longer counted when it is dropped.
struct Counted {
    connections: Arc<[AtomicUsize]>,
    number: usize,
    gone: Arc<Notify>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections[self.number].fetch_sub(1, Ordering::Relaxed);
        self.gone.notify_one();
    }
}

impl Worker {
    fn run(self, listener: TcpListener) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("starting a runtime")?.block_on(self.take(listener))
    }

    async fn take(self, listener: TcpListener) -> Result<()> {
        listener.set_nonblocking(true).context("serving")?;
        // Its successor is unsafe, because a type may lie about its descriptor; a listener of the standard library does not.
        #[allow(deprecated)]
        let listener = AsyncFd::with_interest(listener, Interest::READABLE).context("serving")?;
        let tasks = TaskTracker::new();
        loop {
            let stream = tokio::select! {
                () = self.shutdown.begun() => break,
                stream = self.next(&listener) => stream?,
            };
            self.connections[self.number].fetch_add(1, Ordering::Relaxed);
            let counted = Counted {
                connections: self.connections.clone(),
                number: self.number,
                gone: self.gone.clone(),
            };
            let all: usize = self.connections.iter().map(|n| n.load(Ordering::Relaxed)).sum();
            if all > self.options.connections_max {
                continue;
            }
            let (front, options, shutdown) =
                (self.front.clone(), self.options.clone(), self.shutdown.clone());
            tasks.spawn(async move {
                let _counted = counted;
                connection(stream, front, &options, &shutdown).await;
            });
        }
        drop(listener);
        tasks.close();
        // What takes longer is dropped with the runtime.
        let _ = tokio::time::timeout(self.options.drain, tasks.wait()).await;
        Ok(())
    }

    /// The next connection.
    async fn next(&self, listener: &AsyncFd<TcpListener>) -> Result<TcpStream> {
        loop {
            let mut ready = listener.readable().await.context("waiting for connections")?;
            self.leave_to_others().await;
            match ready.get_inner().accept() {
                Ok((stream, _)) => {
                    let prepared = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
                    // One that is gone already is no reason to stop.
                    match prepared.and_then(|()| TcpStream::from_std(stream)) {
                        Ok(stream) => return Ok(stream),
                        Err(e) => tracing::debug!("a connection was lost: {e}"),
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(e) => {
                    tracing::warn!("a connection could not be taken: {e}");
                    tokio::time::sleep(EXHAUSTED).await;
                }
            }
        }
    }

    /// Waits for as long as this thread has more connections than another, but not for long.
    async fn leave_to_others(&self) {
        let mut long_enough = std::pin::pin!(tokio::time::sleep(LEAVE_FOR));
        while self.has_more_than_another() {
            tokio::select! {
                () = &mut long_enough => return,
                // Clients that connect for each request come back before their last connection has gone.
                () = self.gone.notified() => {}
            }
        }
    }

    fn has_more_than_another(&self) -> bool {
        let mine = self.connections[self.number].load(Ordering::Relaxed);
        self.connections.iter().any(|n| n.load(Ordering::Relaxed) < mine)
    }
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, front: Front, options: &Options, shutdown: &Shutdown) {
    let begun = Arc::new(AtomicBool::new(false));
    let seen = begun.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(request.map(Body::new)).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).max_buf_size(HEAD_MAX_BYTES.max(64 << 10));
    builder.http2().timer(TokioTimer::new()).max_header_list_size(HEAD_MAX_BYTES as u32);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let mut late = std::pin::pin!(tokio::time::sleep(options.first_request));
    let (mut waits, mut stopping) = (true, false);
    loop {
        tokio::select! {
            biased;
            // Errors are the clients': they went away, or sent something else than HTTP.
            _ = serving.as_mut() => return,
            () = &mut late, if waits => {
                waits = false;
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = shutdown.begun(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::{get, put};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::collection::registry::Registry;
    use crate::config::Settings;
    use crate::node::Node;
    use crate::rest::AppState;
    use crate::snapshot::catalog::Catalog;

    struct Served {
        address: SocketAddr,
        shutdown: Shutdown,
        served: tokio::task::JoinHandle<Result<()>>,
        /// Told when a request was refused.
        refused: Arc<Notify>,
        _folder: tempfile::TempDir,
    }

    async fn start(options: Options) -> Served {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        settings.storage.storage_path = folder.path().to_owned();
        let node = Node::new(settings, Shutdown::default()).expect("a node");
        let registry = Registry::new(node.clone());
        let snapshots = Catalog::open(registry.disk.clone(), node.settings.storage.snapshots_dir());
        let state = AppState { registry, snapshots: snapshots.expect("a folder of snapshots") };
        let refused = Arc::new(Notify::new());
        let seen = refused.clone();
        let refuse = move |uri: axum::http::Uri| {
            seen.notify_one();
            async move { (StatusCode::FORBIDDEN, uri.to_string()) }
        };
        let routes = Router::new().route("/", get(|| async { "here" })).route("/refused/{n}", put(refuse));
        let front = Front::new(state, routes, Some(tokio::runtime::Handle::current()));
        let listener = crate::server::listen("127.0.0.1", 0).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let shutdown = Shutdown::default();
        let served = tokio::spawn(serve(listener, front, options, shutdown.clone(), 2));
        Served { address, shutdown, served, refused, _folder: folder }
    }

    fn options() -> Options {
        Options {
            connections_max: 100,
            first_request: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            tls: None,
        }
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stopped_server_finishes_and_goes() {
        let Served { address, shutdown, served, _folder, .. } = start(options()).await;
        for _ in 0..20 {
            assert!(ask(address).await.ends_with("here"));
        }
        shutdown.begin();
        served.await.expect("joined").expect("stopped without an error");
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    /// Reads an answer to the end of its body, of which its head says how long it is.
    async fn answer(stream: &mut TcpStream) -> String {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if length.and_then(|l| l.parse().ok()).is_some_and(|length: usize| body.len() >= length) {
                    return text.into_owned();
                }
            }
            assert_ne!(stream.read_buf(&mut read).await.expect("read"), 0, "closed after {read:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_that_is_refused_by_its_head_does_not_end_the_connection() {
        let Served { address, shutdown, served, refused, _folder } = start(options()).await;
        let mut stream = TcpStream::connect(address).await.expect("connected");
        for n in 0..3 {
            let head = format!("PUT /refused/{n} HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("sent");
            refused.notified().await;
            stream.write_all(b"[1, 2]").await.expect("sent");
            let answer = answer(&mut stream).await;
            assert!(
                answer.starts_with("HTTP/1.1 403") && answer.ends_with(&format!("/refused/{n}")),
                "{answer}"
            );
            assert!(!answer.contains("connection: close"), "{answer}");
        }
        let large = format!("PUT /refused/4 HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 9 << 20);
        stream.write_all(large.as_bytes()).await.expect("sent");
        let answer = answer(&mut stream).await;
        assert!(answer.contains("connection: close"), "nobody reads megabytes for nothing: {answer}");
        shutdown.begin();
        served.await.expect("joined").expect("stopped");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_above_the_limit_are_closed() {
        let Served { address, shutdown, served, _folder, .. } =
            start(Options { connections_max: 1, ..options() }).await;
        let mut first = TcpStream::connect(address).await.expect("connected");
        first.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut byte = [0u8; 1];
        first.read_exact(&mut byte).await.expect("the first connection is served");
        assert_eq!(ask(address).await, "", "the second one is closed");
        drop(first);
        shutdown.begin();
        served.await.expect("joined").expect("stopped");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_sends_no_request_is_not_waited_for() {
        let Served { address, shutdown, served, _folder, .. } =
            start(Options { first_request: Duration::from_millis(20), ..options() }).await;
        let mut silent = TcpStream::connect(address).await.expect("connected");
        let mut nothing = Vec::new();
        silent.read_to_end(&mut nothing).await.expect("closed");
        assert!(nothing.is_empty());
        shutdown.begin();
        served.await.expect("joined").expect("stopped");
    }
}
