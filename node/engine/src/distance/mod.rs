//! Distance kernels: scalar twins, AVX2, AVX-512 and NEON, chosen once when the process starts to compare.
//!
//! Inside the engine every metric is a *similarity*, higher being nearer: the dot product, the cosine, the negative squared
//! Euclidean distance, the negative Manhattan distance. [`Distance::score`] turns one into what the protocol shows.

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod examples;
pub(crate) mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod portable;
#[cfg(test)]
mod tests;
mod top;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use examples::{Examples, Rule};
pub use top::TopK;

use crate::config::Distance;
use isa::{Isa, per_isa};

impl Distance {
    /// What the protocol shows for an internal similarity.
    #[inline]
    pub fn score(self, similarity: f32) -> f32 {
        match self {
            Distance::Cosine | Distance::CosineAsSent | Distance::Dot => similarity,
            Distance::Euclid => (-similarity).max(0.0).sqrt(),
            Distance::Manhattan => -similarity,
        }
    }

    /// The internal similarity of two vectors of one length, at full `f32` precision.
    #[inline]
    pub fn similarity(self, a: &[f32], b: &[f32]) -> f32 {
        match self {
            Distance::Cosine | Distance::Dot => dot(a, b),
            Distance::CosineAsSent => cosine(dot(a, b), dot(a, a), dot(b, b)),
            Distance::Euclid => -euclid(a, b),
            Distance::Manhattan => -manhattan(a, b),
        }
    }
}

/// Sum of products. Panics if the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one collection have one length");
    // SAFETY: both pointers are good for `a.len()` values.
    unsafe { dot_any(a.as_ptr(), b.as_ptr(), a.len()) }
}

/// The cosine of two vectors by their product and that of each with itself; 0 if one has no length.
#[inline(always)]
pub(crate) fn cosine(product: f32, a_squared: f32, b_squared: f32) -> f32 {
    if a_squared == 0.0 || b_squared == 0.0 { 0.0 } else { product / (a_squared * b_squared).sqrt() }
}

/// Sum of squared differences. Panics if the lengths differ.
pub fn euclid(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one collection have one length");
    // SAFETY: both pointers are good for `a.len()` values.
    unsafe { euclid_any(a.as_ptr(), b.as_ptr(), a.len()) }
}

/// Sum of absolute differences. Panics if the lengths differ.
pub fn manhattan(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one collection have one length");
    // SAFETY: both pointers are good for `a.len()` values.
    unsafe { manhattan_any(a.as_ptr(), b.as_ptr(), a.len()) }
}

per_isa! { unsafe fn dot_any(a: *const f32, b: *const f32, n: usize) -> f32 => dot_with; }
per_isa! { unsafe fn euclid_any(a: *const f32, b: *const f32, n: usize) -> f32 => euclid_with; }
per_isa! { unsafe fn manhattan_any(a: *const f32, b: *const f32, n: usize) -> f32 => manhattan_with; }

#[inline(always)]
unsafe fn dot_with<I: Isa>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: passed on to the caller.
    unsafe { I::dot(a, b, n) }
}

#[inline(always)]
unsafe fn euclid_with<I: Isa>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: passed on to the caller.
    unsafe { I::euclid(a, b, n) }
}

#[inline(always)]
unsafe fn manhattan_with<I: Isa>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: passed on to the caller.
    unsafe { I::manhattan(a, b, n) }
}

/// Scales to unit length, as Cosine stores and asks. A vector without length or already of length one stays
/// as it is, bit for bit, so that writing back what was read changes nothing.
pub fn normalize(vector: &mut [f32]) {
    let squared = dot(vector, vector);
    if squared < f32::EPSILON || (squared - 1.0).abs() <= 1e-6 {
        return;
    }
    let length = squared.sqrt();
    vector.iter_mut().for_each(|v| *v /= length);
}

/// Compares the query with each row of `rows` that `allowed` lets through; row `i` has the offset `base + i`.
/// For the chunks of mutable segments.
pub fn scan_f32(
    distance: Distance,
    query: &[f32],
    rows: &[f32],
    base: u32,
    allowed: impl Fn(u32) -> bool,
    top: &mut TopK,
) {
    for (i, row) in rows.chunks_exact(query.len()).enumerate() {
        let offset = base + i as u32;
        if allowed(offset) {
            top.push(distance.similarity(query, row), offset);
        }
    }
}
