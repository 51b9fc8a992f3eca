//! One-byte codes with their halves apart: the upper four bits of all points, then the lower four.
//!
//! Walks and builds read the upper halves alone, which are half as many lines and nearly as good at telling what is worth
//! being followed (scalar quantization of two levels, as in LVQ, Aguerrebere et al. 2023); what a walk found is scored by whole
//! codes. Line `l` of a half has the codes of lines `2l` and `2l + 1` of the row: of the first in the low bits of its bytes, of
//! the second in the high ones.

use crate::distance::isa::LINE_BYTES;

/// Codes that a line of a half stands for.
pub(super) const PAIR: usize = 2 * LINE_BYTES;

/// Steps of whole codes in one of the upper halves.
pub(crate) const STEPS: i32 = 16;
/// Twice what code 0 of an upper half stands for, in steps of whole codes: the middle of the codes that have it, less 128.
pub(crate) const TWICE_LOWEST: i32 = STEPS - 1 - 256;

/// Takes the codes of a row apart.
pub(crate) fn split(codes: &[u8], upper: &mut [u8], lower: &mut [u8]) {
    assert!(codes.len().is_multiple_of(PAIR) && upper.len() * 2 == codes.len() && lower.len() == upper.len());
    let lines = upper.chunks_exact_mut(LINE_BYTES).zip(lower.chunks_exact_mut(LINE_BYTES));
    for (codes, (upper, lower)) in codes.chunks_exact(PAIR).zip(lines) {
        let (first, second) = codes.split_at(LINE_BYTES);
        for i in 0..LINE_BYTES {
            upper[i] = first[i] >> 4 | second[i] & 0xf0;
            lower[i] = first[i] & 0x0f | second[i] << 4;
        }
    }
}

/// Gives the codes of a row that [`split`] took apart, two lines at a time.
pub(super) fn joined<'a>(upper: &'a [u8], lower: &'a [u8]) -> impl Iterator<Item = [u8; PAIR]> + 'a {
    let lines = upper.chunks_exact(LINE_BYTES).zip(lower.chunks_exact(LINE_BYTES));
    lines.map(|(upper, lower)| {
        let mut codes = [0u8; PAIR];
        for i in 0..LINE_BYTES {
            codes[i] = upper[i] << 4 | lower[i] & 0x0f;
            codes[LINE_BYTES + i] = upper[i] & 0xf0 | lower[i] >> 4;
        }
        codes
    })
}

/// Twice the sum of what the upper halves of some codes stand for, in steps of whole codes.
pub(super) fn twice_sum(codes: &[u8]) -> i32 {
    codes.iter().map(|&code| 2 * STEPS * i32::from(code >> 4) + TWICE_LOWEST).sum()
}
