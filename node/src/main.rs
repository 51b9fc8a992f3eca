//! The storage node: reads settings, takes the data folder, serves, stops.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use quiver_node::collection::optimizer;
use quiver_node::collection::registry::Registry;
use quiver_node::config::{self, Flags, Loaded, LogFormat};
use quiver_node::lock::DataLock;
use quiver_node::node::Node;
use quiver_node::pool::Deadline;
use quiver_node::rest::{self, AppState};
use quiver_node::server::{self, Options, TlsFiles};
use quiver_node::shutdown::Shutdown;
use quiver_node::snapshot::catalog::Catalog;
use quiver_node::{app, telemetry};

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
    let loaded = config::load(&Flags::parse(), std::env::vars())?;
    telemetry::start_logging(&loaded.settings)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if loaded.settings.service.max_workers > 0 {
        runtime.worker_threads(loaded.settings.service.max_workers);
    }
    runtime.enable_all().build().context("starting the runtime")?.block_on(run(loaded))
}

async fn run(loaded: Loaded) -> Result<()> {
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
    let routes = rest::router(AppState { registry: registry.clone(), snapshots });
    let served = server::serve(listener, app::with_layers(routes, &node), options(&node), shutdown);
    let served = tokio::select! {
        served = served => served,
        failed = keep(registry) => failed,
    };
    tracing::info!("stopped");
    served
}

/// Opens the collections, then optimizes them for as long as the node runs. Only comes back with an error: a collection
/// that can't be opened is no reason to answer as if it were not there.
async fn keep(registry: Arc<Registry>) -> Result<()> {
    let (pool, opening) = (registry.node.pools.update.clone(), registry.clone());
    pool.run("Open", Deadline::after(Duration::MAX), move |_| opening.open_all()).await??;
    registry.set_open();
    registry.node.readiness.set_ready();
    optimizer::run(registry).await;
    std::future::pending().await
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
