//! Health and metrics over HTTP, apart from all work.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;

use crate::metrics::Metrics;

/// Serves until the process ends. Ready means running: one that waits to lead is ready to take over.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(|| async { "ok" }))
        .route("/metrics", get(move || async move { metrics.text() }));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address} for health and metrics"))?;
    axum::serve(listener, app).await.context("serving health and metrics")
}
