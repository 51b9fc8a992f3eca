//! Stopping: a signal, then what a node of a cluster hands over, then no new connections, then what runs finishes, then
//! everything is flushed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Where the end of the process stands.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    asked: CancellationToken,
    begun: CancellationToken,
    held: Arc<AtomicBool>,
}

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
            token.ask();
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            // Nothing acknowledged is lost by this: recovery does after a start what flushing does now.
            std::process::exit(130);
        });
        Ok(shutdown)
    }

    /// Somebody has to hand things over between the signal and the end, and then calls [`Self::begin`].
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// The process is to stop.
    pub fn ask(&self) {
        self.asked.cancel();
        if !self.held.load(Ordering::SeqCst) {
            self.begin();
        }
    }

    /// Waits until the process is asked to stop.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Makes everything stop.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether everything stops now.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until everything stops.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }
}
