//! The ones of a bitmap, counted and listed with what the processor has for it.

use crate::distance::isa::{Isa, per_isa};

/// Ones of a word that are written down without looking whether they are there.
const AT_ONCE: usize = 2;

/// How many bits are set.
pub(crate) fn count_ones(words: &[u64]) -> usize {
    // SAFETY: plain Rust, compiled for what the processor has.
    unsafe { count_any(words) }
}

per_isa! { unsafe fn count_any(words: &[u64]) -> usize => count_with; }

#[inline(always)]
unsafe fn count_with<I: Isa>(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}

/// Appends the offsets of the ones in some words, the first of which begins at `base`.
pub(crate) fn list_ones(words: &[u64], base: u32, offsets: &mut Vec<u32>) {
    // SAFETY: plain Rust, compiled for what the processor has.
    unsafe { list_any(words, base, offsets) }
}

per_isa! { unsafe fn list_any(words: &[u64], base: u32, offsets: &mut Vec<u32>) -> () => list_with; }

#[inline(always)]
unsafe fn list_with<I: Isa>(words: &[u64], base: u32, offsets: &mut Vec<u32>) {
    // SAFETY: passed on to the caller.
    let len = offsets.len() + unsafe { count_with::<I>(words) };
    offsets.reserve(len - offsets.len() + AT_ONCE);
    // SAFETY: there is room for all ones, and for what is written over; those up to the new length were written.
    unsafe {
        let mut end = offsets.as_mut_ptr().add(offsets.len());
        for (i, &word) in words.iter().enumerate() {
            let first = base + i as u32 * 64;
            let ones = word.count_ones() as usize;
            let mut rest = word;
            // Nobody can guess how many ones a word has: some are written for each word, and those that were not there written over.
            for place in 0..AT_ONCE {
                *end.add(place) = first.wrapping_add(rest.trailing_zeros());
                rest &= rest.wrapping_sub(1);
            }
            for place in AT_ONCE..ones {
                *end.add(place) = first + rest.trailing_zeros();
                rest &= rest - 1;
            }
            end = end.add(ones);
        }
        offsets.set_len(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_are_counted_and_listed_behind_what_is_there() {
        let check = |words: &[u64]| {
            let ones = (0..words.len() as u32 * 64).filter(|&i| words[i as usize / 64] >> (i % 64) & 1 == 1);
            let expected: Vec<u32> = [7].into_iter().chain(ones.map(|i| 128 + i)).collect();
            let mut listed = vec![7];
            list_ones(words, 128, &mut listed);
            assert_eq!(listed, expected);
            assert_eq!(count_ones(words), expected.len() - 1);
        };
        check(&[]);
        check(&[0; 40]);
        check(&[u64::MAX; 40]);
        check(&[1, 1 << 63, 0, 0b11, 0b111, u64::MAX, 0, 0x8000_0000_0000_0001]);
    }
}
