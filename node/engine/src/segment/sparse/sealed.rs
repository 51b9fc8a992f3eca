//! The sparse vectors of a sealed segment, mapped.
//!
//! `.rows`: a header, rows (indices, then values), where each begins, which points have one, a trailer. `.postings`: a
//! header, the dimensions, where each posting begins, its bounds, postings (offsets, then values). Byte by byte:
//! docs/storage-format.md. Both are verified block by block as they are read.

use std::ops::Range;
use std::path::Path;

use super::{Posting, SparseSource, whole_word};
use crate::error::Result;
use crate::file::{Disk, FileEntry, SealedFile, cast};
use crate::vector::SparseRow;

pub(super) const ROWS_KIND: [u8; 8] = *b"SPARROWS";
pub(super) const POSTINGS_KIND: [u8; 8] = *b"SPARPOST";
pub(super) const FORMAT: u32 = 1;
pub(super) const HEADER_BYTES: u64 = 64;
pub(super) const TRAILER_BYTES: u64 = 16;
/// An offset or index, and a value.
pub(super) const ENTRY_BYTES: u64 = 8;

/// The sparse vectors of one name in a sealed segment, open.
pub struct SegmentSparse {
    rows: SealedFile,
    postings: SealedFile,
    len: u32,
    entries: u64,
    present: u32,
    /// One bit for each point that has the vector; empty if all have.
    presence: Vec<u64>,
    /// Where the table of the rows' beginnings is.
    row_starts: u64,
    dimensions: u64,
}

impl SegmentSparse {
    /// Opens what [`super::SparseBuilder::write`] wrote; `files` may name other files too.
    pub fn open(disk: &dyn Disk, dir: &Path, prefix: &str, files: &[FileEntry]) -> Result<Self> {
        let rows = SealedFile::open_entry(disk, dir, FileEntry::require(files, prefix, "rows")?, ROWS_KIND)?;
        let postings =
            SealedFile::open_entry(disk, dir, FileEntry::require(files, prefix, "postings")?, POSTINGS_KIND)?;
        let of_rows: &[u32] = cast::numbers(rows.checked(0..HEADER_BYTES)?)?;
        let of_postings: &[u32] = cast::numbers(postings.checked(0..HEADER_BYTES)?)?;
        if of_rows[0] != FORMAT || of_postings[0] != FORMAT {
            return Err(rows.corrupt("sparse vectors of another format"));
        }
        let len = of_rows[1];
        let end = rows.len().checked_sub(TRAILER_BYTES).ok_or_else(|| rows.corrupt("too short"))?;
        let trailer: &[u64] = cast::numbers(rows.checked(end..end + TRAILER_BYTES)?)?;
        let (entries, present) = (trailer[0], trailer[1]);
        let misfit = || rows.corrupt("its length does not fit the number of values");
        let row_starts = entries.checked_mul(ENTRY_BYTES).and_then(|n| n.checked_add(HEADER_BYTES));
        let row_starts = row_starts.ok_or_else(misfit)?;
        let bits = row_starts.saturating_add((u64::from(len) + 1) * 8);
        let words = u64::from(len).div_ceil(64) * 8;
        if bits.saturating_add(words) != end || of_postings[1] != len {
            return Err(misfit());
        }
        let mut presence = cast::numbers::<u64>(rows.checked(bits..end)?)?.to_vec();
        if presence.iter().map(|w| u64::from(w.count_ones())).sum::<u64>() != present {
            return Err(rows.corrupt("another number of points"));
        }
        if present == u64::from(len) {
            presence = Vec::new();
        }
        let dimensions = u64::from(of_postings[2]) | u64::from(of_postings[3]) << 32;
        let segment =
            Self { rows, postings, len, entries, present: present as u32, presence, row_starts, dimensions };
        let expected = segment.data().saturating_add(entries * ENTRY_BYTES);
        if segment.postings.len() != expected {
            return Err(segment.postings.corrupt("its length does not fit the number of values"));
        }
        Ok(segment)
    }

    /// Number of points that have this vector.
    pub fn present(&self) -> u32 {
        self.present
    }

    /// Whether the point has this vector.
    pub fn has(&self, offset: u32) -> bool {
        offset < self.len && self.presence_word(offset as usize / 64) >> (offset % 64) & 1 == 1
    }

    /// The vector as it is stored; `None` if the point lacks it.
    pub fn get(&self, offset: u32) -> Result<Option<SparseRow<'_>>> {
        if !self.has(offset) {
            return Ok(None);
        }
        let at = self.row_starts + u64::from(offset) * 8;
        let bounds: &[u64] = cast::numbers(self.rows.checked(at..at + 16)?)?;
        let (indices, values) = entries(&self.rows, HEADER_BYTES, bounds[0]..bounds[1])?;
        Ok(Some(SparseRow { indices, values }))
    }

    /// Where the tables of `.postings` begin: where each posting begins, its bounds, the postings.
    fn starts(&self) -> u64 {
        starts_of(self.dimensions)
    }

    fn bounds(&self) -> u64 {
        bounds_of(self.dimensions)
    }

    fn data(&self) -> u64 {
        data_of(self.dimensions)
    }
}

/// Where the table of beginnings is if there are so many dimensions.
pub(super) fn starts_of(dimensions: u64) -> u64 {
    HEADER_BYTES.saturating_add(dimensions.saturating_mul(4)).next_multiple_of(HEADER_BYTES)
}

/// Where the bounds are.
pub(super) fn bounds_of(dimensions: u64) -> u64 {
    let end = starts_of(dimensions).saturating_add((dimensions.saturating_add(1)).saturating_mul(8));
    end.next_multiple_of(HEADER_BYTES)
}

/// Where the postings are.
pub(super) fn data_of(dimensions: u64) -> u64 {
    bounds_of(dimensions).saturating_add(dimensions.saturating_mul(8)).next_multiple_of(HEADER_BYTES)
}

/// Numbers and values of some entries, which lie one group behind the other from `base` on.
fn entries(file: &SealedFile, base: u64, range: Range<u64>) -> Result<(&[u32], &[f32])> {
    let place = |n: u64| n.checked_mul(ENTRY_BYTES).and_then(|n| n.checked_add(base));
    let (Some(start), Some(end)) = (place(range.start), place(range.end)) else {
        return Err(file.corrupt("a range outside the body is named"));
    };
    let bytes = file.checked(start..end)?;
    let (numbers, values) = bytes.split_at(bytes.len() / 2);
    Ok((cast::numbers(numbers)?, cast::numbers(values)?))
}

impl SparseSource for SegmentSparse {
    fn points(&self) -> u32 {
        self.len
    }

    fn entries(&self) -> u64 {
        self.entries
    }

    fn presence_word(&self, word: usize) -> u64 {
        self.presence.get(word).copied().unwrap_or_else(|| whole_word(self.len, word))
    }

    fn row(&self, offset: u32) -> Result<Option<SparseRow<'_>>> {
        self.get(offset)
    }

    fn posting(&self, dimension: u32) -> Result<Option<Posting<'_>>> {
        let end = HEADER_BYTES + self.dimensions * 4;
        let dimensions: &[u32] = cast::numbers(self.postings.checked(HEADER_BYTES..end)?)?;
        let Ok(i) = dimensions.binary_search(&dimension) else { return Ok(None) };
        let (at, bound) = (self.starts() + i as u64 * 8, self.bounds() + i as u64 * 8);
        let starts: &[u64] = cast::numbers(self.postings.checked(at..at + 16)?)?;
        let bounds: &[f32] = cast::numbers(self.postings.checked(bound..bound + 8)?)?;
        let (offsets, values) = entries(&self.postings, self.data(), starts[0]..starts[1])?;
        Ok(Some(Posting { offsets, values, highest: bounds[0], lowest: bounds[1] }))
    }
}
