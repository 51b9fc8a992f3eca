//! The multivectors of a chunk, in memory.

use crate::bitset::Bitset;
use crate::vector::MultiRow;

/// The numbers of all points, one behind the other.
#[derive(Debug)]
pub struct MultiColumn {
    dim: usize,
    pub present: Bitset,
    /// Where the numbers of each point begin and those of the last one end.
    starts: Vec<usize>,
    numbers: Vec<f32>,
}

impl MultiColumn {
    /// The column of some points; `None` if none of them has a vector. All have `dim` dimensions.
    pub fn new<'a>(dim: usize, points: impl ExactSizeIterator<Item = Option<MultiRow<'a>>>) -> Option<Self> {
        let mut present = Bitset::zeros(points.len() as u32);
        let (mut starts, mut numbers) = (vec![0], Vec::new());
        for (offset, point) in points.enumerate() {
            if let Some(point) = point {
                assert_eq!(point.dim, dim, "vectors of one name have one number of dimensions");
                present.set(offset as u32);
                numbers.extend_from_slice(point.numbers);
            }
            starts.push(numbers.len());
        }
        (!present.none()).then_some(Self { dim, present, starts, numbers })
    }

    /// The vectors of a point; `None` if it has none.
    pub fn get(&self, offset: u32) -> Option<MultiRow<'_>> {
        let range = self.starts[offset as usize]..self.starts[offset as usize + 1];
        self.present.get(offset).then(|| MultiRow { dim: self.dim, numbers: &self.numbers[range] })
    }
}
