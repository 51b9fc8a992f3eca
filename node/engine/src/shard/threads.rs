//! How many threads build graphs at once, counted over the shards of a collection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that build graphs now. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct GraphThreads(Arc<AtomicUsize>);

/// Threads that were taken; given back when dropped.
#[derive(Debug)]
pub struct Taken {
    from: GraphThreads,
    count: usize,
}

impl GraphThreads {
    /// Takes as many as are wanted and the limit leaves; `None` if others have all of them.
    pub fn take(&self, wanted: usize, limit: usize) -> Option<Taken> {
        let mut count = 0;
        let add = |taken: usize| {
            count = wanted.min(limit.saturating_sub(taken));
            (count > 0).then_some(taken + count)
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok()?;
        Some(Taken { from: self.clone(), count })
    }
}

impl Taken {
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.from.0.fetch_sub(self.count, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn together_they_are_never_more_than_the_limit() {
        let all = GraphThreads::default();
        let first = all.take(2, 3).expect("all are free");
        let second = all.clone().take(2, 3).expect("one is left");
        assert_eq!((first.count(), second.count()), (2, 1));
        assert!(all.take(2, 3).is_none(), "the limit is reached");
        assert_eq!(all.take(4, usize::MAX).expect("no limit").count(), 4);
        drop(first);
        assert_eq!(all.take(8, 3).expect("two came back").count(), 2);
    }
}
