//! Writes the sparse vectors of one name in a new segment: rows first, postings from them.

use std::collections::HashMap;
use std::path::Path;

use foldhash::fast::FixedState;

use super::posting::bounds;
use super::sealed::{FORMAT, HEADER_BYTES, POSTINGS_KIND, ROWS_KIND};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::file::{Disk, FileEntry, SealedWriter, cast};
use crate::vector::SparseRow;

/// Entries that are sorted by dimension at once, 8 bytes each: with more of them the rows are read several times.
const ENTRIES_AT_ONCE: u64 = if cfg!(test) { 1000 } else { 32 << 20 };
/// Rows between two looks at the cancel flag.
const ROWS_PER_CHECK: u32 = 1024;

/// Where the vectors are written to.
pub struct SparseBuilder<'a> {
    pub disk: &'a dyn Disk,
    pub dir: &'a Path,
    pub prefix: &'a str,
    pub cancel: &'a Cancel,
}

/// What was written.
pub struct Written {
    pub files: Vec<FileEntry>,
    /// Points that have the vector, and the values of all of them.
    pub points: u32,
    pub entries: u64,
}

type Counts = HashMap<u32, u64, FixedState>;

/// The row of a point, if it has one.
type RowOf<'a, 'r> = &'a dyn Fn(u32) -> Result<Option<SparseRow<'r>>>;

impl SparseBuilder<'_> {
    /// Writes both files for `len` points.
    pub fn write(&self, len: u32, row_of: RowOf<'_, '_>) -> Result<Written> {
        let mut out = SealedWriter::create(self.disk, &self.path("rows"), ROWS_KIND)?;
        out.write(cast::bytes(&[FORMAT, len]))?;
        out.align(HEADER_BYTES)?;
        let mut starts = Vec::with_capacity(len as usize + 1);
        let mut presence = vec![0u64; (len as usize).div_ceil(64)];
        let (mut entries, mut counts) = (0u64, Counts::default());
        starts.push(0);
        for offset in 0..len {
            self.check(offset)?;
            if let Some(row) = row_of(offset)? {
                presence[offset as usize / 64] |= 1 << (offset % 64);
                out.write(cast::bytes(row.indices))?;
                out.write(cast::bytes(row.values))?;
                entries += row.indices.len() as u64;
                row.indices.iter().for_each(|d| *counts.entry(*d).or_default() += 1);
            }
            starts.push(entries);
        }
        let points: u32 = presence.iter().map(|w| w.count_ones()).sum();
        out.write(cast::bytes(&starts))?;
        out.write(cast::bytes(&presence))?;
        out.write(cast::bytes(&[entries, u64::from(points)]))?;
        drop(starts);
        let rows = out.finish()?;
        let postings = self.write_postings(len, counts, row_of)?;
        Ok(Written { files: vec![rows, postings], points, entries })
    }

    fn path(&self, extension: &str) -> std::path::PathBuf {
        self.dir.join(format!("{}.{extension}", self.prefix))
    }

    fn check(&self, offset: u32) -> Result<()> {
        if offset.is_multiple_of(ROWS_PER_CHECK) { self.cancel.check() } else { Ok(()) }
    }

    fn write_postings(&self, len: u32, counts: Counts, row_of: RowOf<'_, '_>) -> Result<FileEntry> {
        let mut dimensions: Vec<(u32, u64)> = counts.into_iter().collect();
        dimensions.sort_unstable();
        let entries: u64 = dimensions.iter().map(|(_, n)| n).sum();
        let all_bounds = self.all_bounds(len, &dimensions, row_of)?;
        let mut out = SealedWriter::create(self.disk, &self.path("postings"), POSTINGS_KIND)?;
        out.write(cast::bytes(&[FORMAT, len]))?;
        out.write(cast::bytes(&[dimensions.len() as u64, entries]))?;
        out.align(HEADER_BYTES)?;
        dimensions.iter().try_for_each(|(d, _)| out.write(&d.to_le_bytes()))?;
        out.align(HEADER_BYTES)?;
        let mut start = 0u64;
        out.write(&start.to_le_bytes())?;
        for (_, count) in &dimensions {
            start += count;
            out.write(&start.to_le_bytes())?;
        }
        out.align(HEADER_BYTES)?;
        all_bounds.iter().try_for_each(|pair| out.write(cast::bytes(pair)))?;
        out.align(HEADER_BYTES)?;
        self.write_parts(len, &dimensions, row_of, &mut out)?;
        out.finish()
    }

    /// The bounds of every dimension. They stand before the postings, so that one look finds them side by side.
    fn all_bounds(
        &self,
        len: u32,
        dimensions: &[(u32, u64)],
        row_of: RowOf<'_, '_>,
    ) -> Result<Vec<[f32; 2]>> {
        let mut all = vec![bounds(&[]); dimensions.len()];
        for offset in 0..len {
            self.check(offset)?;
            let Some(row) = row_of(offset)? else { continue };
            // Dimensions of a row ascend, and so does the place to look from.
            let mut from = 0;
            for (d, v) in row.indices.iter().zip(row.values) {
                from += dimensions[from..].partition_point(|(known, _)| known < d);
                let [high, low] = &mut all[from];
                (*high, *low) = (high.max(*v), low.min(*v));
            }
        }
        Ok(all)
    }

    /// Writes the posting of every dimension in their order. Reads the rows once for so many dimensions as
    /// have [`ENTRIES_AT_ONCE`] entries together.
    fn write_parts(
        &self,
        len: u32,
        dimensions: &[(u32, u64)],
        row_of: RowOf<'_, '_>,
        out: &mut SealedWriter,
    ) -> Result<()> {
        let mut rest = dimensions;
        while !rest.is_empty() {
            let mut entries = 0;
            let fits = |(_, n): &&(u32, u64)| {
                entries += n;
                entries <= ENTRIES_AT_ONCE
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (part, later) = rest.split_at(count);
            self.write_part(len, part, row_of, out)?;
            rest = later;
        }
        Ok(())
    }

    fn write_part(
        &self,
        len: u32,
        part: &[(u32, u64)],
        row_of: RowOf<'_, '_>,
        out: &mut SealedWriter,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (part.first(), part.last()) else { return Ok(()) };
        let mut starts = Vec::with_capacity(part.len() + 1);
        starts.push(0usize);
        part.iter().for_each(|(_, n)| starts.push(starts[starts.len() - 1] + *n as usize));
        let total = starts[part.len()];
        let (mut offsets, mut values, mut ends) = (vec![0u32; total], vec![0f32; total], starts.clone());
        for offset in 0..len {
            self.check(offset)?;
            let Some(row) = row_of(offset)? else { continue };
            let begin = row.indices.partition_point(|d| *d < first.0);
            let mut at = 0;
            for (d, v) in
                row.indices[begin..].iter().zip(&row.values[begin..]).take_while(|(d, _)| **d <= last.0)
            {
                at += part[at..].partition_point(|(known, _)| known < d);
                (offsets[ends[at]], values[ends[at]]) = (offset, *v);
                ends[at] += 1;
            }
        }
        for (start, end) in starts.iter().zip(&starts[1..]) {
            out.write(cast::bytes(&offsets[*start..*end]))?;
            out.write(cast::bytes(&values[*start..*end]))?;
        }
        Ok(())
    }
}
