//! The storage node: reads settings, takes the data folder, serves, stops.

#![forbid(unsafe_code)]

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use axum::Router;
use clap::Parser;
use quiver_node::cluster::managed;
use quiver_node::collection::registry::Registry;
use quiver_node::collection::startup::FromSnapshots;
use quiver_node::collection::{optimizer, scrub};
use quiver_node::config::{self, Flags, Loaded, LogFormat};
use quiver_node::front::Front;
use quiver_node::lock::DataLock;
use quiver_node::node::Node;
use quiver_node::pool::Deadline;
use quiver_node::rest::service::current_issues;
use quiver_node::rest::{self, AppState};
use quiver_node::server::{self, Options, TlsFiles};
use quiver_node::shutdown::Shutdown;
use quiver_node::snapshot::catalog::Catalog;
use quiver_node::snapshot::checksums;
use quiver_node::transfer;
use quiver_node::{app, limits, telemetry, workers};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

/// Requests are thousands of small pieces of memory, most of them freed by another thread than took them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long writing memory down may take when the node stops.
const FLUSH_TIME: Duration = Duration::from_secs(20);

/// The command line: a node, unless it names something else to do.
#[derive(Parser)]
#[command(
    name = "quiver-node",
    version,
    about = "A vector search node that speaks the Qdrant REST protocol",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    snapshots: FromSnapshots,
    #[command(subcommand)]
    command: Option<transfer::Command>,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("quiver-node: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a second crypto provider was installed"))?;
    let cli = Cli::parse();
    if let Some(command) = cli.command {
        let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
        return runtime.block_on(transfer::run(command));
    }
    let loaded = config::load(&cli.flags, std::env::vars())?;
    telemetry::start_logging(&loaded.settings)?;
    limits::raise_open_files();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if loaded.settings.service.max_workers > 0 {
        runtime.worker_threads(loaded.settings.service.max_workers);
    }
    runtime.enable_all().build().context("starting the runtime")?.block_on(run(loaded, cli.snapshots))
}

async fn run(loaded: Loaded, from: FromSnapshots) -> Result<()> {
    for key in &loaded.without_effect {
        tracing::warn!("{key} has no effect here");
    }
    let settings = loaded.settings;
    let _lock = DataLock::take(&settings.storage.storage_path)?;
    let shutdown = Shutdown::on_signals()?;
    let node = Node::new(settings, shutdown.clone())?;
    let listener = server::listen(&node.settings.service.host, node.settings.service.http_port).await?;
    say_hello(&node, listener.local_addr().context("the address that was bound")?);
    let registry = Registry::new(node.clone());
    let snapshots = Catalog::open(registry.disk.clone(), node.settings.storage.snapshots_dir())?;
    let state = AppState { registry: registry.clone(), snapshots };
    let routes = rest::router(state.clone());
    let routes = app::with_layers(routes, &registry);
    let served = serve(listener, state.clone(), routes, shutdown.clone());
    let working = async {
        match node.settings.cluster.enabled {
            true if from.is_empty() => run_managed(state).await,
            true => Err(anyhow!(
                "what a pod starts with its VectorCollection says: spec.bootstrap, not --snapshot"
            )),
            false => run_alone(state, from).await,
        }
    };
    // Work only ends with an error, or because the node stops: then the port has to be drained first.
    let served = tokio::select! {
        served = served => served,
        Err(e) = working => Err(e),
    };
    shutdown.begin();
    flush(&registry).await;
    tracing::info!("stopped");
    served
}

/// Serves the public port: with a thread for each core, or by way of TLS.
async fn serve(listener: TcpListener, state: AppState, routes: Router, shutdown: Shutdown) -> Result<()> {
    let node = state.registry.node.clone();
    let options = options(&node);
    if options.tls.is_some() {
        let routes = Router::new().fallback_service(Front::new(state, routes, None));
        return server::serve(listener, routes, options, shutdown).await;
    }
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads =
        if node.settings.service.max_workers > 0 { node.settings.service.max_workers } else { cores };
    let front = Front::new(state, routes, Some(Handle::current()));
    workers::serve(listener, front, options, shutdown, threads).await
}

/// Opens the collections, then optimizes them for as long as the node runs. A collection that can't be opened is no
/// reason to answer as if it were not there: it is an error. The same goes for a snapshot that it is to start with.
async fn run_alone(state: AppState, from: FromSnapshots) -> Result<()> {
    let registry = state.registry.clone();
    let (pool, opening) = (registry.node.pools.update.clone(), registry.clone());
    pool.run("Open", Deadline::after(Duration::MAX), move |_| opening.open_all()).await??;
    if !from.is_empty() {
        from.recover(&registry, &state.snapshots).await?;
    }
    registry.set_open();
    registry.node.readiness.set_ready();
    maintain(state).await;
    std::future::pending().await
}

/// The same for one of the pods of a VectorCollection: what it opens, others decide.
async fn run_managed(state: AppState) -> Result<()> {
    let (registry, maintained) = (state.registry.clone(), state.clone());
    let issues = move || {
        let state = state.clone();
        Box::pin(async move { current_issues(&state).await }) as futures::future::BoxFuture<'static, _>
    };
    let managed = managed::start(registry.clone(), Arc::new(issues)).await?;
    let _ = registry.managed.set(managed.cluster.clone());
    tokio::select! {
        result = managed.run() => result?,
        () = maintain(maintained) => {}
    }
    std::future::pending().await
}

/// What goes on in the background until the node stops.
async fn maintain(state: AppState) {
    let registry = state.registry;
    let checksums = checksums::run(state.snapshots, registry.node.clone());
    tokio::join!(optimizer::run(registry.clone()), scrub::run(registry.clone()), checksums);
}

/// Makes everything part of sealed segments, so that the next start has no log to replay. Nothing is lost without it.
async fn flush(registry: &Arc<Registry>) {
    let names = registry.names();
    let shards: Vec<_> = names.collections.values().flat_map(|c| c.local_shards()).collect();
    let flushing = shards.into_iter().map(|(number, shard)| async move {
        let flushed =
            registry.node.pools.update.run("Flush", Deadline::after(FLUSH_TIME), move |_| shard.flush());
        match flushed.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(shard = number, "not flushed, the log is kept: {e}"),
            Err(e) => tracing::warn!(shard = number, "not flushed, the log is kept: {e}"),
        }
    });
    futures::future::join_all(flushing).await;
}

fn options(node: &Node) -> Options {
    let (service, tls) = (&node.settings.service, &node.settings.tls);
    Options {
        connections_max: service.max_connections,
        first_request: Duration::from_secs(service.header_timeout_sec),
        drain: Duration::from_secs(service.shutdown_timeout_sec),
        tls: service.enable_tls.then(|| TlsFiles {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
            client_ca: tls.ca_cert.clone().filter(|_| service.verify_https_client_certificate),
            reload_every: Duration::from_secs(tls.cert_ttl),
        }),
    }
}

/// The first lines: where it listens, where its data is, how to try it.
fn say_hello(node: &Node, address: std::net::SocketAddr) {
    let scheme = if node.settings.service.enable_tls { "https" } else { "http" };
    let storage = &node.settings.storage;
    let absolute = |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let data = absolute(&storage.storage_path);
    if node.settings.log_format == LogFormat::Json {
        tracing::info!(%address, data = %data.display(), version = quiver_node::VERSION, "listening");
        return;
    }
    let key = if node.keys.required() { " -H 'api-key: …'" } else { "" };
    println!("Quiver {} listens on {scheme}://{address}", quiver_node::VERSION);
    println!("  data       {}", data.display());
    println!("  snapshots  {}", absolute(&storage.snapshots_dir()).display());
    println!("  try it     curl{key} {scheme}://{address}/collections");
    if !node.keys.required() && !address.ip().is_loopback() {
        println!("  careful    no service.api_key is set: whoever reaches this address may read and write");
    }
}
