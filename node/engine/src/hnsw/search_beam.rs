//! The candidates of a walk: one sorted list, each entry marked once its links were followed.

use crate::distance::isa::Isa;

/// High bit of an offset in the beam: its links were followed.
const FOLLOWED: u32 = 1 << 31;

/// Entries that are compared or moved at once.
const RUN: usize = 8;
/// Entries among which a place is found by counting: all of them at once, without a branch to be guessed.
const COUNTED: usize = 128;

/// Up to `capacity` candidates, best first.
#[derive(Default)]
pub(crate) struct Beam {
    /// Room for two runs more than `capacity`; behind the first `len`, which are in use, there is nothing but negative
    /// infinity. Offsets are beside them.
    scores: Vec<f32>,
    offsets: Vec<u32>,
    len: usize,
    capacity: usize,
    /// No entry before this one is still to be followed.
    at: usize,
}

impl Beam {
    /// Empty, for `capacity` candidates.
    pub(crate) fn reset(&mut self, capacity: usize) {
        self.capacity = capacity.max(1);
        self.scores.clear();
        self.scores.resize(self.capacity + 2 * RUN, f32::NEG_INFINITY);
        self.offsets.resize(self.capacity + 2 * RUN, 0);
        (self.len, self.at) = (0, 0);
    }

    /// The first candidates of an empty beam, best first; those beyond its capacity are left out.
    pub(crate) fn begin(&mut self, first: &[(f32, u32)]) {
        debug_assert!(self.len == 0 && first.is_sorted_by(|a, b| a.0 >= b.0));
        self.len = first.len().min(self.capacity);
        let places = self.scores.iter_mut().zip(&mut self.offsets);
        for ((score, offset), first) in places.zip(&first[..self.len]) {
            debug_assert!(first.1 < FOLLOWED);
            (*score, *offset) = *first;
        }
    }

    /// A similarity that is not above this can't enter.
    #[inline(always)]
    pub(crate) fn worst(&self) -> f32 {
        if self.len < self.capacity { f32::NEG_INFINITY } else { self.scores[self.capacity - 1] }
    }

    /// Inserts a candidate that is above [`Self::worst`]. True if it is among the next few to be followed.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn insert<I: Isa>(&mut self, similarity: f32, offset: u32) -> bool {
        debug_assert!(offset < FOLLOWED);
        if self.len == self.capacity {
            self.len -= 1;
            self.scores[self.len] = f32::NEG_INFINITY;
        }
        // SAFETY: `place <= len < capacity`, and there is room for two runs more than `capacity`.
        let place = unsafe { rank::<I>(&self.scores, self.len, similarity) };
        // SAFETY: as above.
        unsafe {
            shift(self.scores.as_mut_ptr(), place, self.len);
            shift(self.offsets.as_mut_ptr(), place, self.len);
            *self.scores.get_unchecked_mut(place) = similarity;
            *self.offsets.get_unchecked_mut(place) = offset;
        }
        self.len += 1;
        self.at = self.at.min(place);
        place < self.at + 3
    }

    /// The best candidate whose links were not followed yet, and marks it.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(f32, u32)> {
        while self.at < self.len {
            let offset = &mut self.offsets[self.at];
            self.at += 1;
            if *offset & FOLLOWED == 0 {
                *offset |= FOLLOWED;
                return Some((self.scores[self.at - 1], *offset & !FOLLOWED));
            }
        }
        None
    }

    /// The next few to be followed.
    #[inline(always)]
    pub(crate) fn ahead(&self, count: usize) -> impl Iterator<Item = u32> + '_ {
        self.offsets[self.at..self.len].iter().copied().filter(|offset| offset & FOLLOWED == 0).take(count)
    }

    /// All candidates, best first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f32, u32)> + '_ {
        let all = self.scores[..self.len].iter().zip(&self.offsets[..self.len]);
        all.map(|(&similarity, &offset)| (similarity, offset & !FOLLOWED))
    }
}

/// How many of the first `len` scores, which are sorted best first, are not below `score`.
///
/// # Safety
/// The processor has the instruction set.
#[inline(always)]
unsafe fn rank<I: Isa>(scores: &[f32], len: usize, score: f32) -> usize {
    let (mut base, mut rest) = (0, len);
    while rest > COUNTED {
        let half = rest / 2;
        base += usize::from(scores[base + half - 1] >= score) * half;
        rest -= half;
    }
    // Whole runs: what lies behind the last score is below every score.
    // SAFETY: two runs more than the capacity are there.
    base + unsafe { I::not_below(scores.as_ptr().add(base), rest.div_ceil(RUN), score) }
}

/// Moves what lies from `from` to `to` up by one, and what lies behind it by as much or not at all.
///
/// # Safety
/// The array has `to + RUN + 1` values at least; `from <= to`.
#[inline(always)]
unsafe fn shift<T: Copy>(array: *mut T, from: usize, to: usize) {
    // SAFETY: the caller's conditions; each run is read whole before it is written one further.
    unsafe {
        let first: [T; RUN] = array.add(from).cast::<[T; RUN]>().read_unaligned();
        let mut end = to;
        while end > from + RUN {
            end -= RUN;
            let run: [T; RUN] = array.add(end).cast::<[T; RUN]>().read_unaligned();
            array.add(end + 1).cast::<[T; RUN]>().write_unaligned(run);
        }
        array.add(from + 1).cast::<[T; RUN]>().write_unaligned(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::portable::Portable;

    #[test]
    fn the_best_unfollowed_candidate_is_next() {
        let mut beam = Beam::default();
        beam.reset(3);
        for (s, o) in [(1.0, 1), (3.0, 3), (2.0, 2)] {
            // SAFETY: plain Rust.
            unsafe { beam.insert::<Portable>(s, o) };
        }
        assert_eq!(beam.next(), Some((3.0, 3)));
        assert_eq!(beam.worst(), 1.0);
        // SAFETY: plain Rust.
        unsafe { beam.insert::<Portable>(4.0, 4) };
        assert_eq!(beam.next(), Some((4.0, 4)));
        assert_eq!(beam.next(), Some((2.0, 2)));
        assert_eq!(beam.next(), None);
        assert_eq!(beam.iter().map(|e| e.1).collect::<Vec<_>>(), [4, 3, 2]);
    }

    #[test]
    fn the_best_are_kept_in_their_order() {
        for capacity in [1, 7, 8, 9, 100, 1000] {
            let mut beam = Beam::default();
            beam.reset(capacity);
            let scores: Vec<f32> =
                (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32).collect();
            for (offset, &score) in scores.iter().enumerate() {
                if score > beam.worst() {
                    // SAFETY: plain Rust.
                    unsafe { beam.insert::<Portable>(score, offset as u32) };
                }
            }
            let mut expected = scores.clone();
            expected.sort_unstable_by(|a, b| b.total_cmp(a));
            let got: Vec<(f32, u32)> = beam.iter().collect();
            assert_eq!(got.iter().map(|e| e.0).collect::<Vec<_>>(), expected[..capacity]);
            assert!(got.iter().all(|&(score, offset)| scores[offset as usize] == score));
        }
    }
}
