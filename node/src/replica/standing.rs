//! Where a copy stands, for those who route requests and tell people.

use quiver_replica::record::Record;
use quiver_replica::{Copy, Term, Time, Unfit};

/// What a copy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Takes writes.
    Leads,
    /// Is the primary, and what it inherited isn't committed yet, or an older primary may still read.
    Takes,
    /// The record names this process's copy, and it isn't the primary yet.
    Waits,
    /// Has every acknowledged write.
    Follows,
    /// Is listed and not in sync.
    CatchesUp,
    /// The record that it has seen last doesn't list it.
    Unlisted,
    /// Is of no use until somebody has dealt with it.
    Unfit(Unfit),
}

/// A copy's state in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub part: Part,
    /// The highest term that it promised.
    pub term: Term,
    /// Version of the newest record that it has seen; 0 before the first.
    pub config_version: u64,
}

impl Standing {
    pub fn of(copy: &Copy, now: Time) -> Self {
        let part = match (copy.unfit(), copy.record()) {
            (Some(why), _) => Part::Unfit(why),
            (None, _) if copy.leads(now) => Part::Leads,
            (None, _) if copy.primary().is_some() => Part::Takes,
            (None, Some(record)) => part_in(record, copy),
            (None, None) => Part::Unlisted,
        };
        Self { part, term: copy.term(), config_version: copy.record().map_or(0, |r| r.config_version) }
    }
}

fn part_in(record: &Record, copy: &Copy) -> Part {
    match record.find(copy.id()) {
        None => Part::Unlisted,
        Some(_) if record.primary == copy.id() => Part::Waits,
        Some(listed) if listed.in_sync => Part::Follows,
        Some(_) => Part::CatchesUp,
    }
}
