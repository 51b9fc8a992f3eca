//! The last entries of the log in memory, so that copies that keep up cost no reading.

use std::collections::VecDeque;

use quiver_engine::wal::Record;

/// Bytes of bodies that are kept.
const BYTES_MAX: usize = 8 << 20;

#[derive(Default)]
pub struct Recent {
    entries: VecDeque<Record>,
    bytes: usize,
}

impl Recent {
    /// Takes entries that follow the last one, or take the place of what was there.
    pub fn extend(&mut self, entries: &[Record]) {
        let Some(first) = entries.first() else { return };
        self.cut_after(first.seq - 1);
        if self.entries.back().is_some_and(|last| last.seq + 1 != first.seq) {
            *self = Self::default();
        }
        for entry in entries {
            self.bytes += entry.body.len();
            self.entries.push_back(entry.clone());
        }
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.body.len();
        }
    }

    pub fn cut_after(&mut self, seq: u64) {
        while self.entries.back().is_some_and(|last| last.seq > seq)
            && let Some(cut) = self.entries.pop_back()
        {
            self.bytes -= cut.body.len();
        }
    }

    /// The entries behind `after` up to `last`, if all are here.
    pub fn range(&self, after: u64, last: u64) -> Option<Vec<Record>> {
        let first = self.entries.front()?.seq;
        if first > after + 1 || self.entries.back()?.seq < last {
            return None;
        }
        let at = |seq: u64| usize::try_from(seq - first).ok();
        Some(self.entries.range(at(after + 1)?..at(last + 1)?).cloned().collect())
    }
}
