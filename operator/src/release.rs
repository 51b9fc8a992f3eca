//! `quiver-operator release`: lets every VectorSnapshot go without its objects. Runs when the chart is gone (`helm
//! uninstall`, hook post-delete): a finalizer that nobody serves any more would hang the deletion of the object and of
//! its namespace. An operator that is installed again puts the finalizers back.

use anyhow::Context as _;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use quiver_crds::VectorSnapshot;

use crate::finalize;

/// Settings of it.
#[derive(clap::Args)]
pub struct Options {
    /// Namespaces to look into, separated by commas; all if left out.
    #[arg(long, env = "QUIVER_OPERATOR_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
}

/// Takes the finalizer of each.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = quiver_kube_client::connect().await.context("connecting to the API server")?;
    let scopes: Vec<Api<VectorSnapshot>> = match options.watch_namespaces.as_slice() {
        [] => vec![Api::all(client.clone())],
        named => named.iter().map(|n| Api::namespaced(client.clone(), n)).collect(),
    };
    for scope in scopes {
        let listed = match scope.list(&ListParams::default()).await {
            Ok(listed) => listed.items,
            // The kind is gone, and all objects of it.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(e) => return Err(e).context("listing the VectorSnapshots"),
        };
        for snapshot in listed {
            let namespace = snapshot.namespace().unwrap_or_default();
            let name = snapshot.name_any();
            let api: Api<VectorSnapshot> = Api::namespaced(client.clone(), &namespace);
            let released = release(&api, snapshot).await;
            if released.with_context(|| format!("the VectorSnapshot {namespace}/{name}"))? {
                println!("released {namespace}/{name}: its objects stay in the bucket");
            }
        }
    }
    Ok(())
}

/// Whether there was a finalizer to take. Somebody else may change the object at the same time.
async fn release(api: &Api<VectorSnapshot>, mut snapshot: VectorSnapshot) -> anyhow::Result<bool> {
    for _ in 0..10 {
        match finalize::let_go(api, &snapshot).await {
            Err(e) if e.reason() == "conflict" => {}
            done => return Ok(done?),
        }
        match api.get_opt(&snapshot.name_any()).await? {
            Some(now) => snapshot = now,
            None => return Ok(false),
        }
    }
    anyhow::bail!("somebody changes it all the time")
}
