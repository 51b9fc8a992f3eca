//! The operator: VectorCollections become storage nodes, shards and snapshots.
//!
//! Reading order: `reconcile` (the pass: observe → validate → plan → apply → status) → `plan` (every decision, pure)
//! → `build` (every object, pure) → `snapshot` (the pass over one VectorSnapshot).
#![forbid(unsafe_code)]

mod admin;
mod apply;
mod build;
mod clock;
mod context;
mod controller;
#[cfg(test)]
mod fixtures;
mod lease;
mod metrics;
mod node_client;
mod observe;
mod peer_secret;
mod plan;
mod reconcile;
mod selftest;
mod snapshot;
mod status;
mod validate;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use context::{Context, Defaults};

/// Turns VectorCollections into storage nodes.
#[derive(Parser)]
#[command(name = "quiver-operator", version)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Health and metrics.
    #[arg(long, env = "QUIVER_OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Namespaces with VectorCollections, separated by commas; all if left out.
    #[arg(long, env = "QUIVER_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Image of nodes whose collection doesn't name one.
    #[arg(long, env = "QUIVER_OPERATOR_NODE_IMAGE", default_value = concat!("ghcr.io/quiver-dev/quiver-node:", env!("CARGO_PKG_VERSION")))]
    node_image: String,
    /// Namespace of the operator itself.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Name of its pod.
    #[arg(long, env = "POD_NAME")]
    pod: Option<String>,
    /// Act without a lease: only where there can't be a second operator.
    #[arg(long, env = "QUIVER_OPERATOR_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// What is logged, e.g. info or quiver_operator=debug.
    #[arg(long, env = "QUIVER_OPERATOR_LOG_LEVEL", default_value = "info", global = true)]
    log_level: String,
    #[arg(long, env = "QUIVER_OPERATOR_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a collection of one node, writes and searches, and removes it again.
    Selftest(selftest::Options),
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let filter = EnvFilter::try_new(&options.log_level).context("--log-level")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok()
        .context("the crypto provider is set once")?;
    let client = Client::try_default().await.context("finding the API server: in a pod, or by KUBECONFIG")?;
    match &options.command {
        Some(Command::Selftest(test)) => selftest::run(client, test).await,
        None => run(client, options).await,
    }
}

async fn run(client: Client, options: Options) -> Result<()> {
    let defaults =
        Defaults { node_image: options.node_image.clone(), operator_namespace: options.namespace.clone() };
    let ctx = Arc::new(Context::new(client.clone(), defaults, options.pod.clone()));
    let ready = Arc::new(AtomicBool::new(false));
    tokio::spawn(admin::serve(admin::Admin { ctx: ctx.clone(), ready: ready.clone() }, options.listen));
    let version = client.apiserver_version().await.context("asking the API server for its version")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), kubernetes = %version.git_version, "the operator starts");
    ready.store(true, Ordering::Release);

    let stop = CancellationToken::new();
    tokio::spawn(signals(stop.clone()));
    let lease = match options.no_leader_election {
        true => None,
        false => match lease::acquire(&client, &options.namespace, options.pod.as_deref(), &stop).await? {
            Some(lease) => Some(lease),
            None => return Ok(()),
        },
    };
    ctx.metrics.leader.set(1);
    let namespaces: Vec<Option<String>> = match options.watch_namespaces.is_empty() {
        true => vec![None],
        false => options.watch_namespaces.iter().cloned().map(Some).collect(),
    };
    let all = namespaces.into_iter().map(|ns| controller::run(ctx.clone(), ns, stop.clone()));
    let all = futures::future::join_all(all);
    match lease {
        None => drop(all.await),
        Some(mut lease) => tokio::select! {
            _ = all => lease.release().await?,
            () = lease.lost() => anyhow::bail!("the lease was lost: another operator may act now, so this one ends"),
        },
    }
    tracing::info!("the operator has stopped");
    Ok(())
}

async fn signals(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else { return };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to stop: running reconciles are finished");
    stop.cancel();
}
