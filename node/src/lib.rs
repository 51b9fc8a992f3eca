//! The storage node as a library: what `main` starts, and what tests start in one process.

#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod clock;
pub mod cluster;
pub mod collection;
pub mod config;
pub mod dashboard;
pub mod error;
pub mod finish;
pub mod front;
pub mod guardrails;
pub mod limits;
pub mod lock;
pub mod metrics;
pub mod node;
pub mod pool;
pub mod quotas;
pub mod replica;
pub mod rest;
pub mod server;
pub mod shutdown;
pub mod snapshot;
pub mod stale;
pub mod telemetry;
pub mod transfer;
pub mod unread;
pub mod workers;

/// Version of the protocol that is spoken, as clients check it.
pub const PROTOCOL_VERSION: &str = "1.19.0";

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
