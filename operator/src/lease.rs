//! Who leads: one function over a Lease. Safety doesn't rest on it (the API server refuses stale writes to shard
//! records); it keeps two operators from doing the same work.

use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const NAME: &str = "quiver-operator";
/// Shorter than a storage node may be silent: an operator that dies with its machine is followed by another before there is
/// anything to do for it.
const SECONDS: u64 = 8;
const GRACE: u64 = 3;
/// Between two attempts to ask for it.
const RETRY: Duration = Duration::from_secs(2);

/// The Lease while this process holds it.
pub struct Held {
    leads: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl Held {
    /// Comes back when it is lost. A channel that nobody renews is as good as lost.
    pub async fn lost(&mut self) {
        self.leads.wait_for(|leads| !*leads).await.ok();
    }

    /// Gives it back, so that the next operator needn't wait for its end.
    pub async fn release(self) -> anyhow::Result<()> {
        drop(self.leads);
        self.task.await.context("the task of the Lease")?.context("giving the Lease back")?;
        Ok(())
    }
}

/// Waits until this process leads. An API server that is away is waited for: a process that ended would be started again
/// later and later.
pub async fn lead(client: &Client, namespace: &str, identity: &str) -> Held {
    loop {
        match ask(client, namespace, identity).await {
            Ok(held) => return held,
            Err(e) => tracing::warn!("the Lease can't be had: {e:#}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn ask(client: &Client, namespace: &str, identity: &str) -> anyhow::Result<Held> {
    let manager = LeaseManagerBuilder::new(client.clone(), NAME)
        .with_namespace(namespace)
        .with_identity(identity)
        .with_duration(SECONDS)
        .with_grace(GRACE)
        .build()
        .await
        .with_context(|| format!("the Lease {namespace}/{NAME}"))?;
    let (mut leads, task) = manager.watch().await;
    tracing::info!(namespace, identity, "waiting to lead");
    leads.wait_for(|l| *l).await.context("the Lease is not watched any more")?;
    tracing::info!(identity, "leads");
    Ok(Held { leads, task })
}
