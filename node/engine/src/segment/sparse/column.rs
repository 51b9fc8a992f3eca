//! The sparse vectors of a chunk, in memory.

use super::posting::bounds;
use super::{Posting, SparseSource};
use crate::bitset::Bitset;
use crate::error::Result;
use crate::vector::SparseRow;

/// Rows one behind the other, and the same values by dimension.
#[derive(Debug)]
pub struct SparseColumn {
    pub present: Bitset,
    /// Where each row begins and the last one ends.
    starts: Vec<u32>,
    indices: Vec<u32>,
    values: Vec<f32>,
    /// Ascending, each once.
    dimensions: Vec<u32>,
    /// Where the posting of each dimension begins and the last one ends.
    posting_starts: Vec<u32>,
    bounds: Vec<[f32; 2]>,
    posting_offsets: Vec<u32>,
    posting_values: Vec<f32>,
}

impl SparseColumn {
    /// The column of some rows; `None` if none of them has a vector.
    pub fn new<'a>(rows: impl ExactSizeIterator<Item = Option<SparseRow<'a>>>) -> Option<Self> {
        let mut present = Bitset::zeros(rows.len() as u32);
        let (mut starts, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        let mut by_dimension: Vec<(u32, u32, f32)> = Vec::new();
        for (offset, row) in rows.enumerate() {
            if let Some(row) = row {
                present.set(offset as u32);
                indices.extend_from_slice(row.indices);
                values.extend_from_slice(row.values);
                by_dimension.extend(row.indices.iter().zip(row.values).map(|(d, v)| (*d, offset as u32, *v)));
            }
            starts.push(indices.len() as u32);
        }
        if present.none() {
            return None;
        }
        by_dimension.sort_unstable_by_key(|(dimension, offset, _)| (*dimension, *offset));
        let mut column = Self {
            present,
            starts,
            indices,
            values,
            dimensions: Vec::new(),
            posting_starts: vec![0],
            bounds: Vec::new(),
            posting_offsets: Vec::with_capacity(by_dimension.len()),
            posting_values: Vec::with_capacity(by_dimension.len()),
        };
        for posting in by_dimension.chunk_by(|a, b| a.0 == b.0) {
            let start = column.posting_values.len();
            column.posting_offsets.extend(posting.iter().map(|(_, offset, _)| *offset));
            column.posting_values.extend(posting.iter().map(|(_, _, value)| *value));
            column.dimensions.push(posting[0].0);
            column.bounds.push(bounds(&column.posting_values[start..]));
            column.posting_starts.push(column.posting_values.len() as u32);
        }
        Some(column)
    }

    /// The vector of a point; `None` if it lacks it.
    pub fn get(&self, offset: u32) -> Option<SparseRow<'_>> {
        let row = self.starts[offset as usize] as usize..self.starts[offset as usize + 1] as usize;
        let present = self.present.get(offset);
        present.then(|| SparseRow { indices: &self.indices[row.clone()], values: &self.values[row] })
    }
}

impl SparseSource for SparseColumn {
    fn points(&self) -> u32 {
        self.present.len()
    }

    fn entries(&self) -> u64 {
        self.values.len() as u64
    }

    fn presence_word(&self, word: usize) -> u64 {
        self.present.words()[word]
    }

    fn row(&self, offset: u32) -> Result<Option<SparseRow<'_>>> {
        Ok(self.get(offset))
    }

    fn posting(&self, dimension: u32) -> Result<Option<Posting<'_>>> {
        let Ok(i) = self.dimensions.binary_search(&dimension) else { return Ok(None) };
        let range = self.posting_starts[i] as usize..self.posting_starts[i + 1] as usize;
        let [highest, lowest] = self.bounds[i];
        let offsets = &self.posting_offsets[range.clone()];
        Ok(Some(Posting { offsets, values: &self.posting_values[range], highest, lowest }))
    }
}
