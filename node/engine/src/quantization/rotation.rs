//! A fixed random rotation, so that no dimension weighs more than others and the signs of a difference say as much
//! about it as they can.
//!
//! Four rounds of random signs and a Walsh-Hadamard transform, over the first and the last power of two of the
//! components in turn (RaBitQ, Gao, Long 2024, which names it the Kac walk of FHT). All of it follows from the number
//! of dimensions: nothing is stored.

use super::kernels::LANES;
use crate::distance::isa::{Isa, LINE_BYTES, per_isa};

const ROUNDS: usize = 4;

/// Rotates vectors of one length.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// Components, padded with zeros to whole lines of codes.
    width: usize,
    /// ±1 for each round and component, scaled so that lengths stay.
    signs: Vec<f32>,
}

impl Rotation {
    pub(crate) fn new(dim: usize) -> Self {
        let width = dim.next_multiple_of(LINE_BYTES);
        let span = span_of(width);
        let scale = 1.0 / (span as f32).sqrt();
        let mut state = 0x5bd1_e995_7f4a_7c15u64 ^ dim as u64;
        let mut sign = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            if (z ^ (z >> 31)) & 1 == 0 { scale } else { -scale }
        };
        let signs = (0..ROUNDS * span).map(|_| sign()).collect();
        Self { width, signs }
    }

    /// Components of a rotated vector: the dimensions padded to whole lines.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Rotates in place; `vector` has [`Self::width`] components, those past the dimensions being zero.
    pub(crate) fn apply(&self, vector: &mut [f32]) {
        assert_eq!(vector.len(), self.width, "vectors are padded to whole lines");
        let span = span_of(self.width);
        for (round, signs) in self.signs.chunks_exact(span).enumerate() {
            let start = if round % 2 == 0 { 0 } else { self.width - span };
            let part = &mut vector[start..start + span];
            // SAFETY: both are `span` long.
            unsafe { round_any(part, signs) }
        }
    }
}

/// The largest power of two that is not above `width`.
fn span_of(width: usize) -> usize {
    1 << width.ilog2()
}

per_isa! { unsafe fn round_any(part: &mut [f32], signs: &[f32]) -> () => round_with; }

#[inline(always)]
unsafe fn round_with<I: Isa>(part: &mut [f32], signs: &[f32]) {
    part.iter_mut().zip(signs).for_each(|(v, s)| *v *= s);
    // Four steps within runs of 16, then steps over whole runs.
    for values in part.as_chunks_mut::<LANES>().0 {
        // SAFETY: passed on to the caller.
        unsafe { I::hadamard16(values) };
    }
    let mut half = LANES;
    while half < part.len() {
        for pair in part.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_products_stay() {
        for dim in [1, 64, 100, 384, 1536, 1600] {
            let rotation = Rotation::new(dim);
            let vector = |seed: usize| {
                let mut v: Vec<f32> = (0..dim).map(|i| ((i * 7 + seed * 13) % 11) as f32 - 5.0).collect();
                v.resize(rotation.width(), 0.0);
                v
            };
            let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
            let (mut a, mut b) = (vector(1), vector(2));
            let before = [product(&a, &a), product(&a, &b)];
            rotation.apply(&mut a);
            rotation.apply(&mut b);
            for (got, expected) in [product(&a, &a), product(&a, &b)].into_iter().zip(before) {
                assert!((got - expected).abs() <= 1e-3 * before[0], "{dim}: {got} for {expected}");
            }
        }
    }

    #[test]
    fn one_component_is_spread_over_all() {
        let rotation = Rotation::new(384);
        let mut v = vec![0f32; 384];
        v[7] = 1.0;
        rotation.apply(&mut v);
        let largest = v.iter().fold(0f32, |m, x| m.max(x.abs()));
        assert!(largest < 0.4, "{largest}");
    }
}
