//! Health and metrics, for Kubernetes and Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use crate::context::Context;

/// What the port knows.
#[derive(Clone)]
pub struct Admin {
    pub ctx: Arc<Context>,
    /// The API server was reached and leadership is being competed for.
    pub ready: Arc<AtomicBool>,
}

/// Serves until the process ends.
pub async fn serve(admin: Admin, address: SocketAddr) -> Result<()> {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("listening on {address} for health and metrics (--listen)"))?;
    axum::serve(listener, routes).await.context("serving health and metrics")
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.ready.load(Ordering::Acquire) {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not connected to Kubernetes yet"),
    }
}

async fn metrics(State(admin): State<Admin>) -> String {
    admin.ctx.metrics.text()
}
