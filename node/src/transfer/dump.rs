//! `quiver-node dump`: a collection as a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::point::{Point, SAMPLE};
use super::progress::{Progress, say};
use super::remote::Remote;
use super::schema::Schema;
use super::upload::{Piece, scrolled};
use super::verify::{Findings, TOGETHER};
use super::{jsonl, parquet};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:6333")]
    from: String,
    /// Its api key
    #[arg(long, value_name = "KEY", env = "QUIVER_FROM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// The collection
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// The file to write: `.jsonl` or `.parquet`
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Which kind of file a name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jsonl,
    Parquet,
}

fn format(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("jsonl") => Ok(Format::Jsonl),
        Some("parquet") => Ok(Format::Parquet),
        _ => bail!("{} should end with .jsonl or .parquet", path.display()),
    }
}

enum Writer {
    Jsonl(jsonl::Writer),
    Parquet(Box<parquet::Writer>),
}

impl Writer {
    async fn new(path: &Path, schema: &Schema) -> Result<Self> {
        Ok(match format(path)? {
            Format::Jsonl => Self::Jsonl(jsonl::Writer::new(path, schema).await?),
            Format::Parquet => Self::Parquet(Box::new(parquet::Writer::new(path, schema).await?)),
        })
    }

    async fn write(&mut self, points: &[Point]) -> Result<()> {
        match self {
            Self::Jsonl(writer) => writer.write(points).await,
            Self::Parquet(writer) => writer.write(points).await,
        }
    }

    async fn finish(self, path: &Path) -> Result<()> {
        match self {
            Self::Jsonl(writer) => writer.finish(path).await,
            Self::Parquet(writer) => writer.finish(path).await,
        }
    }
}

/// The points of a file after the first `skip`, and its schema. A piece's mark is the number of points up to its end.
pub async fn read(path: &Path, skip: u64) -> Result<(Schema, BoxStream<'static, Result<Piece<u64>>>)> {
    match format(path)? {
        Format::Jsonl => {
            let (schema, reader) = jsonl::Reader::open(path).await?;
            Ok((schema, reader.pieces(skip).boxed()))
        }
        Format::Parquet => {
            let (schema, reader) = parquet::Reader::open(path).await?;
            Ok((schema, reader.pieces(skip)?.boxed()))
        }
    }
}

pub async fn run(args: Args) -> Result<()> {
    let from = Remote::new(&args.from, args.api_key.as_deref())?;
    let (collection, path) = (&args.collection, &args.to);
    format(path)?;
    let schema = Schema::of(&from, collection).await?;
    let bar = Progress::new(collection, 0, from.count(collection).await?);
    let mut writer = Writer::new(path, &schema).await?;
    let mut points = 0;
    let mut pages = std::pin::pin!(scrolled(&from, collection, None, schema.points_max()));
    while let Some(page) = pages.try_next().await? {
        writer.write(&page.points).await?;
        points += page.points.len() as u64;
        bar.add(page.points.len());
    }
    writer.finish(path).await?;
    bar.close();
    let compared = verify(path, &from, collection, points).await;
    let compared = compared.with_context(|| format!("{} is written, but", path.display()))?;
    say(collection, &format!("{points} points in {}, {compared} of them compared and equal", path.display()));
    Ok(())
}

/// Compares a file with a collection: the counts, and a sample spread over the file, which is read once more.
///
/// # Errors
/// With a sentence if they differ.
pub async fn verify(path: &Path, with: &Remote, collection: &str, points: u64) -> Result<u64> {
    let (schema, mut pieces) = read(path, 0).await?;
    let stride = (points / SAMPLE as u64).max(1);
    let (mut findings, mut number) = (Findings::default(), 0u64);
    while let Some(piece) = pieces.try_next().await? {
        let chosen = piece.points.into_iter().filter(|_| {
            number += 1;
            (number - 1).is_multiple_of(stride)
        });
        for together in chosen.collect::<Vec<_>>().chunks(TOGETHER) {
            findings.compare(together, with, collection, &schema).await?;
        }
    }
    findings.done((number, with.count(collection).await?))
}
