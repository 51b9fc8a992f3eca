//! What can go wrong in a reconcile, by what follows from it.

use std::time::Duration;

use thiserror::Error;

/// Why a reconcile stopped.
#[derive(Debug, Error)]
pub enum Error {
    #[error("kubernetes: {0}")]
    Kube(#[from] kube::Error),
    #[error("the node {pod}: {message}")]
    Node { pod: String, message: String, retryable: bool },
    #[error("certificates of the internal port: {0}")]
    Certificates(String),
    #[error("the object has no {0}")]
    Malformed(&'static str),
}

/// The module's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The label in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Kube(kube::Error::Api(status)) if status.code == 409 => "conflict",
            Error::Kube(kube::Error::Api(status)) if status.code == 403 => "forbidden",
            Error::Kube(kube::Error::Api(_)) => "api",
            Error::Kube(_) => "connection",
            Error::Node { .. } => "node",
            Error::Certificates(_) => "certificates",
            Error::Malformed(_) => "malformed",
        }
    }

    /// How long to wait before the `attempt`-th try, from 0. A conflict only means that somebody was faster.
    pub fn backoff(&self, attempt: u32) -> Duration {
        if self.reason() == "conflict" && attempt < 5 {
            return Duration::from_millis(100 << attempt);
        }
        Duration::from_secs((1u64 << attempt.min(8)).min(300))
    }
}
