//! The positions of a copy's log: which entry has which term, what is durable, what is committed. The bytes of the
//! entries are elsewhere; (seq, term) names one entry on all copies.

use serde::{Deserialize, Serialize};

use crate::{Rule, Rules, Seq, Term};

/// One entry of a log by name; seq 0, term 0 is the place before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub seq: Seq,
    pub term: Term,
}

/// Entries of one term that follow each other; a run ends where the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Run {
    pub first: Seq,
    pub term: Term,
}

/// Why entries aren't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The entry before the first isn't there, or is another one.
    Previous,
    /// An entry contradicts one that is committed here.
    Committed,
    /// Runs that aren't in order or don't begin behind the previous entry.
    Malformed,
}

/// What taking entries changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Everything behind this entry was cut off first.
    pub cut: Option<Seq>,
    /// Entries behind this one, to the end of the message, were written.
    pub after: Seq,
}

/// Positions only, as runs: its size is the number of terms in the log, not that of entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// The log begins behind this entry; what is older is in the segments.
    base: Position,
    runs: Vec<Run>,
    last: Seq,
    durable: Seq,
    commit: Seq,
}

impl Log {
    /// A log whose entries up to `last` are durable. What is at or before `base` is committed.
    pub fn new(base: Position, runs: Vec<Run>, last: Seq) -> Result<Self, Mismatch> {
        if !well_formed(base, &runs, last) {
            return Err(Mismatch::Malformed);
        }
        Ok(Self { base, runs, last, durable: last, commit: base.seq })
    }

    /// No entry yet.
    pub fn empty() -> Self {
        Self { base: Position::default(), runs: Vec::new(), last: 0, durable: 0, commit: 0 }
    }

    pub fn base(&self) -> Position {
        self.base
    }

    pub fn last(&self) -> Seq {
        self.last
    }

    pub fn durable(&self) -> Seq {
        self.durable
    }

    pub fn commit(&self) -> Seq {
        self.commit
    }

    /// The term of an entry; `None` if it isn't in the log.
    pub fn term_at(&self, seq: Seq) -> Option<Term> {
        if seq == self.base.seq {
            return Some(self.base.term);
        }
        if seq < self.base.seq || seq > self.last {
            return None;
        }
        self.runs[..self.run_end(seq)].last().map(|r| r.term)
    }

    /// The entry at `seq` by name; the place before the log if it isn't there.
    pub fn position(&self, seq: Seq) -> Position {
        self.term_at(seq).map_or(self.base, |term| Position { seq, term })
    }

    /// Index of the first run that begins behind `seq`.
    fn run_end(&self, seq: Seq) -> usize {
        self.runs.partition_point(|r| r.first <= seq)
    }

    /// Whether the log has that entry. What is older than the log is committed, and so the same everywhere.
    pub fn matches(&self, position: Position) -> bool {
        position.seq < self.base.seq || self.term_at(position.seq) == Some(position.term)
    }

    /// One more entry in `term`, which isn't durable yet.
    pub fn append(&mut self, term: Term) -> Seq {
        self.last += 1;
        if self.runs.last().is_none_or(|r| r.term != term) {
            self.runs.push(Run { first: self.last, term });
        }
        self.last
    }

    /// Runs of the entries behind `after` up to `last`, both of which are in the log.
    pub fn slice(&self, after: Seq, last: Seq) -> Vec<Run> {
        if last <= after {
            return Vec::new();
        }
        let begin = self.run_end(after + 1).saturating_sub(1);
        let runs = &self.runs[begin..self.run_end(last)];
        runs.iter().map(|r| Run { first: r.first.max(after + 1), term: r.term }).collect()
    }

    /// Takes the entries of a message. Entries that are there already stay; the log is cut at the first one that
    /// contradicts, never at or before what is committed.
    pub fn take(
        &mut self,
        previous: Position,
        runs: &[Run],
        last: Seq,
        rules: Rules,
    ) -> Result<Taken, Mismatch> {
        if !well_formed(previous, runs, last) {
            return Err(Mismatch::Malformed);
        }
        if rules.keep(Rule::PreviousMatches) && !self.matches(previous) {
            return Err(Mismatch::Previous);
        }
        let differs = self.first_difference(previous, runs, last);
        let mut cut = None;
        if differs <= last && differs <= self.last {
            cut = Some(differs - 1);
        } else if !rules.keep(Rule::CutAtConflict) && last < self.last {
            cut = Some(last);
        }
        if let Some(keep) = cut {
            if keep < self.commit {
                return Err(Mismatch::Committed);
            }
            self.cut(keep);
        }
        for run in runs.iter().filter(|_| differs <= last) {
            let next = runs.iter().map(|r| r.first).find(|f| *f > run.first).unwrap_or(last + 1);
            if next > differs && self.runs.last().is_none_or(|r| r.term != run.term) {
                self.runs.push(Run { first: run.first.max(differs), term: run.term });
            }
        }
        self.last = self.last.max(last);
        Ok(Taken { cut, after: differs.min(last + 1) - 1 })
    }

    /// The first entry of a message that the log doesn't have; one behind `last` if it has all.
    fn first_difference(&self, previous: Position, runs: &[Run], last: Seq) -> Seq {
        let mut seq = previous.seq.max(self.base.seq) + 1;
        while seq <= last.min(self.last) {
            let theirs = runs[..runs.partition_point(|r| r.first <= seq)].last().map(|r| r.term);
            if theirs != self.term_at(seq) {
                return seq;
            }
            // Both go on with one term until the earlier of their runs ends.
            let ends = |runs: &[Run]| runs.iter().map(|r| r.first).find(|f| *f > seq).unwrap_or(Seq::MAX);
            seq = ends(runs).min(ends(&self.runs)).min(last.min(self.last) + 1);
        }
        // A log that was taken without regard to the entry before may have to skip a gap.
        seq.min(self.last + 1)
    }

    /// Forgets the entries behind `keep`.
    pub(crate) fn cut(&mut self, keep: Seq) {
        let keep = keep.clamp(self.base.seq, self.last);
        self.runs.truncate(self.run_end(keep));
        self.last = keep;
        self.durable = self.durable.min(keep);
    }

    /// The disk has everything up to that entry, if it is still the same one. Says whether that is news.
    pub fn sync(&mut self, position: Position) -> bool {
        let news = position.seq > self.durable && self.term_at(position.seq) == Some(position.term);
        if news {
            self.durable = position.seq;
        }
        news
    }

    /// Everything up to `seq` is committed, as far as it is here. Never goes back.
    pub fn commit_to(&mut self, seq: Seq) {
        self.commit = self.commit.max(seq.min(self.last));
    }

    /// The segments hold everything up to `seq`, which is committed, and the log begins behind it from now on.
    pub fn compact(&mut self, seq: Seq) {
        let seq = seq.min(self.commit).min(self.durable);
        if seq > self.base.seq {
            self.base = self.position(seq);
            self.runs = self.slice(seq, self.last);
        }
    }

    /// The files of a snapshot have taken the place of everything.
    pub fn install(&mut self, base: Position) {
        *self = Self { base, runs: Vec::new(), last: base.seq, durable: base.seq, commit: base.seq };
    }
}

/// Whether runs name the entries behind `previous` up to `last`, in terms that never fall.
fn well_formed(previous: Position, runs: &[Run], last: Seq) -> bool {
    let Some(first) = runs.first() else { return last == previous.seq };
    let ordered = runs.windows(2).all(|w| w[0].first < w[1].first && w[0].term < w[1].term);
    let inside = runs.last().is_some_and(|r| r.first <= last) && last < Seq::MAX;
    ordered && inside && first.first == previous.seq + 1 && first.term >= previous.term.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log from the terms of its entries.
    fn log(terms: &[Term]) -> Log {
        let mut log = Log::empty();
        for term in terms {
            log.append(*term);
        }
        log
    }

    fn terms(log: &Log) -> Vec<Term> {
        (log.base().seq + 1..=log.last()).map(|seq| log.term_at(seq).expect("an entry has a term")).collect()
    }

    /// Takes `theirs` behind its entry `after` into `mine`, where `commit` entries are committed: the terms of the log
    /// then and what was cut, or why not.
    fn check(
        mine: &[Term],
        commit: Seq,
        theirs: &[Term],
        after: Seq,
        expected: Result<(&[Term], Option<Seq>), Mismatch>,
    ) {
        let (mut log, other) = (log(mine), log(theirs));
        log.sync(log.position(log.last()));
        log.commit_to(commit);
        let runs = other.slice(after, other.last());
        let taken = log.take(other.position(after), &runs, other.last(), Rules::default());
        let found = taken.map(|t| (terms(&log), t.cut));
        assert_eq!(found, expected.map(|(t, c)| (t.to_vec(), c)), "{theirs:?} behind {after} into {mine:?}");
        assert!(log.durable() <= log.last() && log.commit() <= log.last());
        if taken.is_ok() {
            assert_eq!(log, Log { runs: log_runs(&terms(&log)), ..log.clone() }, "runs are the shortest");
        }
    }

    fn log_runs(terms: &[Term]) -> Vec<Run> {
        log(terms).runs
    }

    #[test]
    fn entries_are_taken_behind_a_common_one_and_cut_only_at_a_conflict() {
        check(&[], 0, &[1, 1], 0, Ok((&[1, 1], None)));
        check(&[1], 0, &[1, 1, 2], 1, Ok((&[1, 1, 2], None)));
        check(&[1, 1, 1], 0, &[1], 0, Ok((&[1, 1, 1], None)));
        check(&[1, 1, 1], 0, &[1, 2], 0, Ok((&[1, 2], Some(1))));
        check(&[1, 1, 1], 1, &[1, 2, 2, 2], 1, Ok((&[1, 2, 2, 2], Some(1))));
        check(&[1, 2, 2, 3], 2, &[1, 2, 2, 4], 2, Ok((&[1, 2, 2, 4], Some(3))));
        check(&[1, 1, 1], 2, &[1, 2], 0, Err(Mismatch::Committed));
        check(&[1], 0, &[1, 1, 1], 2, Err(Mismatch::Previous));
        check(&[1, 1], 0, &[1, 2, 2], 2, Err(Mismatch::Previous));
        check(&[1, 1], 2, &[1, 1], 2, Ok((&[1, 1], None)));
    }

    #[test]
    fn runs_that_contradict_themselves_are_refused() {
        let take = |runs: &[Run], last| {
            log(&[1, 1]).take(Position { seq: 2, term: 1 }, runs, last, Rules::default()).err()
        };
        let run = |first, term| Run { first, term };
        assert_eq!(take(&[run(3, 1)], 3), None);
        assert_eq!(take(&[run(4, 1)], 4), Some(Mismatch::Malformed));
        assert_eq!(take(&[run(3, 0)], 3), Some(Mismatch::Malformed));
        assert_eq!(take(&[run(3, 2), run(4, 1)], 5), Some(Mismatch::Malformed));
        assert_eq!(take(&[run(3, 2), run(5, 3)], 4), Some(Mismatch::Malformed));
        assert_eq!(take(&[], 3), Some(Mismatch::Malformed));
        assert_eq!(take(&[run(3, 1)], Seq::MAX), Some(Mismatch::Malformed));
    }

    #[test]
    fn a_late_word_of_the_disk_about_a_cut_entry_counts_for_nothing() {
        let mut log = log(&[1, 1, 1]);
        assert!(log.sync(Position { seq: 1, term: 1 }));
        let taken = log.take(Position { seq: 1, term: 1 }, &[Run { first: 2, term: 2 }], 3, Rules::default());
        assert_eq!(taken, Ok(Taken { cut: Some(1), after: 1 }));
        assert!(!log.sync(Position { seq: 3, term: 1 }));
        assert_eq!(log.durable(), 1);
        assert!(log.sync(Position { seq: 3, term: 2 }));
        assert!(!log.sync(Position { seq: 2, term: 2 }));
        assert_eq!(log.durable(), 3);
    }

    #[test]
    fn a_compacted_log_takes_what_overlaps_its_base() {
        let mut log = log(&[1, 1, 2, 2]);
        log.sync(Position { seq: 4, term: 2 });
        log.commit_to(3);
        log.compact(4);
        assert_eq!((log.base(), log.last(), log.term_at(2)), (Position { seq: 3, term: 2 }, 4, None));
        let runs = [Run { first: 2, term: 1 }, Run { first: 3, term: 2 }];
        let taken = log.take(Position { seq: 1, term: 1 }, &runs, 6, Rules::default());
        assert_eq!(taken, Ok(Taken { cut: None, after: 4 }));
        assert_eq!(terms(&log), [2, 2, 2]);
        log.install(Position { seq: 9, term: 5 });
        assert_eq!((log.last(), log.durable(), log.commit()), (9, 9, 9));
        assert!(log.matches(Position { seq: 9, term: 5 }) && !log.matches(Position { seq: 10, term: 5 }));
    }
}
