//! A shard whose log has copies elsewhere.
//!
//! Whoever leads writes as always, and between the `fdatasync` of a batch and its application asks [`Lead`] whether the
//! batch is committed. A copy that follows gets the records ([`Shard::follow`]) and is told up to which one they are
//! committed ([`Shard::apply_to`]). What is in the log and not committed is kept in memory, is invisible, and can be cut
//! off again. Who leads, and when something is committed, is decided outside of the engine.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::write::{Logged, Told};
use super::{Shard, Writer};
use crate::error::{Error, Result};
use crate::operation_codec;
use crate::wal::Record;

/// Why a batch that is durable here isn't committed.
pub enum NotCommitted {
    /// Nobody else has seen it, and nobody will: it is cut off again.
    Refused(String),
    /// Others may have it. It stays in the log until somebody who leads decides.
    Unknown(String),
}

/// Lets a shard write. Its methods may block; the shard holds no lock meanwhile.
pub trait Lead: Send + Sync {
    /// The term to write in.
    ///
    /// # Errors
    /// Why nothing may be written here now; nothing has happened then.
    fn term(&self) -> Result<u64>;

    /// Whether a read that begins after this returns sees all that was acknowledged anywhere.
    ///
    /// # Errors
    /// Why that isn't certain now.
    fn confirm(&self) -> Result<()>;

    /// Gives records that are durable here to the other copies. Returns when they are committed.
    fn commit(&self, records: Vec<Record>) -> std::result::Result<(), NotCommitted>;
}

/// Where the log of a replicated shard stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTail {
    /// (seq, term) of the last operation that was applied.
    pub applied: (u64, u64),
    /// First sequence number of each run of entries of one term behind `applied`, and that term.
    pub runs: Vec<(u64, u64)>,
    /// The last entry.
    pub last: u64,
    /// The first entry that can still be read.
    pub first: u64,
}

impl Shard {
    /// Lets the shard write, or no longer.
    pub fn set_lead(&self, lead: Option<Arc<dyn Lead>>) {
        self.writer.lock().lead = lead;
    }

    /// Whether somebody else decides what is committed.
    pub fn is_replicated(&self) -> bool {
        self.options.replicated
    }

    /// Makes sure that what is read here next is all that was acknowledged. May block.
    ///
    /// # Errors
    /// Another copy leads, or may do so by now.
    pub fn confirm_lead(&self) -> Result<()> {
        if !self.options.replicated {
            return Ok(());
        }
        let lead = self.writer.lock().lead.clone();
        lead.ok_or_else(not_leading)?.confirm()
    }

    /// Where the log stands.
    pub fn log_tail(&self) -> LogTail {
        let writer = self.writer.lock();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for logged in &writer.waiting {
            if runs.last().is_none_or(|(_, term)| *term != logged.term) {
                runs.push((logged.seq, logged.term));
            }
        }
        let applied = (writer.state.seq, writer.state.term);
        LogTail { applied, runs, last: writer.next_seq - 1, first: writer.wal.first_seq() }
    }

    /// The records from `first` on, at most `bytes_max` bytes of them but one at least.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the log begins later.
    pub fn records_from(&self, first: u64, bytes_max: usize) -> Result<Vec<Record>> {
        self.writer.lock().wal.read_from(first, bytes_max)
    }

    /// Writes records behind `after`, in the place of whatever is there, and makes them durable. They are applied by
    /// [`Self::apply_to`].
    ///
    /// # Errors
    /// [`Error::BadInput`] if the records aren't those behind `after`, can't be read, or would replace something that was
    /// applied. With it and with [`Error::NoSpace`] nothing was added; what was to be replaced may be cut already.
    pub fn follow(&self, after: u64, records: &[Record]) -> Result<()> {
        let mut new = Vec::with_capacity(records.len());
        for (seq, record) in (after + 1..).zip(records) {
            if record.seq != seq {
                return Err(Error::BadInput(format!(
                    "entry {} can't be the one behind {}",
                    record.seq,
                    seq - 1
                )));
            }
            let op = operation_codec::decode(record.kind, &record.body)?;
            new.push(Logged { seq, term: record.term, op, done: None });
        }
        let mut told = Told::new();
        let result = self.follow_locked(&mut self.writer.lock(), after, records, new, &mut told);
        told.into_iter().for_each(|(done, result)| done(result));
        result
    }

    fn follow_locked(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        after: u64,
        records: &[Record],
        new: Vec<Logged>,
        told: &mut Told,
    ) -> Result<()> {
        if let Some(why) = &writer.poisoned {
            return Err(Error::Poisoned(why.clone()));
        }
        if after < writer.state.seq || after >= writer.next_seq {
            return Err(Error::BadInput(format!(
                "entries behind {after} don't fit a log that has {} entries of which {} are applied",
                writer.next_seq - 1,
                writer.state.seq
            )));
        }
        let written = write_behind(writer, after, records, told);
        writer.next_seq = writer.wal.last_seq().max(writer.state.seq) + 1;
        if let Err(e) = &written
            && !e.is_no_space()
            && !matches!(e, Error::BadInput(_))
        {
            writer.poisoned.get_or_insert_with(|| e.to_string());
        }
        written?;
        writer.waiting.extend(new);
        Ok(())
    }

    /// Applies all entries up to `seq`, which are committed. Seals what is in memory only when there is far too much of it: that
    /// is the optimizer's part, and takes long.
    pub fn apply_to(&self, seq: u64) -> Result<()> {
        let mut told = Told::new();
        let (poisoned, bytes) = {
            let mut writer = self.writer.lock();
            self.apply_waiting(&mut writer, seq, &mut told);
            (writer.poisoned.clone(), writer.state.mutable_bytes())
        };
        told.into_iter().for_each(|(done, result)| done(result));
        if bytes >= self.options.limits.mutable_bytes_max {
            self.relieve();
        }
        poisoned.map_or(Ok(()), |why| Err(Error::Poisoned(why)))
    }

    /// The term to write in; none if the shard isn't replicated.
    pub(super) fn writing_term(&self) -> Result<Option<u64>> {
        if !self.options.replicated {
            return Ok(None);
        }
        let lead = self.writer.lock().lead.clone();
        lead.ok_or_else(not_leading)?.term().map(Some)
    }

    /// Waits until a batch that is durable here is committed, and applies it then.
    pub(super) fn replicate(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        ops: Vec<Logged>,
        records: Vec<Record>,
        told: &mut Told,
    ) {
        let (Some(first), Some(last)) = (ops.first().map(|l| (l.seq, l.term)), ops.last().map(|l| l.seq))
        else {
            return;
        };
        writer.waiting.extend(ops);
        let committed = match writer.lead.clone() {
            None => Err(NotCommitted::Refused(not_leading().to_string())),
            Some(lead) => MutexGuard::unlocked(writer, || lead.commit(records)),
        };
        match committed {
            Ok(()) => self.apply_waiting(writer, last, told),
            Err(NotCommitted::Unknown(why)) => {
                let mine = writer.waiting.iter_mut().filter(|l| l.seq >= first.0 && l.term == first.1);
                told.extend(mine.filter_map(|l| Some((l.done.take()?, Err(Error::Unknown(why.clone()))))));
            }
            Err(NotCommitted::Refused(why)) => self.take_back(writer, first, &why, told),
        }
    }

    /// Cuts off a batch that only this copy has, unless another one's entries took its place meanwhile.
    fn take_back(&self, writer: &mut MutexGuard<'_, Writer>, first: (u64, u64), why: &str, told: &mut Told) {
        let Some(at) = writer.waiting.iter().position(|l| (l.seq, l.term) == first) else { return };
        let refused = writer.waiting.split_off(at);
        told.extend(refused.into_iter().filter_map(|l| Some((l.done?, Err(Error::Unavailable(why.into()))))));
        if let Err(e) = writer.wal.cut_after(first.0 - 1) {
            // It is in the log and not in memory: only a restart brings them together again.
            writer.poisoned.get_or_insert_with(|| e.to_string());
        }
        writer.next_seq = writer.wal.last_seq().max(writer.state.seq) + 1;
    }

    fn apply_waiting(&self, writer: &mut MutexGuard<'_, Writer>, seq: u64, told: &mut Told) {
        let count = writer.waiting.partition_point(|l| l.seq <= seq);
        if count > 0 {
            let ops: Vec<Logged> = writer.waiting.drain(..count).collect();
            self.apply(writer, ops, told);
        }
    }
}

/// Replaces the end of the log. Who waits for an entry that is cut off is told that nobody knows.
fn write_behind(
    writer: &mut MutexGuard<'_, Writer>,
    after: u64,
    records: &[Record],
    told: &mut Told,
) -> Result<()> {
    if writer.next_seq > after + 1 {
        writer.wal.cut_after(after)?;
        let keep = writer.waiting.partition_point(|l| l.seq <= after);
        let cut = writer.waiting.split_off(keep);
        let unknown = || Err(Error::Unknown("another copy leads now: read what became of the write".into()));
        told.extend(cut.into_iter().filter_map(|l| Some((l.done?, unknown()))));
    }
    let falling = records
        .iter()
        .try_fold(writer.wal.last_term(), |term, r| (r.term >= term).then_some(r.term))
        .is_none();
    if falling {
        return Err(Error::BadInput(format!("entries behind {after} are of a lower term than that one")));
    }
    for record in records {
        if let Err(e) = writer.wal.append(record) {
            writer.wal.discard();
            return Err(e);
        }
    }
    writer.wal.commit().map(drop)
}

fn not_leading() -> Error {
    Error::Unavailable(
        "this copy of the shard doesn't lead: ask again, the request goes to the one that does".into(),
    )
}
