//! `quiver-operator selftest`: the whole way once, from a VectorCollection to an answer, for `helm test`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, ResourceExt};
use quiver_crds::VectorCollection;
use serde_json::{Value, json};

use crate::clock;

/// What the test is run with.
#[derive(clap::Args)]
pub struct Options {
    /// Where the collection is made.
    #[arg(long = "in-namespace", env = "SELFTEST_NAMESPACE", default_value = "default")]
    namespace: String,
    /// StorageClass of its volume; the cluster's default if left out.
    #[arg(long, env = "SELFTEST_STORAGE_CLASS")]
    storage_class: Option<String>,
    /// Seconds that the collection may take to become ready.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
}

/// Makes a collection, writes, searches, removes it.
pub async fn run(client: Client, options: &Options) -> Result<()> {
    let api: Api<VectorCollection> = Api::namespaced(client, &options.namespace);
    let name = format!("selftest-{}", clock::now().as_second() % 100_000_000);
    let mut storage = json!({ "size": "1Gi" });
    if let Some(class) = &options.storage_class {
        storage["storageClassName"] = json!(class);
    }
    let wanted: VectorCollection = serde_json::from_value(json!({
        "apiVersion": "quiver.dev/v1alpha1",
        "kind": "VectorCollection",
        "metadata": { "name": name, "namespace": options.namespace },
        "spec": {
            "vectors": [{ "name": "", "size": 4, "distance": "Cosine" }],
            "payloadIndexes": [{ "field": "color", "type": "Keyword" }],
            "storage": storage,
            "deletionPolicy": "Delete",
        },
    }))
    .context("the collection of this test")?;
    api.create(&PostParams::default(), &wanted).await.context("creating a VectorCollection")?;
    println!("created the VectorCollection {name}");
    let result = exercise(&api, &name, options).await;
    api.delete(&name, &DeleteParams::default()).await.context("removing the VectorCollection")?;
    println!("removed it");
    result?;
    println!("passed");
    Ok(())
}

async fn exercise(api: &Api<VectorCollection>, name: &str, options: &Options) -> Result<()> {
    let end = clock::instant() + Duration::from_secs(options.seconds);
    let rest = loop {
        let collection = api.get(name).await.context("reading the VectorCollection")?;
        let status = collection.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        if ready.is_some_and(|c| c.status == "True") {
            println!("{} is ready", collection.name_any());
            break status.endpoints.rest;
        }
        if clock::instant() > end {
            let why = ready.map_or_else(|| "no operator has looked at it".into(), |c| c.message.clone());
            bail!("not ready after {} s: {why}", options.seconds);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
    let points = json!({ "points": [
        { "id": 1, "vector": [1.0, 0.0, 0.0, 0.0], "payload": { "color": "red" } },
        { "id": 2, "vector": [0.0, 1.0, 0.0, 0.0], "payload": { "color": "blue" } },
    ] });
    let url = format!("{rest}/collections/{name}/points");
    let written =
        answer(http.put(format!("{url}?wait=true")).json(&points)).await.context("writing two points")?;
    println!("wrote: {}", written["result"]);
    let query = json!({
        "query": [0.1, 0.9, 0.0, 0.0],
        "filter": { "must": [{ "key": "color", "match": { "value": "blue" } }] },
    });
    let found = answer(http.post(format!("{url}/query")).json(&query)).await.context("searching")?;
    println!("found: {}", found["result"]["points"]);
    ensure!(found["result"]["points"][0]["id"] == 2, "another point was expected: {found}");
    Ok(())
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value> {
    let answer = request.send().await.context("the Service doesn't answer")?;
    let status = answer.status();
    let body = answer.text().await?;
    ensure!(status.is_success(), "answered {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}
