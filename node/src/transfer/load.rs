//! `quiver-node load`: a collection from a file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;

use super::dump::{read, verify};
use super::progress::{Progress, say};
use super::remote::Remote;
use super::state::{State, StateFile};
use super::upload::written;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The file to read: `.jsonl` or `.parquet`, as `dump` writes them
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The collection to make
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Address of the server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6333")]
    to: String,
    /// Its api key
    #[arg(long, value_name = "KEY", env = "QUIVER_TO_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Folder that remembers how far the load has come
    #[arg(long, value_name = "DIR", default_value = "quiver-migrate")]
    state: PathBuf,
}

pub async fn run(args: Args) -> Result<()> {
    let to = Remote::new(&args.to, args.api_key.as_deref())?;
    let (collection, path) = (&args.collection, &args.from);
    // A file of another length is another file, whatever its name.
    let about = tokio::fs::metadata(path).await.with_context(|| format!("opening {}", path.display()))?;
    let from = format!("{} ({} bytes)", std::path::absolute(path)?.display(), about.len());
    let file = StateFile::new(&args.state, "load", collection);
    let mut before = file.load(&from, to.name()).await?;
    if before.as_ref().is_some_and(|s| s.complete) && !to.exists(collection).await? {
        before = None;
    }
    let begun = before.is_some();
    let mut state = before.unwrap_or_else(|| State::new(&from, to.name(), collection));
    let (schema, pieces) = read(path, state.done).await?;
    let mut findings = schema.prepare(&to, collection, begun).await?;
    file.save(&state).await?;
    if begun {
        say(collection, &format!("going on after {} points", state.done));
    }
    if !state.complete {
        // How many there are shows at the end: lines are not counted before they are read.
        let bar = Progress::new(collection, state.done, 0);
        let mut pieces = std::pin::pin!(written(&to, collection, pieces));
        while let Some(piece) = pieces.try_next().await? {
            state.done = piece.mark;
            file.save(&state).await?;
            bar.add(piece.ids.len());
        }
        bar.close();
        state.complete = true;
        file.save(&state).await?;
    }
    let compared = verify(path, &to, collection, state.done).await?;
    findings += schema.complete(&to, collection).await?;
    say(collection, &format!("{} points loaded, {compared} of them compared and equal", state.done));
    match findings {
        0 => Ok(()),
        n => bail!("all points are there, but {n} settings were not taken: see above"),
    }
}
