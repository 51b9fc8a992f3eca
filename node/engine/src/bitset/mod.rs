//! A plain bitmap over the offsets of a segment: what a filter evaluates to.

pub(crate) mod ones;

/// Bits 0 to `len`; bits past `len` are always zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitset {
    words: Vec<u64>,
    len: u32,
}

impl Bitset {
    /// All zero.
    pub fn zeros(len: u32) -> Self {
        Self { words: vec![0; (len as usize).div_ceil(64)], len }
    }

    /// All one.
    pub fn ones(len: u32) -> Self {
        let mut all = Self { words: vec![u64::MAX; (len as usize).div_ceil(64)], len };
        all.clear_tail();
        all
    }

    /// From words, 64 bits each, lowest offset in the lowest bit. Bits past `len` are dropped.
    pub fn from_words(words: Vec<u64>, len: u32) -> Self {
        assert_eq!(words.len(), (len as usize).div_ceil(64), "one word for each 64 offsets");
        let mut all = Self { words, len };
        all.clear_tail();
        all
    }

    fn clear_tail(&mut self) {
        let used = self.len % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }

    /// Number of bits.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no bits at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The words, 64 bits each, lowest offset in the lowest bit.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    #[inline]
    pub fn get(&self, i: u32) -> bool {
        debug_assert!(i < self.len);
        self.words[i as usize / 64] >> (i % 64) & 1 == 1
    }

    #[inline]
    pub fn set(&mut self, i: u32) {
        debug_assert!(i < self.len);
        self.words[i as usize / 64] |= 1 << (i % 64);
    }

    #[inline]
    pub fn unset(&mut self, i: u32) {
        debug_assert!(i < self.len);
        self.words[i as usize / 64] &= !(1 << (i % 64));
    }

    /// Number of ones.
    pub fn count(&self) -> u32 {
        ones::count_ones(&self.words) as u32
    }

    /// Whether no bit is one.
    pub fn none(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    /// Sets the bits of `words`, laid out as [`Bitset::words`]; missing words are zeros.
    pub fn or_words(&mut self, words: &[u64]) {
        self.words.iter_mut().zip(words).for_each(|(a, b)| *a |= b);
        self.clear_tail();
    }

    /// As [`Bitset::or_words`], with words of 32 bits.
    pub fn or_half_words(&mut self, halves: &[u32]) {
        for (word, pair) in self.words.iter_mut().zip(halves.chunks(2)) {
            *word |= u64::from(pair[0]) | pair.get(1).map_or(0, |&high| u64::from(high) << 32);
        }
        self.clear_tail();
    }

    pub fn and(&mut self, other: &Bitset) {
        assert_eq!(self.len, other.len, "bitmaps of different segments");
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    pub fn or(&mut self, other: &Bitset) {
        assert_eq!(self.len, other.len, "bitmaps of different segments");
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    pub fn and_not(&mut self, other: &Bitset) {
        assert_eq!(self.len, other.len, "bitmaps of different segments");
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|w| *w = !*w);
        self.clear_tail();
    }

    /// The offsets of the ones, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            std::iter::successors((word != 0).then_some(word), |w| {
                let rest = w & (w - 1);
                (rest != 0).then_some(rest)
            })
            .map(move |w| i as u32 * 64 + w.trailing_zeros())
        })
    }
}

impl FromIterator<bool> for Bitset {
    fn from_iter<T: IntoIterator<Item = bool>>(iter: T) -> Self {
        let mut words = Vec::new();
        let mut len = 0u32;
        for bit in iter {
            if len.is_multiple_of(64) {
                words.push(0u64);
            }
            if bit {
                words[len as usize / 64] |= 1 << (len % 64);
            }
            len += 1;
        }
        Self { words, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_past_the_end_stay_zero() {
        let mut b = Bitset::ones(70);
        assert_eq!(b.count(), 70);
        b.not();
        assert_eq!(b.count(), 0);
        b.not();
        assert_eq!(b.count(), 70);
        assert_eq!(b.iter().collect::<Vec<_>>(), (0..70).collect::<Vec<_>>());
    }

    #[test]
    fn iter_gives_set_offsets_in_order() {
        let mut b = Bitset::zeros(200);
        for i in [0, 63, 64, 65, 199] {
            b.set(i);
        }
        b.unset(64);
        assert_eq!(b.iter().collect::<Vec<_>>(), [0, 63, 65, 199]);
    }
}
