//! Stopping: a signal, then no new connections, then what runs finishes, then everything is flushed.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled once the process was asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Listens to SIGTERM and SIGINT; a second one ends the process at once.
    pub fn on_signals() -> anyhow::Result<Self> {
        let shutdown = Self::default();
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let token = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::info!("stopping: finishing what runs; a second signal stops at once");
            token.begin();
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            // Nothing acknowledged is lost by this: recovery does after a start what flushing does now.
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Asks everything to stop.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether the process was asked to stop.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the process is asked to stop.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}
