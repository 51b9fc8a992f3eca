//! Collections on their way between servers and files: `quiver-node migrate`, `dump` and `load`.
//!
//! All three speak the public protocol only, so each side may be a Quiver or any other server of it. Points are carried as
//! the JSON they came in: nothing that this version doesn't know is lost on the way.

mod dump;
mod files;
mod jsonl;
mod load;
mod migrate;
mod parquet;
mod point;
mod progress;
mod remote;
mod schema;
mod state;
mod upload;
mod verify;

use anyhow::Result;

/// What the program does instead of serving.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Copies collections from a running server of the Qdrant protocol; run again, it goes on where it was stopped
    Migrate(migrate::Args),
    /// Writes a collection to a file: JSON lines or Parquet
    Dump(dump::Args),
    /// Makes a collection from such a file
    Load(load::Args),
}

/// Does it.
///
/// # Errors
/// With a sentence, if anything was not copied, or does not compare equal afterwards.
pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Migrate(args) => migrate::run(args).await,
        Command::Dump(args) => dump::run(args).await,
        Command::Load(args) => load::run(args).await,
    }
}
