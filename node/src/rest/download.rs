//! Sending a snapshot: the whole of it, or the part that a client asks for which goes on with a download.

use std::ops::Range;
use std::time::UNIX_EPOCH;

use axum::body::{Body as Content, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::AppState;
use super::extract::Started;
use super::snapshots::SNAPSHOT_TIME;
use crate::error::{ApiError, Result};
use crate::pool::{Deadline, Pool};
use crate::snapshot::SnapshotError;
use crate::snapshot::catalog::{Kept, Scratch};
use crate::snapshot::layout::{Layout, Reader};

/// A download is sent in pieces of this.
const PIECE_BYTES: usize = 1 << 20;

/// A snapshot that can be sent.
pub struct Download {
    source: Source,
    length: u64,
    /// Equal for equal bytes, as a header has it. Without it the next request would get other bytes, so there are no parts.
    tag: Option<String>,
    /// Removed when all was sent.
    scratch: Option<Scratch>,
}

enum Source {
    /// Made while it is sent.
    Tar(Layout),
    File(tokio::fs::File),
}

impl Download {
    /// A snapshot of an owner, see [`crate::snapshot::catalog::Catalog`].
    pub async fn find(state: &AppState, owner: String, snapshot: &str) -> Result<Self> {
        let (pool, deadline) = (&state.registry.node.pools.update, Deadline::after(SNAPSHOT_TIME));
        let (catalog, wanted) = (state.snapshots.clone(), snapshot.to_owned());
        let found = pool.run("Download", deadline, move |_| catalog.find(&owner, &wanted)).await??;
        match found {
            Kept::Folder(path) => {
                let tar = state.snapshots.tar(pool, &path, deadline).await?;
                let tag = Some(format!("\"{}\"", tar.tag()));
                Ok(Self { length: tar.size(), source: Source::Tar(tar), tag, scratch: None })
            }
            Kept::Archive(path) => {
                let error = |e| ApiError::internal(format!("opening the snapshot: {e}"));
                let file = tokio::fs::File::open(&path).await.map_err(error)?;
                let meta = file.metadata().await.map_err(error)?;
                let changed = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                let tag = changed.map(|at| format!("\"{:x}-{:x}\"", meta.len(), at.as_nanos()));
                Ok(Self { length: meta.len(), source: Source::File(file), tag, scratch: None })
            }
        }
    }

    /// A tar that is made for one request only.
    pub fn once(tar: Layout, scratch: Scratch) -> Self {
        Self { length: tar.size(), source: Source::Tar(tar), tag: None, scratch: Some(scratch) }
    }

    async fn content(self, state: &AppState, range: Range<u64>) -> std::io::Result<Content> {
        let scratch = self.scratch;
        Ok(match self.source {
            Source::File(mut file) => {
                file.seek(std::io::SeekFrom::Start(range.start)).await?;
                let part = file.take(range.end - range.start);
                Content::from_stream(tokio_util::io::ReaderStream::with_capacity(part, PIECE_BYTES))
            }
            Source::Tar(tar) => {
                let reader = tar.part(range, state.registry.disk.clone());
                let pieces = pieces(reader, state.registry.node.pools.update.clone());
                Content::from_stream(pieces.inspect(move |_| {
                    // It stays for as long as this closure, which is as long as the stream.
                    let _ = &scratch;
                }))
            }
        })
    }
}

/// A tar by pieces, each read on the pool when the one before it was taken. An error ends the connection, so a part never
/// looks like the whole.
fn pieces(tar: Reader, pool: Pool) -> impl Stream<Item = std::io::Result<Bytes>> {
    futures::stream::try_unfold(tar, move |mut tar| {
        let pool = pool.clone();
        async move {
            let read = pool.step(move || tar.piece(PIECE_BYTES).map(|piece| (piece, tar)));
            let read = read.await.map_err(SnapshotError::from).and_then(|read| read);
            match read {
                Ok((piece, tar)) => Ok(piece.map(|piece| (Bytes::from(piece), tar))),
                Err(e) => {
                    tracing::warn!("the download of a snapshot ends early: {e}");
                    Err(std::io::Error::other(e))
                }
            }
        }
    })
}

/// The answer to a download.
pub async fn sent(
    state: &AppState,
    at: Started,
    asking: &HeaderMap,
    snapshot: &str,
    download: Result<Download>,
) -> Response {
    let download = match download {
        Ok(download) => download,
        // The protocol answers a missing snapshot in plain text here.
        Err(ApiError { code: StatusCode::NOT_FOUND, text, .. }) if text.contains("Snapshot") => {
            return (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain")], text).into_response();
        }
        Err(e) => return at.answer::<()>(Err(e)),
    };
    let (length, tag) = (download.length, download.tag.clone());
    let part = tag.as_deref().map_or(Part::Whole, |tag| Part::asked(asking, length, tag));
    let (code, range) = match &part {
        Part::Whole => (StatusCode::OK, 0..length),
        Part::Of(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        Part::Beyond => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let (sent, placed) = (range.end - range.start, part.placed(length));
    let mut response = match download.content(state, range).await {
        Ok(content) => (code, content).into_response(),
        Err(e) => return at.answer::<()>(Err(ApiError::internal(format!("reading the snapshot: {e}")))),
    };
    let named = format!("attachment; filename=\"{snapshot}\"");
    let texts = [
        (header::CONTENT_DISPOSITION, Some(named)),
        (header::ACCEPT_RANGES, tag.is_some().then(|| "bytes".to_owned())),
        (header::ETAG, tag),
        (header::CONTENT_RANGE, placed),
    ];
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(sent));
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

/// How much of a content is sent.
#[derive(Debug, PartialEq)]
enum Part {
    Whole,
    Of(Range<u64>),
    /// What is asked for lies behind the end.
    Beyond,
}

impl Part {
    /// What a request asks for (RFC 9110, section 14.2). What can't be read, several ranges, and a range of bytes with
    /// another tag, give the whole.
    fn asked(headers: &HeaderMap, length: u64, tag: &str) -> Self {
        let is_same = headers.get(header::IF_RANGE).is_none_or(|of| of.as_bytes() == tag.as_bytes());
        let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).filter(|_| is_same);
        range.and_then(|range| Self::parsed(range, length)).unwrap_or(Self::Whole)
    }

    fn parsed(range: &str, length: u64) -> Option<Self> {
        let (unit, range) = range.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        let number = |digits: &str| {
            let are_digits = digits.bytes().all(|b| b.is_ascii_digit());
            are_digits.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let range = match (first, last) {
            _ if !unit.eq_ignore_ascii_case("bytes") => return None,
            ("", count) => length.saturating_sub(number(count)?)..length,
            (first, "") => number(first)?..length,
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                first..length.min(last.saturating_add(1))
            }
        };
        Some(if range.is_empty() { Self::Beyond } else { Self::Of(range) })
    }

    /// What the answer says of its place in `length` bytes.
    fn placed(&self, length: u64) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Of(range) => Some(format!("bytes {}-{}/{length}", range.start, range.end - 1)),
            Self::Beyond => Some(format!("bytes */{length}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gives_its_bytes_and_what_is_none_gives_all() {
        let check = |range: &str, if_range: Option<&str>, expected: Part| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().expect("a value"));
            if let Some(tag) = if_range {
                headers.insert(header::IF_RANGE, tag.parse().expect("a value"));
            }
            assert_eq!(Part::asked(&headers, 100, "\"a\""), expected, "{range} {if_range:?}");
        };
        assert_eq!(Part::asked(&HeaderMap::new(), 100, "\"a\""), Part::Whole);
        for (range, expected) in [
            ("bytes=0-", Part::Of(0..100)),
            ("bytes=0-0", Part::Of(0..1)),
            ("Bytes=10-19", Part::Of(10..20)),
            ("bytes=99-", Part::Of(99..100)),
            ("bytes=90-18446744073709551615", Part::Of(90..100)),
            ("bytes=-1", Part::Of(99..100)),
            ("bytes=-1000", Part::Of(0..100)),
            ("bytes=-0", Part::Beyond),
            ("bytes=100-", Part::Beyond),
            ("bytes=200-300", Part::Beyond),
            ("bytes=20-10", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes", Part::Whole),
            ("lines=0-1", Part::Whole),
        ] {
            check(range, None, expected);
        }
        check("bytes=5-", Some("\"a\""), Part::Of(5..100));
        check("bytes=5-", Some("\"b\""), Part::Whole);
        check("bytes=5-", Some("W/\"a\""), Part::Whole);
    }
}
