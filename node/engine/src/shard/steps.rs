//! Edits of very many points. A point that is edited is written anew, into memory first, so that an edit of a whole
//! collection by one filter would need memory for all of it, at once and again at every replay of the log. It is
//! logged, applied and, where needed, sealed in steps instead. Readers see each step; who asked is told when the last
//! one is done.

use parking_lot::MutexGuard;

use super::write::{Group, Told};
use super::{Done, Shard, Writer};
use crate::error::{Error, Result};
use crate::operation::{Applied, LogOp};
use crate::point_id::PointId;

/// Points of a step at most; a deletion takes no memory, and still has to fit into a record of the log.
const STEP_POINTS_MAX: usize = 1 << 20;

impl Shard {
    /// Appends an operation to the group; a large edit is written by itself, and done when this returns.
    pub(super) fn append_in_steps(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        group: &mut Group,
        mut op: LogOp,
        done: Done,
        told: &mut Told,
    ) {
        let first = match op {
            LogOp::Delete(_) => STEP_POINTS_MAX,
            _ => self.options.limits.edit_points,
        };
        let many = points_of(&mut op).filter(|points| points.len() > first).map(std::mem::take);
        let Some(points) = many else { return self.append(writer, group, op, done, told) };
        self.commit(writer, group, told);
        let result = self.write_steps(writer, &op, &points, first);
        told.push((done, result));
    }

    /// An error in the middle leaves the steps before it: as with every error of a write, its outcome is unknown.
    fn write_steps(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        op: &LogOp,
        points: &[PointId],
        first: usize,
    ) -> Result<Applied> {
        let (mut rest, mut step) = (points, first);
        loop {
            let (now, later) = rest.split_at(step.min(rest.len()));
            let mut part = op.clone();
            if let Some(points) = points_of(&mut part) {
                *points = now.to_vec();
            }
            let before = writer.state.mutable_bytes();
            let applied = self.write_step(writer, part)?;
            if later.is_empty() {
                return Ok(applied);
            }
            let grown = writer.state.mutable_bytes().saturating_sub(before).max(1);
            let fitting = now.len().saturating_mul(self.options.limits.edit_bytes) / grown;
            step = fitting.clamp(1, (step * 4).min(STEP_POINTS_MAX));
            rest = later;
            // Whoever seals needs the lock. Nobody else writes meanwhile: this thread is the one that does.
            MutexGuard::unlocked(writer, || self.relieve());
            if let Some(why) = self.swollen(writer) {
                return Err(why);
            }
        }
    }

    fn write_step(&self, writer: &mut MutexGuard<'_, Writer>, op: LogOp) -> Result<Applied> {
        let (mut group, mut told) = (Group::default(), Told::new());
        self.append(writer, &mut group, op, Box::new(|_| ()), &mut told);
        self.commit(writer, &mut group, &mut told);
        told.pop().map_or(Ok(Applied { seq: 0 }), |(_, result)| result)
    }

    /// Why writes that need memory are refused now, if they are.
    pub(super) fn swollen(&self, writer: &Writer) -> Option<Error> {
        let bytes = writer.state.mutable_bytes();
        if bytes < self.options.limits.mutable_bytes_max {
            return None;
        }
        let why = writer.unsealed.as_ref()?;
        let text = format!(
            "{} MiB of writes are in memory and can't be made a segment, so that no more are taken; reads and deletions go \
             on. {why}",
            bytes >> 20
        );
        Some(if why.is_no_space() { Error::NoSpace(text) } else { Error::Unavailable(text) })
    }
}

/// The points of an operation that names nothing but points.
fn points_of(op: &mut LogOp) -> Option<&mut Vec<PointId>> {
    match op {
        LogOp::Delete(ids)
        | LogOp::DeleteVectors { ids, .. }
        | LogOp::SetPayload { ids, .. }
        | LogOp::OverwritePayload { ids, .. }
        | LogOp::DeletePayload { ids, .. }
        | LogOp::ClearPayload { ids } => Some(ids),
        LogOp::Noop
        | LogOp::Upsert(_)
        | LogOp::UpdateVectors(_)
        | LogOp::CreateIndex { .. }
        | LogOp::DropIndex { .. }
        | LogOp::CreateVector { .. }
        | LogOp::CreateSparseVector { .. }
        | LogOp::DropVector { .. }
        | LogOp::Freeze { .. }
        | LogOp::Keep(_) => None,
    }
}
