//! The raw rows of one named vector, and which points have one.

use std::ops::Range;
use std::path::Path;

use super::VectorSpec;
use crate::error::Result;
use crate::file::cast;
use crate::file::{Disk, FileEntry, SealedFile, SealedWriter};

const KIND: [u8; 8] = *b"VECRAW\0\0";
const FORMAT: u32 = 1;
const HEADER_BYTES: u64 = 64;

/// A row for each point of the segment, zeros where the point lacks the vector.
pub(super) struct RawRows {
    file: SealedFile,
    dim: usize,
    len: u32,
    present: u32,
    /// One bit for each point that has the vector; empty if all have.
    presence: Vec<u64>,
}

/// What a pass over all rows gives beside the file.
pub(super) struct Written {
    pub(super) entry: FileEntry,
    /// Of those present; zeros if none is.
    pub(super) mean: Vec<f32>,
}

/// Writes the file from rows given one after the other.
pub(super) fn write(
    disk: &dyn Disk,
    path: &Path,
    dim: usize,
    len: u32,
    row_of: &mut dyn FnMut(u32, &mut [f32]) -> Result<bool>,
) -> Result<Written> {
    let mut w = SealedWriter::create(disk, path, KIND)?;
    w.write(cast::bytes(&[FORMAT, dim as u32, len]))?;
    w.align(HEADER_BYTES)?;
    let mut row = vec![0f32; dim];
    let mut sums = vec![0f64; dim];
    let mut presence = vec![0u64; (len as usize).div_ceil(64)];
    let mut present = 0u32;
    for offset in 0..len {
        row.fill(0.0);
        if row_of(offset, &mut row)? {
            presence[offset as usize / 64] |= 1 << (offset % 64);
            present += 1;
            sums.iter_mut().zip(&row).for_each(|(sum, v)| *sum += f64::from(*v));
        } else {
            row.fill(0.0);
        }
        w.write(cast::bytes(&row))?;
    }
    w.align(HEADER_BYTES)?;
    w.write(cast::bytes(&presence))?;
    let mean = sums.iter().map(|sum| (sum / f64::from(present.max(1))) as f32).collect();
    Ok(Written { entry: w.finish()?, mean })
}

impl RawRows {
    pub(super) fn open(disk: &dyn Disk, dir: &Path, entry: &FileEntry, spec: &VectorSpec) -> Result<Self> {
        let file = SealedFile::open_entry(disk, dir, entry, KIND)?;
        let header: &[u32] = cast::numbers(file.checked(0..HEADER_BYTES)?)?;
        let (dim, len) = (spec.dim, header[2]);
        if header[0] != FORMAT || header[1] as usize != dim {
            return Err(file.corrupt("vectors of another format or number of dimensions"));
        }
        let rows_end = HEADER_BYTES + u64::from(len) * dim as u64 * 4;
        let bits = rows_end.next_multiple_of(HEADER_BYTES);
        let words = u64::from(len).div_ceil(64);
        let mut presence = cast::numbers::<u64>(file.checked(bits..bits + words * 8)?)?.to_vec();
        let present = presence.iter().map(|w| w.count_ones()).sum();
        if present == len {
            presence = Vec::new();
        }
        Ok(Self { file, dim, len, present, presence })
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Number of points that have the vector.
    pub(super) fn present(&self) -> u32 {
        self.present
    }

    pub(super) fn has(&self, offset: u32) -> bool {
        offset < self.len
            && (self.presence.is_empty() || self.presence[offset as usize / 64] >> (offset % 64) & 1 == 1)
    }

    /// Whether every point has the vector.
    pub(super) fn is_whole(&self) -> bool {
        self.presence.is_empty()
    }

    /// The presence of 64 points; bits past the end are zero.
    pub(super) fn presence_word(&self, word: usize) -> u64 {
        match self.presence.get(word) {
            Some(&bits) => bits,
            None => {
                let rest = self.len as usize - word * 64;
                if rest >= 64 { u64::MAX } else { (1 << rest) - 1 }
            }
        }
    }

    /// One row, verified.
    #[inline]
    pub(super) fn row(&self, offset: u32) -> Result<&[f32]> {
        let start = HEADER_BYTES + u64::from(offset) * self.dim as u64 * 4;
        self.file.checked(start..start + self.dim as u64 * 4).map(cast::as_f32)
    }

    /// Some rows, one behind the other, verified.
    pub(super) fn rows(&self, rows: Range<u32>) -> Result<&[f32]> {
        if rows.start > rows.end || rows.end > self.len {
            return Err(self.file.corrupt("rows were asked for that it does not have"));
        }
        let place = |row: u32| HEADER_BYTES + u64::from(row) * self.dim as u64 * 4;
        self.file.checked(place(rows.start)..place(rows.end)).map(cast::as_f32)
    }

    /// All rows, verified.
    pub(super) fn all(&self) -> Result<&[f32]> {
        self.file.verify_all()?;
        let end = HEADER_BYTES as usize + self.len as usize * self.dim * 4;
        Ok(cast::as_f32(&self.file.bytes()[HEADER_BYTES as usize..end]))
    }
}
