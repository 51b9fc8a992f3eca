//! The vectors of one name in a sealed segment as raw rows, searched by scanning.
//!
//! Body: number of points, dimensions (u64 each), which points have the vector (one bit each, in words of 64),
//! padding to 64, the rows; zeros where a point has none.

use std::path::Path;

use crate::bitset::Bitset;
use crate::error::Result;
use crate::file::{Disk, FileEntry, SealedFile, SealedWriter, cast};

const KIND: [u8; 8] = *b"rawrows ";

/// Writes the rows of `points` points; gives the file and how many have the vector.
pub fn write<'a>(
    disk: &dyn Disk,
    path: &Path,
    points: u32,
    dim: usize,
    row: &mut dyn FnMut(u32) -> Result<Option<&'a [f32]>>,
) -> Result<(FileEntry, u32)> {
    let mut out = SealedWriter::create(disk, path, KIND)?;
    let mut present = Bitset::zeros(points);
    for offset in 0..points {
        if row(offset)?.is_some() {
            present.set(offset);
        }
    }
    out.write(&u64::from(points).to_le_bytes())?;
    out.write(&(dim as u64).to_le_bytes())?;
    out.write(cast::bytes(present.words()))?;
    out.align(64)?;
    let zeros = vec![0f32; dim];
    for offset in 0..points {
        out.write(cast::bytes(row(offset)?.unwrap_or(&zeros)))?;
    }
    Ok((out.finish()?, present.count()))
}

/// Raw rows, mapped.
pub struct PlainVectors {
    file: SealedFile,
    present: Bitset,
    dim: usize,
    rows_at: u64,
}

impl PlainVectors {
    pub fn open(disk: &dyn Disk, dir: &Path, entry: &FileEntry, points: u32, dim: usize) -> Result<Self> {
        let file = SealedFile::open_entry(disk, dir, entry, KIND)?;
        let words = u64::from(points).div_ceil(64);
        let bits_end = 16 + words * 8;
        let rows_at = bits_end.next_multiple_of(64);
        if file.len() != rows_at + u64::from(points) * dim as u64 * 4 {
            return Err(file.corrupt("its length does not fit the number of points"));
        }
        let words: &[u64] = cast::numbers(file.checked(16..bits_end)?)?;
        let present = (0..points).map(|i| words[i as usize / 64] >> (i % 64) & 1 == 1).collect();
        Ok(Self { present, dim, rows_at, file })
    }

    pub fn present(&self) -> &Bitset {
        &self.present
    }

    pub fn raw(&self, offset: u32) -> Result<Option<&[f32]>> {
        if !self.present.get(offset) {
            return Ok(None);
        }
        let row = self.dim as u64 * 4;
        let at = self.rows_at + u64::from(offset) * row;
        Ok(Some(cast::as_f32(self.file.checked(at..at + row)?)))
    }
}
