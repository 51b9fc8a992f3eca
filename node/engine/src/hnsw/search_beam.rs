//! The candidates of a walk: one sorted list, each entry marked once its links were followed.

/// High bit of an offset in the beam: its links were followed.
const FOLLOWED: u32 = 1 << 31;

/// Up to `capacity` candidates, best first.
#[derive(Default)]
pub(crate) struct Beam {
    entries: Vec<(f32, u32)>,
    capacity: usize,
    /// No entry before this one is still to be followed.
    at: usize,
}

impl Beam {
    /// Empty, for `capacity` candidates.
    pub(crate) fn reset(&mut self, capacity: usize) {
        self.entries.clear();
        self.entries.reserve(capacity + 1);
        self.capacity = capacity.max(1);
        self.at = 0;
    }

    /// A similarity that is not above this can't enter.
    #[inline(always)]
    pub(crate) fn worst(&self) -> f32 {
        if self.entries.len() < self.capacity { f32::NEG_INFINITY } else { self.entries[self.capacity - 1].0 }
    }

    /// Inserts a candidate that is above [`Self::worst`]. True if it is among the next few to be followed.
    #[inline(always)]
    pub(crate) fn insert(&mut self, similarity: f32, offset: u32) -> bool {
        debug_assert!(offset < FOLLOWED);
        if self.entries.len() == self.capacity {
            self.entries.pop();
        }
        let len = self.entries.len();
        let (mut low, mut high) = (0, len);
        while low < high {
            let mid = (low + high) / 2;
            // SAFETY: `mid < high <= len`.
            if unsafe { self.entries.get_unchecked(mid) }.0 >= similarity {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        // SAFETY: `reset` reserved one more than `capacity`, and `low <= len < capacity` entries are moved up by one.
        unsafe {
            let at = self.entries.as_mut_ptr().add(low);
            std::ptr::copy(at, at.add(1), len - low);
            at.write((similarity, offset));
            self.entries.set_len(len + 1);
        }
        self.at = self.at.min(low);
        low < self.at + 3
    }

    /// The best candidate whose links were not followed yet, and marks it.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(f32, u32)> {
        while let Some(entry) = self.entries.get_mut(self.at) {
            self.at += 1;
            if entry.1 & FOLLOWED == 0 {
                let found = *entry;
                entry.1 |= FOLLOWED;
                return Some(found);
            }
        }
        None
    }

    /// All candidates, best first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f32, u32)> + '_ {
        self.entries.iter().map(|&(similarity, offset)| (similarity, offset & !FOLLOWED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_unfollowed_candidate_is_next() {
        let mut beam = Beam::default();
        beam.reset(3);
        for (s, o) in [(1.0, 1), (3.0, 3), (2.0, 2)] {
            beam.insert(s, o);
        }
        assert_eq!(beam.next(), Some((3.0, 3)));
        assert_eq!(beam.worst(), 1.0);
        beam.insert(4.0, 4);
        assert_eq!(beam.next(), Some((4.0, 4)));
        assert_eq!(beam.next(), Some((2.0, 2)));
        assert_eq!(beam.next(), None);
        assert_eq!(beam.iter().map(|e| e.1).collect::<Vec<_>>(), [4, 3, 2]);
    }
}
