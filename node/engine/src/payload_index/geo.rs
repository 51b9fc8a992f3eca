//! Places in the order of a curve that fills the plane: what lies near lies mostly near on the curve too, so that a
//! rectangle is a few ranges of it. What is found there is tested exactly.

use super::column::Column;
use super::sorted::Sorted;
use crate::bitset::Bitset;
use crate::error::{Error, Result};
use crate::filter::geo::GeoRect;
use crate::filter::{GeoArea, GeoPoint};

/// Ranges that a rectangle is covered by, about; more of them cover less that lies outside.
const RANGES_MAX: usize = 64;

/// Places and the points that have them.
pub(super) struct Places {
    /// By cell, as [`cell_of`] makes it.
    pub(super) cells: Sorted<u64>,
    /// In the order of the cells.
    pub(super) lats: Column<f64>,
    pub(super) lons: Column<f64>,
}

impl Places {
    /// Number of pairs of place and point.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Sets the bits of the points that have a place inside.
    pub(super) fn add_inside(&self, area: &GeoArea, bits: &mut Bitset) -> Result<()> {
        for (low, high) in ranges(&area.bounds()) {
            let found = self.cells.places(|cell| cell >= low, |cell| cell <= high)?;
            let offsets = self.cells.offsets.part(found.clone())?;
            let (lats, lons) = (self.lats.part(found.clone())?, self.lons.part(found)?);
            for ((&offset, &lat), &lon) in offsets.iter().zip(lats).zip(lons) {
                if offset >= bits.len() {
                    return Err(Error::corrupt("payload index", "a place names a point that is not there"));
                }
                if area.contains(GeoPoint { lat, lon }) {
                    bits.set(offset);
                }
            }
        }
        Ok(())
    }

    /// At most so many pairs lie inside.
    pub(super) fn count_at_most(&self, area: &GeoArea) -> Result<u64> {
        let mut count = 0;
        for (low, high) in ranges(&area.bounds()) {
            count += self.cells.places(|cell| cell >= low, |cell| cell <= high)?.len() as u64;
        }
        Ok(count)
    }
}

/// Collects places.
#[derive(Default)]
pub(super) struct PlacesBuilder(Vec<(u64, u32, GeoPoint)>);

impl PlacesBuilder {
    pub(super) fn add(&mut self, point: GeoPoint, offset: u32) {
        self.0.push((cell_of(point), offset, point));
    }

    pub(super) fn finish(mut self) -> Places {
        self.0.sort_by_key(|(cell, offset, _)| (*cell, *offset));
        let cells = self.0.iter().map(|p| p.0).collect();
        let offsets = self.0.iter().map(|p| p.1).collect();
        Places {
            cells: Sorted::new(Column::Owned(cells), Column::Owned(offsets)),
            lats: Column::Owned(self.0.iter().map(|p| p.2.lat).collect()),
            lons: Column::Owned(self.0.iter().map(|p| p.2.lon).collect()),
        }
    }
}

/// The bits of both coordinates in turn, those of the latitude first (Morton 1966).
fn cell_of(point: GeoPoint) -> u64 {
    let (x, y) = grid(point.lat, point.lon);
    spread(x) | spread(y) << 1
}

/// Longitude and latitude as parts of the whole range; the conversion keeps what is too large at the largest.
fn grid(lat: f64, lon: f64) -> (u32, u32) {
    const STEPS: f64 = 4_294_967_296.0;
    (((lon + 180.0) / 360.0 * STEPS) as u32, ((lat + 90.0) / 180.0 * STEPS) as u32)
}

/// The bits of a number at the even places.
fn spread(n: u32) -> u64 {
    let mut n = u64::from(n);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        n = (n | n << shift) & mask;
    }
    n
}

/// A square of the grid: `2^bits` steps wide.
#[derive(Clone, Copy)]
struct Square {
    x: u32,
    y: u32,
    bits: u32,
}

impl Square {
    /// The last step on each side.
    fn end(self) -> (u32, u32) {
        let width = u32::try_from((1u64 << self.bits) - 1).unwrap_or(u32::MAX);
        (self.x | width, self.y | width)
    }

    /// The part of the curve in it, both ends included.
    fn range(self) -> (u64, u64) {
        let (x, y) = self.end();
        (spread(self.x) | spread(self.y) << 1, spread(x) | spread(y) << 1)
    }

    fn quarters(self) -> [Square; 4] {
        let bits = self.bits - 1;
        [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(right, up)| Square {
            x: self.x | right << bits,
            y: self.y | up << bits,
            bits,
        })
    }
}

/// Ranges of the curve that hold all of some rectangles, ascending, none touching another.
fn ranges(rects: &[GeoRect]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for rect in rects {
        let (west, south) = grid(rect.south, rect.west);
        let (east, north) = grid(rect.north, rect.east);
        let mut open = vec![Square { x: 0, y: 0, bits: 32 }];
        let mut whole = 0;
        while whole + open.len() <= RANGES_MAX && !open.is_empty() && open[0].bits > 0 {
            let mut next = Vec::new();
            for square in open.iter().flat_map(|square| square.quarters()) {
                let (x, y) = square.end();
                if square.x > east || x < west || square.y > north || y < south {
                    continue;
                }
                if square.x >= west && x <= east && square.y >= south && y <= north {
                    found.push(square.range());
                    whole += 1;
                } else {
                    next.push(square);
                }
            }
            open = next;
        }
        found.extend(open.into_iter().map(Square::range));
    }
    found.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (low, high) in found {
        match merged.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_square_are_a_range() {
        let square = Square { x: 4, y: 8, bits: 2 };
        let (low, high) = square.range();
        assert_eq!(high - low, 15);
        assert_eq!(Square { x: 0, y: 0, bits: 32 }.range(), (0, u64::MAX));
        assert_eq!(grid(90.0, 180.0), (u32::MAX, u32::MAX));
        assert_eq!(grid(-90.0, -180.0), (0, 0));
    }

    #[test]
    fn few_ranges_cover_little_more_than_a_rectangle() {
        let rect = GeoRect { south: 52.3, north: 52.7, west: 13.1, east: 13.8 };
        let found = ranges(&[rect]);
        assert!(found.len() <= 4 * RANGES_MAX);
        assert!(found.windows(2).all(|w| w[0].1 < w[1].0));
        let covered: f64 =
            found.iter().map(|(low, high)| (high - low) as f64 + 1.0).sum::<f64>() / 2f64.powi(64);
        let asked = 0.4 / 180.0 * (0.7 / 360.0);
        assert!(covered >= asked && covered < asked * 1.6, "{covered} of {asked}");
    }
}
