//! The best of what a scan has seen.

/// Up to `k` offsets with the highest similarities, sorted; equal similarities by offset.
#[derive(Clone, Debug, Default)]
pub struct TopK {
    k: usize,
    best: Vec<(f32, u32)>,
}

impl TopK {
    /// Empty, for `k` results.
    pub fn new(k: usize) -> Self {
        Self { k, best: Vec::with_capacity(k.min(1024) + 1) }
    }

    /// Empty again, keeping its memory.
    pub fn reset(&mut self, k: usize) {
        self.k = k;
        self.best.clear();
    }

    /// A similarity that is not above this can't enter.
    #[inline]
    pub fn worst(&self) -> f32 {
        if self.best.len() < self.k {
            f32::NEG_INFINITY
        } else {
            self.best.last().map_or(f32::INFINITY, |b| b.0)
        }
    }

    /// Offers one. Ties are kept in the order of offers, so offer offsets in ascending order.
    #[inline]
    pub fn push(&mut self, similarity: f32, offset: u32) {
        if self.best.len() == self.k {
            if self.k == 0 || similarity <= self.best[self.k - 1].0 {
                return;
            }
            self.best.pop();
        }
        let at = self.best.partition_point(|b| b.0 >= similarity);
        self.best.insert(at, (similarity, offset));
    }

    /// Best first.
    pub fn as_slice(&self) -> &[(f32, u32)] {
        &self.best
    }

    /// How many are kept.
    pub fn capacity(&self) -> usize {
        self.k
    }

    /// Whether `k` were found.
    pub fn is_full(&self) -> bool {
        self.best.len() == self.k
    }
}
