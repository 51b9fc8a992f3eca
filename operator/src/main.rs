//! The operator: observe, validate, plan (pure), build (pure), apply, status. This file starts and stops it.
#![forbid(unsafe_code)]

mod admin;
mod apply;
mod build;
mod certificates;
mod clock;
mod controller;
mod drive;
mod error;
mod finalize;
#[cfg(test)]
mod fixtures;
mod lease;
mod liveness;
mod machines;
mod metrics;
mod names;
mod node_client;
mod observe;
mod plan;
mod reconcile;
mod release;
mod replicate;
mod replication;
mod selftest;
mod snapshot;
mod status;
mod validate;

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::controller::Context;
use crate::liveness::Liveness;
use crate::metrics::Metrics;
use crate::validate::Defaults;

/// Reconciles VectorCollections into storage nodes, shards and snapshots.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a collection through the API server, searches in it and deletes it: what `helm test` runs.
    Selftest(selftest::Options),
    /// Lets every VectorSnapshot go without its objects: what `helm uninstall` runs at its end.
    Release(release::Options),
}

#[derive(clap::Args)]
struct Options {
    /// Image of the storage nodes, with its tag, where a VectorCollection doesn't say.
    #[arg(long, env = "QUIVER_OPERATOR_NODE_IMAGE", default_value = concat!("ghcr.io/quiver-dev/quiver-node:", env!("CARGO_PKG_VERSION")))]
    node_image: String,
    /// When that image is pulled: Always, IfNotPresent or Never.
    #[arg(long, env = "QUIVER_OPERATOR_NODE_IMAGE_PULL_POLICY")]
    node_image_pull_policy: Option<String>,
    /// Namespaces to look after, separated by commas; all if left out.
    #[arg(long, env = "QUIVER_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Act without a Lease: only where there can't be a second operator.
    #[arg(long, env = "QUIVER_OPERATOR_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    /// Namespace of the Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Name of this process in the Lease and in events.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Address of health and metrics.
    #[arg(long, env = "QUIVER_OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// What is logged, e.g. info or quiver_operator=debug.
    #[arg(long, env = "QUIVER_OPERATOR_LOG_LEVEL", default_value = "info,kube_lease_manager=warn")]
    log_level: String,
    #[arg(long, env = "QUIVER_OPERATOR_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(&cli.options.log_level).context("--log-level")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match cli.options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    match cli.command {
        Some(Command::Selftest(options)) => selftest::run(options).await,
        Some(Command::Release(options)) => release::run(options).await,
        None => operate(cli.options).await,
    }
}

async fn operate(options: Options) -> anyhow::Result<()> {
    let client = quiver_kube_client::connect()
        .await
        .context("connecting to the API server: in a pod, or by KUBECONFIG")?;
    let identity =
        options.identity.unwrap_or_else(|| format!("quiver-operator-{}", uuid::Uuid::new_v4().simple()));
    let metrics = Arc::new(Metrics::default());
    let mut admin = tokio::spawn(admin::serve(options.listen, metrics.clone()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        node_image = options.node_image,
        namespaces = if options.watch_namespaces.is_empty() {
            "all".into()
        } else {
            options.watch_namespaces.join(", ")
        },
        "quiver-operator"
    );
    let stop = signals()?.shared();
    let defaults = Defaults { node_image: options.node_image, pull_policy: options.node_image_pull_policy };
    let liveness = Arc::new(Liveness::default());
    loop {
        let turn = async {
            if options.no_leader_election {
                return None;
            }
            Some(lease::lead(&client, &options.namespace, &identity).await)
        };
        let lease = tokio::select! {
            lease = turn => lease,
            () = liveness::stand_by(&client, &liveness, &options.watch_namespaces) => unreachable!("it reads for ever"),
            () = stop.clone() => return Ok(()),
            ended = &mut admin => return ended.context("health and metrics")?,
        };
        metrics.leads(true);
        let ctx = Arc::new(Context::new(
            client.clone(),
            defaults.clone(),
            metrics.clone(),
            liveness.clone(),
            &identity,
        ));
        let work = controller::run(ctx, &options.watch_namespaces, stop.clone());
        let Some(mut lease) = lease else {
            work.await;
            break;
        };
        // Without a graceful end: what runs must not write beside a new leader.
        tokio::select! {
            () = work => {
                tracing::info!("stopped");
                return lease.release().await;
            }
            () = lease.lost() => {}
        }
        metrics.leads(false);
        tracing::warn!("the Lease was lost: another operator may act now, and this one waits for its turn");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Done when the process is asked to end.
fn signals() -> anyhow::Result<futures::future::BoxFuture<'static, ()>> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("listening for signals")?;
    Ok(async move {
        tokio::select! { _ = terminated.recv() => {}, _ = interrupted.recv() => {} }
        tracing::info!("asked to stop: running reconciles are finished");
    }
    .boxed())
}
