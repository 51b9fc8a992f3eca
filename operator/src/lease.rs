//! One operator acts at a time. Correctness doesn't rest on it: records are changed by compare-and-swap, everything
//! else is idempotent. It only keeps two from doing everything twice.

use anyhow::{Context as _, Result};
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Name of the lease.
const NAME: &str = "quiver-operator";
const DURATION_SECONDS: u64 = 15;
const GRACE_SECONDS: u64 = 5;

/// A lease that is held.
pub struct Held {
    state: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

/// Waits for the lease. `None`: asked to stop before it came.
pub async fn acquire(
    client: &Client,
    namespace: &str,
    pod: Option<&str>,
    stop: &CancellationToken,
) -> Result<Option<Held>> {
    let identity = pod.map_or_else(|| uuid::Uuid::new_v4().to_string(), ToOwned::to_owned);
    let manager = LeaseManagerBuilder::new(client.clone(), NAME)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(DURATION_SECONDS)
        .with_grace(GRACE_SECONDS)
        .build()
        .await
        .context("reading the lease of the operator")?;
    let (mut state, task) = manager.watch().await;
    tracing::info!("waiting for the lease {namespace}/{NAME}");
    tokio::select! {
        () = stop.cancelled() => return Ok(None),
        held = state.wait_for(|held| *held) => drop(held.context("the lease can't be had")?),
    }
    tracing::info!("this operator leads");
    Ok(Some(Held { state, task }))
}

impl Held {
    /// Comes back when the lease is no longer held.
    pub async fn lost(&mut self) {
        // A closed channel is as good as a lost lease: nobody renews it.
        let _ = self.state.wait_for(|held| !*held).await;
    }

    /// Gives the lease back, so that the next operator needn't wait for its end.
    pub async fn release(self) -> Result<()> {
        drop(self.state);
        self.task.await.context("the task of the lease")?.map(drop).context("giving the lease back")
    }
}
