//! Which points a walk has met.

/// Appends a value, or not, without a branch.
///
/// # Safety
/// There is room for one more.
#[inline(always)]
pub(crate) unsafe fn push_if<T: Copy>(values: &mut Vec<T>, value: T, wanted: bool) {
    let len = values.len();
    debug_assert!(len < values.capacity());
    // SAFETY: the caller's condition; what is beyond the new length does not matter.
    unsafe {
        *values.as_mut_ptr().add(len) = value;
        values.set_len(len + usize::from(wanted));
    }
}

/// Which points a walk has met. Only the words that were touched are cleared.
#[derive(Default)]
pub(crate) struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    /// Nothing met, of `len` points.
    pub(crate) fn reset(&mut self, len: u32) {
        for &word in &self.touched {
            self.words[word as usize] = 0;
        }
        self.touched.clear();
        let words = (len as usize).div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// Whether a point was met.
    #[inline(always)]
    pub(crate) fn contains(&self, offset: u32) -> bool {
        self.words.get(offset as usize / 64).is_some_and(|word| word >> (offset % 64) & 1 == 1)
    }

    /// Room for what [`Self::meet`] notes of so many points.
    #[inline(always)]
    pub(crate) fn expect(&mut self, points: usize) {
        self.touched.reserve(points);
    }

    /// [`Self::mark`] without a branch, for points of which nobody can guess whether they were met.
    ///
    /// # Safety
    /// So many were expected.
    #[inline(always)]
    pub(crate) unsafe fn meet(&mut self, offset: u32) -> bool {
        let word = &mut self.words[offset as usize / 64];
        let bit = 1u64 << (offset % 64);
        let (is_new, is_first) = (*word & bit == 0, *word == 0);
        *word |= bit;
        // SAFETY: there is room for one more.
        unsafe { push_if(&mut self.touched, offset / 64, is_first) };
        is_new
    }

    /// Marks a point; false if it was marked before.
    #[inline(always)]
    pub(crate) fn mark(&mut self, offset: u32) -> bool {
        let word = &mut self.words[offset as usize / 64];
        let bit = 1u64 << (offset % 64);
        if *word & bit != 0 {
            return false;
        }
        if *word == 0 {
            self.touched.push(offset / 64);
        }
        *word |= bit;
        true
    }
}
