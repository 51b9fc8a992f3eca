//! A finished graph: links in flat rows, and its file.
//!
//! Level 0 has one row of `2m` links for each point, ended by [`NO_LINK`]; points of the upper levels have one more
//! row of `m` for each level. Points without this vector have empty rows and no links to them.

use crate::error::Result;
use crate::file::cast;
use crate::file::hugepage::{HugeBuffer, Section};
use crate::file::{SealedFile, SealedWriter};

/// Ends a row that is not full.
pub(crate) const NO_LINK: u32 = u32::MAX;

const FORMAT: u32 = 1;
const HEADER_BYTES: u64 = 64;
const ALIGN: u64 = 64;

/// What a graph's file begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    /// Points of the segment, with a vector or without.
    pub(crate) len: u32,
    pub(crate) m: u32,
    pub(crate) ef_construct: u32,
    /// Where walks start; [`NO_LINK`] if no point has a vector.
    pub(crate) entry: u32,
    /// Level of the entry.
    pub(crate) top: u32,
    /// Rows of all upper levels.
    pub(crate) upper_rows: u32,
    /// A query is far from all points if the nearest on level 1 has less than this similarity; negative infinity: none is.
    pub(crate) far: f32,
}

/// A graph that is searched and never changed.
pub struct Graph {
    pub(crate) shape: Shape,
    links: Section,
    /// For each point the number of its first upper row; one more at the end.
    upper_start: Section,
    upper: Section,
}

impl Graph {
    pub(crate) fn new(shape: Shape, links: HugeBuffer, upper_start: HugeBuffer, upper: HugeBuffer) -> Self {
        let graph = Self {
            shape,
            links: Section::Ram(links),
            upper_start: Section::Ram(upper_start),
            upper: Section::Ram(upper),
        };
        debug_assert!(graph.flaw().is_none(), "{:?}", graph.flaw());
        graph
    }

    /// Writes it as the body of a sealed file.
    pub(crate) fn write(&self, w: &mut SealedWriter) -> Result<()> {
        let s = &self.shape;
        let far = s.far.to_bits();
        w.write(cast::bytes(&[FORMAT, s.len, s.m, s.ef_construct, s.entry, s.top, s.upper_rows, far]))?;
        w.align(HEADER_BYTES)?;
        for part in [&self.links, &self.upper_start, &self.upper] {
            w.write(part)?;
            w.align(ALIGN)?;
        }
        Ok(())
    }

    /// Opens what [`Self::write`] wrote. All of it is verified, so that walks need no checks.
    pub(crate) fn open(file: &SealedFile, len: u32, ram: bool) -> Result<Self> {
        let header: &[u32] = cast::numbers(file.checked(0..HEADER_BYTES)?)?;
        let shape = Shape {
            len: header[1],
            m: header[2],
            ef_construct: header[3],
            entry: header[4],
            top: header[5],
            upper_rows: header[6],
            // Files of earlier versions have nothing here.
            far: if header[7] == 0 { f32::NEG_INFINITY } else { f32::from_bits(header[7]) },
        };
        if header[0] != FORMAT || shape.len != len || shape.m == 0 {
            return Err(file.corrupt("a graph of another format or segment"));
        }
        let mut position = HEADER_BYTES;
        let mut section = |numbers: u64| {
            let range = position..position + numbers * 4;
            position = range.end.next_multiple_of(ALIGN);
            Section::load(file, range, ram)
        };
        let links = section(u64::from(len) * u64::from(shape.m) * 2)?;
        let upper_start = section(u64::from(len) + 1)?;
        let upper = section(u64::from(shape.upper_rows) * u64::from(shape.m))?;
        let graph = Self { shape, links, upper_start, upper };
        match graph.flaw() {
            None => Ok(graph),
            Some(flaw) => Err(file.corrupt(flaw)),
        }
    }

    /// What makes this no graph. Walks rely on it: every link leads to a point, every upper row exists.
    fn flaw(&self) -> Option<&'static str> {
        let s = &self.shape;
        let leads_nowhere =
            |row: &[u32]| row.iter().fold(false, |bad, &l| bad | (l >= s.len && l != NO_LINK));
        let starts = self.upper_start();
        if leads_nowhere(self.links()) || leads_nowhere(self.upper()) {
            return Some("a link leads to no point");
        }
        if starts.windows(2).any(|w| w[0] > w[1]) || starts.last() != Some(&s.upper_rows) {
            return Some("the upper levels don't fit the number of their rows");
        }
        if s.entry != NO_LINK && (s.entry >= s.len || self.level(s.entry) < s.top) {
            return Some("the entry is no point of its level");
        }
        None
    }

    /// Links of all points on level 0.
    pub(crate) fn links(&self) -> &[u32] {
        cast::as_u32(&self.links)
    }

    #[inline]
    pub(crate) fn upper_start(&self) -> &[u32] {
        cast::as_u32(&self.upper_start)
    }

    #[inline]
    pub(crate) fn upper(&self) -> &[u32] {
        cast::as_u32(&self.upper)
    }

    /// The level of a point.
    #[inline(always)]
    pub(crate) fn level(&self, offset: u32) -> u32 {
        let starts = self.upper_start();
        starts[offset as usize + 1] - starts[offset as usize]
    }

    /// The row of a point on an upper level; empty if it has none.
    #[inline(always)]
    pub(crate) fn upper_row(&self, offset: u32, level: u32) -> &[u32] {
        if level == 0 || level > self.level(offset) {
            return &[];
        }
        let m = self.shape.m as usize;
        let row = (self.upper_start()[offset as usize] + level - 1) as usize;
        ended(&self.upper()[row * m..][..m])
    }

    /// The links of a point on level 0.
    pub(crate) fn row(&self, offset: u32) -> &[u32] {
        let width = self.shape.m as usize * 2;
        ended(&self.links()[offset as usize * width..][..width])
    }

    /// Bytes held in RAM.
    pub fn ram_bytes(&self) -> u64 {
        self.links.ram_bytes() + self.upper_start.ram_bytes() + self.upper.ram_bytes()
    }

    /// Links of level 0 for each point, on average.
    pub fn mean_degree(&self) -> f64 {
        let links = self.links().iter().filter(|&&l| l != NO_LINK).count();
        links as f64 / f64::from(self.shape.len.max(1))
    }
}

/// A row up to its end.
#[inline]
pub(crate) fn ended(row: &[u32]) -> &[u32] {
    &row[..row.iter().position(|&l| l == NO_LINK).unwrap_or(row.len())]
}
