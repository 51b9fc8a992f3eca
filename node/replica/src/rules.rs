//! The rules of the protocol by name, so that a test can leave one out and see what breaks.

/// A rule that holds in production and that a test may leave out, one at a time. The numbers are those of docs/replication.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// 1: a fresh disk is a new copy with an id of its own.
    IdOfDisk,
    /// 1: a listed copy that isn't in sync isn't made again under its id either.
    IdOfLearner,
    /// 1: only a shard that nobody has led may start without data.
    Genesis,
    /// 2: a change that was made from an older version of the record is refused.
    CompareAndSwap,
    /// 3: a process that started again doesn't go on in its term.
    BootOfTerm,
    /// 4: a term is on disk before anything is said or done in it.
    TermStored,
    /// 4: who speaks in an older term is refused.
    OldTermRefused,
    /// 4: an answer counts only in the term in which it was asked for.
    AckOfTerm,
    /// 5: entries are taken only behind an entry that both logs have.
    PreviousMatches,
    /// 5: a log is cut only at an entry that contradicts, not because a message ends earlier.
    CutAtConflict,
    /// 5: nothing is cut because of a new term alone.
    TailKeptOnNewTerm,
    /// 5: known as committed is only what this message matched.
    CommitOfMatched,
    /// 5: a copy answers after its disk has the entries.
    AckAfterSync,
    /// 6: a removed copy is waited for until its removal was seen in the record.
    RemovedRequired,
    /// 6: the primary's own disk counts.
    OwnSync,
    /// 7: nothing is applied before it is committed.
    ApplyCommitted,
    /// 7: nothing is applied before the copy's own disk has it.
    ApplyDurable,
    /// 8: a record that hasn't changed doesn't say that a request failed.
    UnknownKept,
    /// 10: what was inherited is committed again before a copy is admitted.
    RecommitFirst,
    /// 10: a copy has everything that is committed before it is admitted.
    CaughtUp,
    /// 10: a copy is waited for from the moment its admission is asked for.
    AdmittedRequired,
    /// 11: a new primary keeps all of its log.
    OwnTailKept,
    /// 11: a new primary waits until its own grant to an older one has run out.
    GrantWaited,
    /// 11: no strong read before what was inherited is committed again.
    ReadAfterRecommit,
    /// 12: a strong read needs the grants of all copies that are waited for.
    LeaseOfAll,
    /// 12: a grant counts from when the question was sent, not from when the answer came.
    LeaseFromSending,
    /// 12: a process that started again takes it that it gave a grant.
    GrantAssumed,
    /// 12: that it was the primary before doesn't prove that it gave none.
    LeadingMarked,
    /// 14: a store that says something older than was seen, or something else of the same version, isn't believed.
    RecordKept,
    /// 15: who hands over takes no more writes, and has committed all it has.
    DrainFirst,
    /// 15: a grant is given back only by who serves no more.
    ReleasedServesNot,
}

/// Which rules hold: all of them in production, where this is empty and costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    #[cfg(any(test, feature = "mutants"))]
    without: Option<Rule>,
}

impl Rules {
    /// All rules.
    pub const fn all() -> Self {
        Self {
            #[cfg(any(test, feature = "mutants"))]
            without: None,
        }
    }

    /// All rules but one.
    #[cfg(any(test, feature = "mutants"))]
    pub const fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    /// Whether a rule holds.
    #[inline]
    pub fn keep(&self, rule: Rule) -> bool {
        #[cfg(any(test, feature = "mutants"))]
        return self.without != Some(rule);
        #[cfg(not(any(test, feature = "mutants")))]
        {
            let _ = rule;
            true
        }
    }
}
