//! The configuration record of a shard: who holds copies, who leads, and which changes of it are legal.
//!
//! The record lives in the configuration store (in a cluster: the spec of a `VectorShard`). What is accepted here is what
//! the rules of that kind accept; the store compares versions, so of two changes made from one version one fails.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Rule, Rules, Term};

/// Names the data of one copy on one disk: random, made together with its directory, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CopyId(pub u128);

/// Names one life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Boot(pub u128);

/// One copy as the record lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placed {
    pub id: CopyId,
    /// Whose volume holds it.
    pub pod: Arc<str>,
    /// Holds every acknowledged write, and so may lead.
    pub in_sync: bool,
    /// Is to go: once it isn't in sync, it won't be again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

impl Placed {
    /// A copy that is to stay.
    pub fn new(id: CopyId, pod: Arc<str>, in_sync: bool) -> Self {
        Self { id, pod, in_sync, leaving: false }
    }
}

/// Who holds the copies of a shard and who leads it, in one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub term: Term,
    /// Rises by one with every change.
    pub config_version: u64,
    pub primary: CopyId,
    /// The process that leads in this term; none until the shard was led for the first time.
    pub primary_boot: Option<Boot>,
    pub copies: Vec<Placed>,
}

/// A legal change of a record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Lists a copy that isn't in sync, in place of one on the same pod that isn't either. By the operator.
    List { id: CopyId, pod: Arc<str> },
    /// A listed copy becomes in sync. By the primary.
    Admit(CopyId),
    /// A copy is in sync no longer, and stays listed. By the primary or the operator.
    Remove(CopyId),
    /// Another copy leads, in the next term. By the operator, or by a primary that hands over.
    Promote { id: CopyId, boot: Boot },
    /// Another process of the primary's copy leads, in the next term; the first one of all is the genesis. By that process.
    SelfTerm { boot: Boot },
    /// The same process leads on, in the next term. By that process, when it has given up a hand-over.
    NextTerm,
    /// Nothing but the version, so that what was asked for from the version before can't be applied any more. By the primary.
    Confirm,
}

/// Why a change is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illegal {
    OtherVersion,
    PrimaryNotInSync,
    TwoCopiesOnOnePod,
    NeverLed,
    BootForgotten,
    TermJump,
    BootWithoutTerm,
    NotInSyncBefore,
    NotListed,
    AdmittedInNewTerm,
    ToGo,
    NothingToDo,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherVersion => "the record is at another version than the change was made from",
            Self::PrimaryNotInSync => "the primary must be one of the copies that are in sync",
            Self::TwoCopiesOnOnePod => "two copies of a shard can't be on one pod",
            Self::NeverLed => "a shard that nobody has led yet has exactly one copy in sync",
            Self::BootForgotten => "the process that leads can't become unknown again",
            Self::TermJump => {
                "a new primary raises the term by exactly one, and the same primary by at most one"
            }
            Self::BootWithoutTerm => "another process may lead only in another term",
            Self::NotInSyncBefore => "only a copy that was in sync may become primary",
            Self::NotListed => "a copy is listed first and becomes in sync later",
            Self::AdmittedInNewTerm => "no copy becomes in sync in the write that changes the term",
            Self::ToGo => "a copy that is to go isn't admitted again",
            Self::NothingToDo => "the record says so already, or doesn't list that copy",
        })
    }
}

impl std::error::Error for Illegal {}

impl Record {
    /// The record of a shard that has no data yet: one copy, in sync because there is nothing to lack.
    pub fn genesis(id: CopyId, pod: Arc<str>) -> Self {
        let copies = vec![Placed::new(id, pod, true)];
        Self { term: 1, config_version: 1, primary: id, primary_boot: None, copies }
    }

    /// The copy of that id.
    pub fn find(&self, id: CopyId) -> Option<&Placed> {
        self.copies.iter().find(|c| c.id == id)
    }

    pub fn in_sync(&self, id: CopyId) -> bool {
        self.find(id).is_some_and(|c| c.in_sync)
    }

    pub fn in_sync_count(&self) -> usize {
        self.copies.iter().filter(|c| c.in_sync).count()
    }

    /// Whether a node whose disk has nothing for `id` may start it empty. Everybody else holds that the copy has what it
    /// once acknowledged, so only before anybody led; what comes later gets an id from the disk it is made on.
    pub fn may_start_empty(&self, id: CopyId, rules: Rules) -> bool {
        let unled = self.primary_boot.is_none() || !rules.keep(Rule::Genesis);
        match self.find(id) {
            Some(copy) if copy.in_sync => unled,
            Some(_) => !rules.keep(Rule::IdOfLearner),
            None => false,
        }
    }

    /// The record after a change, one version later; an error if the store would refuse it or it changes nothing.
    pub fn with(&self, change: &Change) -> Result<Record, Illegal> {
        let mut next = self.clone();
        next.config_version += 1;
        match change {
            Change::List { id, pod } => {
                next.copies.retain(|c| c.pod != *pod || c.in_sync);
                if next.find(*id).is_some() {
                    return Err(Illegal::NothingToDo);
                }
                next.copies.push(Placed::new(*id, pod.clone(), false));
            }
            Change::Admit(id) if self.find(*id).is_some_and(|c| c.leaving) => return Err(Illegal::ToGo),
            Change::Admit(id) => next.set_in_sync(*id, true)?,
            Change::Remove(id) => next.set_in_sync(*id, false)?,
            Change::Promote { id, boot } => {
                if *id == self.primary {
                    return Err(Illegal::NothingToDo);
                }
                next.primary = *id;
                next.primary_boot = Some(*boot);
                next.term += 1;
            }
            Change::SelfTerm { boot } => {
                if self.primary_boot == Some(*boot) {
                    return Err(Illegal::NothingToDo);
                }
                next.primary_boot = Some(*boot);
                next.term += 1;
            }
            Change::NextTerm => next.term += 1,
            Change::Confirm => {}
        }
        self.accepts(&next, Rules::default())?;
        Ok(next)
    }

    fn set_in_sync(&mut self, id: CopyId, in_sync: bool) -> Result<(), Illegal> {
        match self.copies.iter_mut().find(|c| c.id == id && c.in_sync != in_sync) {
            Some(copy) => copy.in_sync = in_sync,
            None => return Err(Illegal::NothingToDo),
        }
        Ok(())
    }

    /// What the store checks before `next` takes the place of this record.
    pub fn accepts(&self, next: &Record, rules: Rules) -> Result<(), Illegal> {
        if rules.keep(Rule::CompareAndSwap) && next.config_version != self.config_version + 1 {
            return Err(Illegal::OtherVersion);
        }
        if !rules.keep(Rule::CompareAndSwap) {
            return Ok(());
        }
        if !next.in_sync(next.primary) {
            return Err(Illegal::PrimaryNotInSync);
        }
        let twice = |c: &Placed| next.copies.iter().filter(|o| o.pod == c.pod || o.id == c.id).count() > 1;
        if next.copies.iter().any(twice) {
            return Err(Illegal::TwoCopiesOnOnePod);
        }
        if next.primary_boot.is_none() && next.in_sync_count() != 1 {
            return Err(Illegal::NeverLed);
        }
        if self.primary_boot.is_some() && next.primary_boot.is_none() {
            return Err(Illegal::BootForgotten);
        }
        let raised = next.term == self.term + 1;
        let same_primary = next.primary == self.primary;
        if !(raised || same_primary && next.term == self.term) {
            return Err(Illegal::TermJump);
        }
        if next.primary_boot != self.primary_boot && !raised {
            return Err(Illegal::BootWithoutTerm);
        }
        if !same_primary && !self.in_sync(next.primary) {
            return Err(Illegal::NotInSyncBefore);
        }
        let mut admitted = next.copies.iter().filter(|c| c.in_sync && !self.in_sync(c.id));
        if admitted.clone().any(|c| self.find(c.id).is_none()) {
            return Err(Illegal::NotListed);
        }
        if raised && admitted.next().is_some() {
            return Err(Illegal::AdmittedInNewTerm);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: CopyId = CopyId(1);
    const B: CopyId = CopyId(2);
    const C: CopyId = CopyId(3);

    /// Led by `A` in term 3; `B` in sync, `C` listed.
    fn record() -> Record {
        let placed = |id, pod: &str, in_sync| Placed::new(id, pod.into(), in_sync);
        Record {
            term: 3,
            config_version: 7,
            primary: A,
            primary_boot: Some(Boot(1)),
            copies: vec![placed(A, "p0", true), placed(B, "p1", true), placed(C, "p2", false)],
        }
    }

    /// What becomes of a record: version, term, primary and who is in sync; or why not.
    fn check(change: Change, expected: Result<(u64, Term, CopyId, &[CopyId]), Illegal>) {
        let found = record().with(&change);
        let found = found.as_ref().map(|r| {
            let in_sync: Vec<CopyId> = r.copies.iter().filter(|c| c.in_sync).map(|c| c.id).collect();
            (r.config_version, r.term, r.primary, in_sync)
        });
        let expected = expected.map(|(v, t, p, s)| (v, t, p, s.to_vec()));
        assert_eq!(found.map_err(|e| *e), expected, "{change:?}");
    }

    #[test]
    fn legal_changes_and_no_others_are_made() {
        check(Change::Admit(C), Ok((8, 3, A, &[A, B, C])));
        check(Change::Admit(B), Err(Illegal::NothingToDo));
        check(Change::Admit(CopyId(9)), Err(Illegal::NothingToDo));
        check(Change::Remove(B), Ok((8, 3, A, &[A])));
        check(Change::Remove(C), Err(Illegal::NothingToDo));
        check(Change::Remove(A), Err(Illegal::PrimaryNotInSync));
        check(Change::Promote { id: B, boot: Boot(2) }, Ok((8, 4, B, &[A, B])));
        check(Change::Promote { id: C, boot: Boot(2) }, Err(Illegal::PrimaryNotInSync));
        check(Change::SelfTerm { boot: Boot(5) }, Ok((8, 4, A, &[A, B])));
        check(Change::SelfTerm { boot: Boot(1) }, Err(Illegal::NothingToDo));
        check(Change::NextTerm, Ok((8, 4, A, &[A, B])));
        check(Change::Confirm, Ok((8, 3, A, &[A, B])));
        check(Change::List { id: CopyId(4), pod: "p2".into() }, Ok((8, 3, A, &[A, B])));
        check(Change::List { id: CopyId(4), pod: "p1".into() }, Err(Illegal::TwoCopiesOnOnePod));
        check(Change::List { id: C, pod: "p3".into() }, Err(Illegal::NothingToDo));
    }

    #[test]
    fn a_copy_that_is_to_go_is_not_admitted() {
        let mut record = record();
        record.copies[2].leaving = true;
        assert_eq!(record.with(&Change::Admit(C)), Err(Illegal::ToGo));
        // One that takes its place is another copy.
        let next = record.with(&Change::List { id: CopyId(4), pod: "p2".into() }).expect("it may be listed");
        assert!(next.with(&Change::Admit(CopyId(4))).is_ok());
    }

    #[test]
    fn a_record_is_kept_as_before_while_no_copy_is_to_go() {
        let json = serde_json::to_value(record()).expect("a record prints");
        assert!(!json.to_string().contains("leaving"), "{json}");
        assert_eq!(serde_json::from_value::<Record>(json).expect("and is read back"), record());
    }

    /// What the store says to a record that somebody wrote by hand.
    fn check_store(edit: impl FnOnce(&mut Record), expected: Result<(), Illegal>) {
        let mut next = record();
        next.config_version += 1;
        edit(&mut next);
        assert_eq!(record().accepts(&next, Rules::default()), expected, "{next:?}");
    }

    #[test]
    fn the_store_refuses_what_could_lose_a_write() {
        check_store(|_| {}, Ok(()));
        check_store(|r| r.config_version = 7, Err(Illegal::OtherVersion));
        check_store(|r| r.config_version = 9, Err(Illegal::OtherVersion));
        check_store(|r| r.term = 5, Err(Illegal::TermJump));
        check_store(|r| r.term = 2, Err(Illegal::TermJump));
        check_store(|r| r.primary = B, Err(Illegal::TermJump));
        check_store(|r| r.primary_boot = Some(Boot(9)), Err(Illegal::BootWithoutTerm));
        check_store(|r| r.primary_boot = None, Err(Illegal::NeverLed));
        check_store(
            |r| {
                r.copies[1].in_sync = false;
                r.primary_boot = None;
                r.term = 4;
            },
            Err(Illegal::BootForgotten),
        );
        check_store(
            |r| {
                r.copies[2].in_sync = true;
                r.term = 4;
            },
            Err(Illegal::AdmittedInNewTerm),
        );
        check_store(
            |r| {
                r.copies[2].in_sync = true;
                r.primary = C;
                r.term = 4;
            },
            Err(Illegal::NotInSyncBefore),
        );
        check_store(|r| r.copies.push(Placed::new(CopyId(4), "p3".into(), true)), Err(Illegal::NotListed));
        check_store(|r| r.copies[2].pod = "p0".into(), Err(Illegal::TwoCopiesOnOnePod));
    }

    #[test]
    fn only_an_unled_shard_starts_without_data() {
        let rules = Rules::default();
        let unled = Record::genesis(A, "p0".into());
        assert!(unled.may_start_empty(A, rules));
        assert!(!unled.may_start_empty(B, rules));
        let led = unled.with(&Change::SelfTerm { boot: Boot(1) }).expect("the genesis is legal");
        assert_eq!((led.term, led.config_version), (2, 2));
        assert!(!led.may_start_empty(A, rules));
        assert!(!record().may_start_empty(C, rules));
    }
}
