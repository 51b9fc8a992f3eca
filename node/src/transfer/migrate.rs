//! `quiver-node migrate`: whole collections from one server to another.

use std::path::PathBuf;

use anyhow::{Result, bail};
use futures::TryStreamExt;

use super::progress::{Progress, say};
use super::remote::Remote;
use super::schema::Schema;
use super::state::{State, StateFile};
use super::upload::{scrolled, written};
use super::verify::{Findings, TOGETHER};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the server to copy from
    #[arg(long, value_name = "URL")]
    from: String,
    /// Its api key
    #[arg(long, value_name = "KEY", env = "QUIVER_FROM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// A collection to copy; may be given several times [default: all]
    #[arg(long = "collection", value_name = "NAME")]
    collections: Vec<String>,
    /// Address of the server to copy to
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6333")]
    to: String,
    /// Its api key
    #[arg(long, value_name = "KEY", env = "QUIVER_TO_API_KEY", hide_env_values = true)]
    to_api_key: Option<String>,
    /// Folder that remembers how far the copy has come
    #[arg(long, value_name = "DIR", default_value = "quiver-migrate")]
    state: PathBuf,
}

pub async fn run(args: Args) -> Result<()> {
    let from = Remote::new(&args.from, args.api_key.as_deref())?;
    let to = Remote::new(&args.to, args.to_api_key.as_deref())?;
    if from.name() == to.name() {
        bail!("the source and the target are the same server");
    }
    let collections = match args.collections.is_empty() {
        true => from.collections().await?,
        false => args.collections.clone(),
    };
    if collections.is_empty() {
        println!("{} has no collections", from.name());
    }
    let mut failed = Vec::new();
    for collection in &collections {
        let file = StateFile::new(&args.state, "migrate", collection);
        if let Err(e) = one(&from, &to, collection, &file).await {
            eprintln!("{collection}: {e:#}");
            failed.push(format!("`{collection}`"));
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("{} of {} collections failed: {}", failed.len(), collections.len(), failed.join(", ")),
    }
}

async fn one(from: &Remote, to: &Remote, collection: &str, file: &StateFile) -> Result<()> {
    let schema = Schema::of(from, collection).await?;
    let mut before = file.load(from.name(), to.name()).await?;
    if before.as_ref().is_some_and(|s| s.complete) && !to.exists(collection).await? {
        say(collection, "was copied before and is gone from the target: starting over");
        before = None;
    }
    let begun = before.is_some();
    let mut state = before.unwrap_or_else(|| State::new(from.name(), to.name(), collection));
    let mut findings = schema.prepare(to, collection, begun).await?;
    file.save(&state).await?;
    if begun {
        say(collection, &format!("going on after {} points", state.done));
    }
    copy(from, to, collection, &schema, &mut state, file).await?;
    let compared = verify(from, to, collection, &schema, &state).await?;
    findings += schema.complete(to, collection).await?;
    say(collection, &format!("{} points copied, {compared} of them compared and equal", state.done));
    match findings {
        0 => Ok(()),
        n => bail!("all points are there, but {n} of its settings were not taken: see above"),
    }
}

/// Copies what is not there yet.
async fn copy(
    from: &Remote,
    to: &Remote,
    collection: &str,
    schema: &Schema,
    state: &mut State,
    file: &StateFile,
) -> Result<()> {
    if state.complete {
        return Ok(());
    }
    let bar = Progress::new(collection, state.done, from.count(collection).await?);
    let pages = scrolled(from, collection, state.offset, schema.points_max());
    let mut pages = std::pin::pin!(written(to, collection, pages));
    while let Some(page) = pages.try_next().await? {
        page.ids.iter().for_each(|id| state.sample.see(*id));
        state.done += page.ids.len() as u64;
        state.offset = page.mark;
        state.complete = page.mark.is_none();
        file.save(state).await?;
        bar.add(page.ids.len());
    }
    bar.close();
    Ok(())
}

/// Compares counts, and the points of the sample.
async fn verify(from: &Remote, to: &Remote, collection: &str, schema: &Schema, state: &State) -> Result<u64> {
    let mut findings = Findings::default();
    let together = schema.points_max().map_or(TOGETHER, |max| TOGETHER.min(max as usize)).max(1);
    for ids in state.sample.ids().chunks(together) {
        let expected = from.retrieve(collection, ids).await?;
        findings.compare(&expected, to, collection, schema).await?;
    }
    findings.done((from.count(collection).await?, to.count(collection).await?))
}
