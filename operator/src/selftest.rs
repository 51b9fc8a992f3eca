//! `quiver-operator selftest`: a one-node collection through the API server, then points, a search and the end of
//! it. Runs in the cluster, as `helm test`; needs nothing but this binary.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use quiver_crds::VectorCollection;
use quiver_crds::condition::kind;
use serde_json::{Value, json};

/// Settings of the self-test.
#[derive(clap::Args)]
pub struct Options {
    /// Namespace that the collection is made in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,
    /// Seconds until it must have passed.
    #[arg(long, default_value_t = 300)]
    timeout_seconds: u64,
    /// Size of the volume.
    #[arg(long, default_value = "1Gi")]
    storage: String,
    /// Class of the volume; the cluster's default if left out.
    #[arg(long)]
    storage_class: Option<String>,
}

/// Runs it; whatever happens, the collection is deleted at the end.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let client = quiver_kube_client::connect().await.context("connecting to the API server")?;
    let api: Api<VectorCollection> = Api::namespaced(client, &options.namespace);
    let suffix = uuid::Uuid::new_v4().simple().to_string();
    let name = format!("selftest-{}", &suffix[..8]);
    let mut storage = json!({ "size": options.storage });
    if let Some(class) = &options.storage_class {
        storage["storageClassName"] = class.as_str().into();
    }
    let collection: VectorCollection = serde_json::from_value(json!({
        "apiVersion": "quiver.dev/v1alpha1",
        "kind": "VectorCollection",
        "metadata": {"name": name},
        "spec": {
            "vectors": [{"size": 4, "distance": "Cosine"}],
            "payloadIndexes": [{"field": "color", "type": "Keyword"}],
            "storage": storage,
            "deletionPolicy": "Delete"
        }
    }))
    .context("the collection of the self-test")?;
    api.create(&PostParams::default(), &collection).await.context("creating a VectorCollection")?;
    println!("created VectorCollection {}/{name}", options.namespace);
    let limit = Duration::from_secs(options.timeout_seconds);
    let result = match tokio::time::timeout(limit, steps(&api, &name, &options.namespace)).await {
        Ok(result) => result,
        Err(_) => Err(anyhow::anyhow!(
            "not passed after {} s; {}",
            options.timeout_seconds,
            said(&api, &name).await
        )),
    };
    api.delete(&name, &DeleteParams::default()).await.context("deleting the VectorCollection")?;
    println!("deleted it");
    result?;
    println!("passed");
    Ok(())
}

async fn steps(api: &Api<VectorCollection>, name: &str, namespace: &str) -> anyhow::Result<()> {
    let mut changes =
        watcher(api.clone(), watcher::Config::default().fields(&format!("metadata.name={name}")))
            .applied_objects()
            .boxed();
    loop {
        match changes.next().await {
            Some(Ok(collection)) if is_ready(&collection) => break,
            Some(Ok(_)) => {}
            Some(Err(e)) => eprintln!("watching: {e}"),
            None => bail!("the watch of the VectorCollection ended"),
        }
    }
    println!("it is ready");
    let url = format!("http://{name}.{namespace}.svc:6333");
    let http =
        reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(10)).build()?;
    let points: Vec<Value> = (0..4)
        .map(|i| {
            let mut vector = [0.0; 4];
            vector[i] = 1.0;
            json!({"id": i, "vector": vector, "payload": {"color": if i % 2 == 0 { "red" } else { "blue" }}})
        })
        .collect();
    call(
        &http,
        reqwest::Method::PUT,
        &format!("{url}/collections/{name}/points?wait=true"),
        json!({"points": points}),
    )
    .await?;
    println!("wrote 4 points");
    let filter = json!({"must": [{"key": "color", "match": {"value": "blue"}}]});
    let search = json!({"query": [0.9, 0.8, 0.1, 0.1], "filter": filter, "limit": 1});
    let found =
        call(&http, reqwest::Method::POST, &format!("{url}/collections/{name}/points/query"), search).await?;
    let id = &found["result"]["points"][0]["id"];
    ensure!(*id == 1, "the search found {found} instead of point 1");
    println!("found the right one under a filter");
    Ok(())
}

/// Calls the Service until it answers: its name and addresses reach the pods a moment after the pods are ready.
async fn call(
    http: &reqwest::Client,
    method: reqwest::Method,
    url: &str,
    body: Value,
) -> anyhow::Result<Value> {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    for attempt in 0.. {
        tick.tick().await;
        match http.request(method.clone(), url).json(&body).send().await {
            Ok(response) => {
                let status = response.status();
                let text = response.text().await.context("reading the answer")?;
                ensure!(status.is_success(), "{method} {url} answers {status}: {text}");
                return serde_json::from_str(&text).with_context(|| format!("{url} answers {text}"));
            }
            Err(e) if attempt < 60 => eprintln!("{url}: {e}"),
            Err(e) => return Err(e).with_context(|| format!("calling {url}")),
        }
    }
    bail!("{url} was never called")
}

fn is_ready(collection: &VectorCollection) -> bool {
    let conditions = collection.status.iter().flat_map(|s| &s.conditions);
    conditions.into_iter().any(|c| c.type_ == kind::READY && c.status == "True")
}

/// What the resource says of itself.
async fn said(api: &Api<VectorCollection>, name: &str) -> String {
    let Ok(collection) = api.get(name).await else { return "it can't be read".into() };
    let conditions = collection.status.iter().flat_map(|s| &s.conditions);
    let ready = conditions.into_iter().find(|c| c.type_ == kind::READY);
    ready.map_or_else(
        || "the operator has said nothing of it: does it run?".into(),
        |c| format!("Ready is {}: {}: {}", c.status, c.reason, c.message),
    )
}
