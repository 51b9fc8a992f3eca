//! The points that have a value of one dimension.

/// Offsets in ascending order, the value of each, and between which bounds the values lie.
#[derive(Clone, Copy, Debug)]
pub struct Posting<'a> {
    pub offsets: &'a [u32],
    pub values: &'a [f32],
    pub highest: f32,
    pub lowest: f32,
}

impl Posting<'_> {
    /// The first place from `at` on whose offset is not below `offset`.
    pub fn seek(&self, at: usize, offset: u32) -> usize {
        // What is looked for is mostly near: steps that double, then halving.
        let rest = &self.offsets[at..];
        let mut reach = 1;
        while reach < rest.len() && rest[reach] < offset {
            reach *= 2;
        }
        let from = reach / 2;
        let to = rest.len().min(reach + 1);
        at + from + rest[from..to].partition_point(|o| *o < offset)
    }
}

/// The highest and the lowest of some values.
pub(super) fn bounds(values: &[f32]) -> [f32; 2] {
    values.iter().fold([f32::NEG_INFINITY, f32::INFINITY], |[high, low], v| [high.max(*v), low.min(*v)])
}
