//! Points on their way into a collection: several requests at once, acknowledged in order.

use anyhow::Result;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use quiver_api::point::PointId;
use reqwest::Method;
use serde_json::Value;

use super::point::Point;
use super::remote::Remote;

/// Requests under way at the same time.
const IN_FLIGHT: usize = 4;
/// Largest body, unless one point alone is larger. Servers take 32 MiB.
const BODY_BYTES_MAX: usize = 8 << 20;
/// What a page is meant to hold: a page, times [`IN_FLIGHT`], is what stays in memory.
pub const PAGE_BYTES: usize = 4 << 20;
const PAGE_POINTS_MAX: usize = 1_000;
const FIRST_PAGE_POINTS: usize = 64;

/// Points that belong together, and how far one is after them.
pub struct Piece<M> {
    pub points: Vec<Point>,
    pub mark: M,
}

/// What the target has acknowledged.
pub struct Written<M> {
    pub ids: Vec<PointId>,
    pub mark: M,
}

/// Writes pieces into a collection. They are acknowledged in the order they came: after the first error nothing is said of
/// later ones, although they may have been written.
pub fn written<M>(
    to: &Remote,
    collection: &str,
    pieces: impl Stream<Item = Result<Piece<M>>>,
) -> impl Stream<Item = Result<Written<M>>> {
    pieces
        .map(move |piece| async move {
            let piece = piece?;
            for body in bodies(&piece.points)? {
                let path = ["collections", collection, "points"];
                to.call::<Value>(Method::PUT, &path, "wait=true", Some(body)).await?;
            }
            Ok(Written { ids: piece.points.iter().map(|p| p.id).collect(), mark: piece.mark })
        })
        .buffered(IN_FLIGHT)
}

/// Bodies of upserts: one for each run of points that fits and has the same shard key.
fn bodies(points: &[Point]) -> Result<Vec<Bytes>> {
    let key = |p: &Point| p.shard_key.as_ref().map(|k| k.get().to_owned());
    let mut sorted: Vec<(Option<String>, &Point)> = points.iter().map(|p| (key(p), p)).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut made = Vec::new();
    let mut rest = sorted.as_slice();
    while let Some((key, _)) = rest.first() {
        let mut size = 0;
        let fits = |(other, point): &&(Option<String>, &Point)| {
            size += point.bytes();
            other == key && (size <= BODY_BYTES_MAX || size == point.bytes())
        };
        let (part, later) = rest.split_at(rest.iter().take_while(fits).count());
        let upserts: Vec<_> = part.iter().map(|(_, p)| p.to_upsert()).collect();
        let mut body = br#"{"points":"#.to_vec();
        serde_json::to_writer(&mut body, &upserts)?;
        if let Some(key) = key {
            body.extend_from_slice(br#","shard_key":"#);
            body.extend_from_slice(key.as_bytes());
        }
        body.push(b'}');
        made.push(body.into());
        rest = later;
    }
    Ok(made)
}

/// All points of a collection from an id on, in pages of about [`PAGE_BYTES`]. A piece's mark is where the next page starts.
pub fn scrolled(
    from: &Remote,
    collection: &str,
    offset: Option<PointId>,
    points_max: Option<u64>,
) -> impl Stream<Item = Result<Piece<Option<PointId>>>> {
    let most = points_max.map_or(PAGE_POINTS_MAX, |max| max.clamp(1, PAGE_POINTS_MAX as u64) as usize);
    let start = (Some(offset), FIRST_PAGE_POINTS.min(most));
    futures::stream::try_unfold(start, move |(at, limit)| async move {
        let Some(offset) = at else { return Ok(None) };
        let page = from.scroll(collection, offset, limit).await?;
        let size: usize = page.points.iter().map(Point::bytes).sum();
        let each = (size / page.points.len().max(1)).max(1);
        // Never more than four times the last one: points may differ.
        let limit = (PAGE_BYTES / each).clamp(1, most.min(limit * 4));
        let next = page.next_page_offset;
        Ok(Some((Piece { points: page.points, mark: next }, (next.map(Some), limit))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(points: &[&str], expected: &[&str]) {
        let points: Vec<Point> = points.iter().map(|p| serde_json::from_str(p).expect("a point")).collect();
        let made = bodies(&points).expect("bodies");
        let texts: Vec<&str> = made.iter().map(|b| std::str::from_utf8(b).expect("text")).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_body_holds_points_of_one_shard_key() {
        check(&[], &[]);
        check(
            &[
                r#"{"id":1,"vector":[1],"shard_key":"b"}"#,
                r#"{"id":2,"vector":[1],"shard_key":7}"#,
                r#"{"id":3,"vector":[1],"shard_key":"b"}"#,
            ],
            &[
                r#"{"points":[{"id":1,"vector":[1]},{"id":3,"vector":[1]}],"shard_key":"b"}"#,
                r#"{"points":[{"id":2,"vector":[1]}],"shard_key":7}"#,
            ],
        );
    }

    #[test]
    fn a_body_is_bounded_and_a_large_point_goes_alone() {
        let large = format!(r#"{{"id":1,"payload":{{"t":"{}"}}}}"#, "x".repeat(BODY_BYTES_MAX));
        let points: Vec<Point> = [large.as_str(), r#"{"id":2}"#, r#"{"id":3}"#]
            .iter()
            .map(|p| serde_json::from_str(p).expect("a point"))
            .collect();
        let made = bodies(&points).expect("bodies");
        assert_eq!(made.len(), 2);
        assert!(made[1].len() < 100);
    }
}
