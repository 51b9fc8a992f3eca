//! JSON lines: the schema first, then a point on each line.

use std::path::Path;

use anyhow::{Context, Result, bail};
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};

use super::files;
use super::point::Point;
use super::schema::Schema;
use super::upload::{PAGE_BYTES, Piece};

/// A line above this is refused rather than kept in memory.
const LINE_BYTES_MAX: u64 = 256 << 20;
const PIECE_POINTS_MAX: usize = 1_000;
/// Between the file and us.
const BUFFER_BYTES: usize = 1 << 20;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Version of the format.
    quiver_dump: u32,
    #[serde(flatten)]
    schema: Schema,
}

const FORMAT: u32 = 1;

/// A file that is being written.
pub struct Writer(BufWriter<File>);

impl Writer {
    pub async fn new(path: &Path, schema: &Schema) -> Result<Self> {
        let making = files::making(path);
        let file = File::create(&making).await.with_context(|| format!("creating {}", making.display()))?;
        let mut writer = Self(BufWriter::with_capacity(BUFFER_BYTES, file));
        writer.line(&Head { quiver_dump: FORMAT, schema: schema.clone() }).await?;
        Ok(writer)
    }

    pub async fn write(&mut self, points: &[Point]) -> Result<()> {
        for point in points {
            self.line(point).await?;
        }
        Ok(())
    }

    async fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.0.write_all(&line).await.context("writing the dump")
    }

    /// Gives the file its name.
    pub async fn finish(mut self, path: &Path) -> Result<()> {
        self.0.flush().await.context("writing the dump")?;
        files::finish(self.0.into_inner(), path).await
    }
}

/// A file that is being read.
pub struct Reader {
    lines: BufReader<File>,
    shown: String,
    line: u64,
}

impl Reader {
    /// Opens it and reads its schema.
    pub async fn open(path: &Path) -> Result<(Schema, Self)> {
        let shown = path.display().to_string();
        let file = File::open(path).await.with_context(|| format!("opening {shown}"))?;
        let mut reader = Self { lines: BufReader::with_capacity(BUFFER_BYTES, file), shown, line: 0 };
        let first = reader.next().await?.unwrap_or_default();
        let head: Head = serde_json::from_slice(&first)
            .with_context(|| format!("the first line of {} is no schema of a dump", reader.shown))?;
        if head.quiver_dump != FORMAT {
            bail!("{} is a dump of format {}, this version reads {FORMAT}", reader.shown, head.quiver_dump);
        }
        Ok((head.schema, reader))
    }

    /// The next line that isn't blank.
    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let Some(line) =
                next_line(&mut self.lines).await.with_context(|| format!("reading {}", self.shown))?
            else {
                return Ok(None);
            };
            self.line += 1;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Points after the first `skip`. A piece's mark is the number of points up to its end.
    pub fn pieces(self, skip: u64) -> impl Stream<Item = Result<Piece<u64>>> {
        futures::stream::try_unfold((self, skip, skip), |(mut reader, skip, mut done)| async move {
            for _ in 0..skip {
                if reader.next().await?.is_none() {
                    bail!("{} has fewer points than were loaded from it before", reader.shown);
                }
            }
            let (mut points, mut size) = (Vec::new(), 0);
            while points.len() < PIECE_POINTS_MAX && size < PAGE_BYTES {
                let Some(line) = reader.next().await? else { break };
                let point: Point = serde_json::from_slice(&line)
                    .with_context(|| format!("{} line {} is no point", reader.shown, reader.line))?;
                size += point.bytes();
                points.push(point);
            }
            done += points.len() as u64;
            Ok((!points.is_empty()).then_some((Piece { points, mark: done }, (reader, 0, done))))
        })
    }
}

/// A line without its end, or none at the end of the file.
async fn next_line(lines: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = lines.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
    if read as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
        bail!("a line has more than {LINE_BYTES_MAX} bytes");
    }
    Ok((read > 0).then_some(line))
}
