//! What filters have evaluated to in a sealed segment, so that a filter that comes again costs nothing.
//!
//! A sealed segment never changes, so what passes a filter never does either; which of it is deleted is looked at
//! later. Bounded in number and bytes; the one that was not asked for longest goes.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::passing::Passing;
use crate::bitset::Bitset;
use crate::error::Result;
use crate::filter::{Condition, Filter};

const ENTRIES_MAX: usize = 64;
const BYTES_MAX: usize = 8 << 20;
/// A filter that takes more memory is not kept.
const FILTER_BYTES_MAX: usize = 16 << 10;

/// The bitmaps of one segment.
#[derive(Default)]
pub(super) struct FilterCache(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    /// The one used last is the last.
    entries: VecDeque<Entry>,
    /// Of all of them.
    bytes: usize,
}

struct Entry {
    filter: Filter,
    passing: Arc<Passing>,
    bytes: usize,
}

impl Entries {
    /// What a filter evaluated to, if it is kept.
    fn find(&mut self, filter: &Filter) -> Option<Arc<Passing>> {
        let at = self.entries.iter().rposition(|e| e.filter == *filter)?;
        let entry = self.entries.remove(at)?;
        let passing = entry.passing.clone();
        self.entries.push_back(entry);
        Some(passing)
    }

    fn keep(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

impl FilterCache {
    /// What `filter` evaluates to: kept, or by `evaluate`.
    pub(super) fn get(
        &self,
        filter: &Filter,
        evaluate: impl FnOnce() -> Result<Bitset>,
    ) -> Result<Arc<Passing>> {
        if !is_kept(filter) || filter.bytes() > FILTER_BYTES_MAX {
            return evaluate().map(|bits| Arc::new(bits.into()));
        }
        if let Some(passing) = self.0.lock().find(filter) {
            return Ok(passing);
        }
        let passing = Arc::new(Passing::from(evaluate()?));
        let bytes = filter.bytes() + passing.bytes();
        if bytes <= BYTES_MAX / 4 {
            self.0.lock().keep(Entry { filter: filter.clone(), passing: passing.clone(), bytes });
        }
        Ok(passing)
    }
}

/// Not kept: sets of ids, which seldom come again and take long to compare, and what asks for vectors, which can be dropped.
fn is_kept(filter: &Filter) -> bool {
    let all = filter.must.iter().chain(&filter.should).chain(&filter.must_not);
    let mut all = all.chain(filter.min_should.iter().flat_map(|m| &m.conditions));
    all.all(|condition| match condition {
        Condition::HasId(_) | Condition::HasVector(_) => false,
        Condition::Nested { filter, .. } | Condition::Filter(filter) => is_kept(filter),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{FieldCondition, FieldTest};
    use crate::json_path::JsonPath;
    use crate::point_id::PointId;

    fn filter(n: i64) -> Filter {
        let key = JsonPath::parse("n").expect("a path");
        let field = FieldCondition { key, tests: vec![FieldTest::Integer(n)] };
        Filter { must: vec![Condition::Field(field)], ..Filter::default() }
    }

    /// Whether a filter had to be evaluated.
    fn is_new(cache: &FilterCache, filter: &Filter, len: u32) -> bool {
        let mut evaluated = false;
        let passing = cache.get(filter, || {
            evaluated = true;
            Ok(Bitset::ones(len))
        });
        assert_eq!(passing.expect("a bitmap").count(), len);
        evaluated
    }

    #[test]
    fn a_filter_is_evaluated_once_while_it_is_in_use() {
        let cache = FilterCache::default();
        assert!(is_new(&cache, &filter(0), 100));
        for n in 1..200 {
            assert!(is_new(&cache, &filter(n), 100) && !is_new(&cache, &filter(0), 100));
        }
        assert!(is_new(&cache, &filter(1), 100), "the oldest are gone");
        assert!(cache.0.lock().entries.len() <= ENTRIES_MAX);
    }

    #[test]
    fn memory_is_bounded_and_lists_of_ids_are_not_kept() {
        let cache = FilterCache::default();
        let len = (BYTES_MAX / 4 * 8 - 8192) as u32;
        (0..20).for_each(|n| assert!(is_new(&cache, &filter(n), len)));
        {
            let kept = cache.0.lock();
            assert_eq!(kept.bytes, kept.entries.iter().map(|e| e.bytes).sum::<usize>());
            assert!(kept.bytes <= BYTES_MAX);
        }
        assert!((0..2).all(|_| is_new(&cache, &filter(99), (BYTES_MAX * 8) as u32)), "too large to be kept");
        let ids = Filter { must: vec![Condition::HasId([PointId::Num(7)].into())], ..Filter::default() };
        assert!((0..2).all(|_| is_new(&cache, &ids, 10)));
    }
}
