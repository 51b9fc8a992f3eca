//! Which hashes of ids a shard owns, and how it gives half of them to another shard.
//!
//! Both steps are entries of the log, so that every copy takes them at the same place. From [`LogOp::Freeze`] on no write
//! of the half that goes is taken: whatever a copy has of it then is the same for ever, and the other shard is made of it
//! ([`Shard::fork_from`]) by each copy for itself. [`LogOp::Keep`] deletes that half here.
//!
//! [`LogOp::Freeze`]: crate::operation::LogOp::Freeze
//! [`LogOp::Keep`]: crate::operation::LogOp::Keep

use parking_lot::MutexGuard;
use serde::{Deserialize, Serialize};

use super::state::State;
use super::{Shard, Writer};
use crate::error::{Error, Result};
use crate::filter::PointSource;
use crate::operation::{LogOp, Operation, Selection};
use crate::point_id::PointId;

/// A closed range of [`PointId::hash64`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    pub first: u64,
    pub last: u64,
}

impl Hashes {
    pub fn has(self, id: PointId) -> bool {
        (self.first..=self.last).contains(&id.hash64())
    }

    /// Whether `keep` and `give` make up this range.
    fn is_made_of(self, keep: Hashes, give: Hashes) -> bool {
        keep.first == self.first
            && give.last == self.last
            && keep.last.checked_add(1) == Some(give.first)
            && keep.first <= keep.last
            && give.first <= give.last
    }
}

/// What a shard owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// `None`: whatever comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Hashes>,
    /// A part of it is on its way to another shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
}

/// A part that isn't written any more, since the entry (seq, term) of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    pub keep: Hashes,
    pub give: Hashes,
    pub seq: u64,
    pub term: u64,
}

impl Bounds {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// After an entry of the log.
    pub(super) fn after(self, seq: u64, term: u64, op: &LogOp) -> Self {
        match op {
            // The first of two that say the same counts: what was given away since then is the same.
            LogOp::Freeze { keep, give } if self.frozen.is_none() => {
                Self { frozen: Some(Frozen { keep: *keep, give: *give, seq, term }), ..self }
            }
            LogOp::Keep(range) => Self { range: Some(*range), frozen: None },
            _ => self,
        }
    }

    /// Whether a write that was sent for the hashes `asked` may be taken.
    ///
    /// # Errors
    /// [`Error::Moved`]: another shard has a part of it, or will have it in a moment.
    fn admit(&self, op: &Operation, asked: Option<Hashes>) -> Result<()> {
        if let (Some(range), Some(asked)) = (self.range, asked)
            && range != asked
        {
            return Err(moved());
        }
        if matches!(op, Operation::Freeze { .. } | Operation::Keep(_)) {
            return Ok(());
        }
        if let Some(frozen) = &self.frozen
            && concerns(op, &|id| frozen.give.has(id))
        {
            return Err(Error::Moved(
                "a part of this shard is being given to a new one: ask again in a moment".into(),
            ));
        }
        match self.range {
            Some(range) if names(op, &|id| !range.has(id)) => Err(moved()),
            _ => Ok(()),
        }
    }

    /// The entry to be written for a step of a split; `None`: it was taken already.
    fn step(&self, op: &Operation) -> Result<Option<LogOp>> {
        match op {
            Operation::Freeze { keep, give } => match (self.frozen, self.range) {
                (Some(now), _) if (now.keep, now.give) == (*keep, *give) => Ok(None),
                (None, Some(range)) if range == *keep => Ok(None),
                (None, Some(range)) if range.is_made_of(*keep, *give) => {
                    Ok(Some(LogOp::Freeze { keep: *keep, give: *give }))
                }
                _ => Err(Error::BadInput(format!("{keep:x?} and {give:x?} aren't two parts of {self:x?}"))),
            },
            Operation::Keep(range) => match self.frozen {
                None if self.range == Some(*range) => Ok(None),
                Some(frozen) if frozen.keep == *range => Ok(Some(LogOp::Keep(*range))),
                _ => Err(Error::BadInput(format!("{range:x?} isn't the part that is kept of {self:x?}"))),
            },
            _ => Ok(None),
        }
    }
}

fn moved() -> Error {
    Error::Moved(
        "this shard has given a part of its points to another one: ask again, the request goes there".into(),
    )
}

/// Whether an operation touches a point of which `is_one` holds. One that doesn't name its points may.
fn concerns(op: &Operation, is_one: &dyn Fn(PointId) -> bool) -> bool {
    match (op, op.selection()) {
        (Operation::Upsert { .. } | Operation::UpdateVectors { .. }, _) | (_, Some(Selection::Ids(_))) => {
            names(op, is_one)
        }
        // The new shard is made with the schema of that moment.
        _ => true,
    }
}

/// Whether an operation names a point of which `is_one` holds.
fn names(op: &Operation, is_one: &dyn Fn(PointId) -> bool) -> bool {
    match op {
        Operation::Upsert { points, .. } => points.iter().any(|p| is_one(p.id)),
        Operation::UpdateVectors { points, .. } => points.iter().any(|(id, _)| is_one(*id)),
        _ => match op.selection() {
            Some(Selection::Ids(ids)) => ids.iter().any(|id| is_one(*id)),
            _ => false,
        },
    }
}

impl Shard {
    /// What it owns.
    pub fn bounds(&self) -> Bounds {
        self.whole().bounds()
    }

    /// Whether it owns just these hashes. A read that was sent for them is right if this holds before and after it: what a
    /// shard owns only ever gets less.
    pub fn owns(&self, asked: Hashes) -> bool {
        let is_it = |bounds: Bounds| bounds.range.is_none_or(|range| range == asked);
        is_it(self.view().bounds()) && is_it(self.whole().bounds())
    }

    /// The error of a read for hashes that the shard doesn't own just so.
    ///
    /// # Errors
    /// [`Error::Moved`].
    pub fn check_owns(&self, asked: Hashes) -> Result<()> {
        if self.owns(asked) { Ok(()) } else { Err(moved()) }
    }

    /// Whether a write may be taken behind all that is in the log, committed or not.
    pub(super) fn admit_here(
        &self,
        writer: &MutexGuard<'_, Writer>,
        op: &Operation,
        asked: Option<Hashes>,
    ) -> Result<()> {
        bounds_at_end(writer).admit(op, asked)
    }

    /// What is logged of a step of a split.
    pub(super) fn split_step(
        &self,
        writer: &MutexGuard<'_, Writer>,
        op: &Operation,
    ) -> Result<Option<LogOp>> {
        bounds_at_end(writer).step(op)
    }
}

/// What the shard owns behind the last entry of its log. An entry that nobody has committed yet counts: it may be.
fn bounds_at_end(writer: &Writer) -> Bounds {
    writer.waiting.iter().fold(writer.state.bounds, |bounds, l| bounds.after(l.seq, l.term, &l.op))
}

impl State {
    /// Deletes all points but those of a range.
    pub(super) fn keep_only(&mut self, range: Hashes) {
        for i in 0..self.sealed.len() {
            let sealed = &self.sealed[i];
            let ids = 0..sealed.deleted.len();
            let gone: Vec<(u32, PointId)> = ids
                .filter(|offset| !sealed.deleted.contains(*offset))
                .map(|offset| (offset, sealed.segment.id(offset)))
                .filter(|(_, id)| !range.has(*id))
                .collect();
            for (offset, id) in gone {
                self.deferral.forget(id);
                self.sealed[i].deleted.insert(offset);
            }
        }
        for id in self.mutable_ids().into_iter().filter(|id| !range.has(*id)) {
            self.deferral.forget(id);
            if let Some(found) = self.find(id) {
                self.remove(id, found);
            }
        }
    }
}
