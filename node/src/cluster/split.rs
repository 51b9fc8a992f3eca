//! A shard that gives a part of its points to a new one, while both halves are read and written.
//!
//! What the record of the shard asks for (`split`) is done in its log, so that every copy does it at the same place:
//!
//! 1. The copy that leads writes `Freeze`. From there on no write of the part is taken; reads go on.
//! 2. Each copy makes a copy of the new shard of its own files, on its own disk. They are equal, and the operator makes the
//!    record of the new shard of those that are in sync: it is led, and nobody asks it yet, because the old shard's
//!    record has its hashes too ([`is_part`]).
//! 3. The copy that leads writes `Keep`: no copy of the old shard answers for the part from there on.
//! 4. When that is committed, the copy that leads takes the part out of the record; requests go to the new shard.
//!
//! Whoever leads goes on from where the log and the records stand. There is no way back from the first entry on: all that
//! follows can be done again, and a shard that waits for it loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quiver_engine::operation::Operation;
use quiver_engine::shard::{Frozen, Shard};
use uuid::Uuid;

use super::copy::{CopyError, CopyFolder, hashes, held};
use super::files;
use super::lead::{Cluster, NotThere};
use super::record::{RecordError, ShardRecord, SplitRecord};
use crate::clock;
use crate::pool::Deadline;

/// Longest time for a step: it waits for a commit, or links files.
const STEP_TIME: Duration = Duration::from_secs(600);
/// Steps of one round: after `Keep` the record follows at once.
const STEPS: usize = 3;

/// A copy of the new shard that was made of one of the old one.
#[derive(Clone, Debug)]
pub struct Fork {
    /// (seq, term) of the entry `Freeze`.
    pub at: (u64, u64),
    pub id: String,
}

/// What there was to do for a shard.
enum Step {
    Done,
    Waits,
}

/// Whether a record's hashes are a part of another one's: that one answers for them.
pub fn is_part(record: &ShardRecord, known: &BTreeMap<u32, ShardRecord>) -> bool {
    known.values().any(|o| o.range != record.range && o.range.holds(record.range))
}

impl Cluster {
    /// Goes on with all splits in which this node has a part.
    pub(super) async fn split(self: &Arc<Self>, known: &BTreeMap<u32, ShardRecord>) {
        for record in known.values() {
            let Some(split) = &record.split else { continue };
            for _ in 0..STEPS {
                match self.split_step(record, split, known).await {
                    Ok(Step::Done) => {}
                    Ok(Step::Waits) => break,
                    Err(e) => {
                        tracing::info!(shard = record.shard, "the split waits: {e}");
                        break;
                    }
                }
            }
        }
        let goes_on = |n: &u32| known.get(n).is_some_and(|r| r.split.is_some());
        self.forks.lock().retain(|n, _| goes_on(n));
    }

    /// Records as the logs on this node have them: what a copy here has given up, another shard has.
    pub(super) fn as_split(&self, known: Arc<BTreeMap<u32, ShardRecord>>) -> Arc<BTreeMap<u32, ShardRecord>> {
        let copies = self.copies.lock();
        let done = |record: &ShardRecord| {
            let split = record.split.as_ref().filter(|s| known.contains_key(&s.child))?;
            let shard = copies.get(&record.shard)?.shard.as_ref()?;
            (shard.bounds().range == Some(hashes(split.keep))).then_some((record.shard, split.keep))
        };
        let done: Vec<_> = known.values().filter_map(done).collect();
        drop(copies);
        let mut known = known;
        for (shard, keep) in done {
            if let Some(record) = Arc::make_mut(&mut known).get_mut(&shard) {
                (record.range, record.split) = (keep, None);
            }
        }
        known
    }

    /// Whether a shard is being split now.
    pub(super) fn splits(&self) -> bool {
        self.records.watch().borrow().as_ref().is_some_and(|k| k.values().any(|r| r.split.is_some()))
    }

    async fn split_step(
        self: &Arc<Self>,
        record: &ShardRecord,
        split: &SplitRecord,
        known: &BTreeMap<u32, ShardRecord>,
    ) -> Result<Step, NotThere> {
        let held = {
            let copies = self.copies.lock();
            let copy = copies.get(&record.shard).filter(|c| c.standing.is_some() && !c.is_lost());
            copy.and_then(|c| Some((c.leads(), c.shard.clone()?)))
        };
        let Some((leads, shard)) = held else { return Ok(Step::Waits) };
        let (keep, give) = (hashes(split.keep), hashes(split.give));
        let bounds = shard.bounds();
        let Some(frozen) = bounds.frozen else {
            if !leads {
                return Ok(Step::Waits);
            }
            if bounds.range == Some(keep) {
                return self.narrow(record, split).await;
            }
            tracing::info!(shard = record.shard, child = split.child, "a part of the shard is frozen");
            return self.log(shard, Operation::Freeze { keep, give }).await;
        };
        if (frozen.keep, frozen.give) != (keep, give) {
            return Err(NotThere::Other(
                "the record asks for another split than the one that was begun".into(),
            ));
        }
        self.fork(record.shard, split.child, frozen, &shard).await?;
        // Who leads the new shard may be elsewhere; where it is here, no read has to wait for it.
        let elsewhere = |child: &ShardRecord| child.leader().is_some_and(|l| l.pod != self.pod());
        let begun = |child: &ShardRecord| elsewhere(child) || self.leading(split.child).is_some();
        match known.get(&split.child) {
            Some(child) if leads && begun(child) => {
                // From the next entry on other nodes can't ask for either half before the record says more.
                let live = self.records.get(record.shard).await;
                match live.map_err(|e| NotThere::Other(e.to_string()))? {
                    Some(live) if live.split.as_ref() == Some(split) => {
                        self.log(shard, Operation::Keep(keep)).await
                    }
                    _ => Ok(Step::Waits),
                }
            }
            _ => Ok(Step::Waits),
        }
    }

    /// Writes a step into the log, and waits until it is committed.
    async fn log(&self, shard: Arc<Shard>, step: Operation) -> Result<Step, NotThere> {
        let writing =
            self.node.pools.update.run("Split", Deadline::after(STEP_TIME), move |_| shard.write(step));
        writing.await?.map_err(CopyError::from)?;
        Ok(Step::Done)
    }

    /// Takes the part out of the record. The entry that says so is committed: this copy, which leads, has applied it.
    async fn narrow(&self, record: &ShardRecord, split: &SplitRecord) -> Result<Step, NotThere> {
        let mut next = record.clone();
        next.config_version += 1;
        (next.range, next.split) = (split.keep, None);
        match self.records.replace(next).await {
            Ok(_) => {
                tracing::info!(shard = record.shard, child = split.child, "the shard is split");
                Ok(Step::Waits)
            }
            // What is there now is heard, and the next round goes on from it.
            Err(RecordError::Conflict) => Ok(Step::Waits),
            Err(e) => Err(NotThere::Other(e.to_string())),
        }
    }

    /// Makes this node's copy of the new shard, unless it is there.
    async fn fork(
        self: &Arc<Self>,
        parent: u32,
        child: u32,
        frozen: Frozen,
        shard: &Arc<Shard>,
    ) -> Result<(), NotThere> {
        let at = (frozen.seq, frozen.term);
        if self.forks.lock().get(&parent).is_some_and(|f| f.at == at) {
            return Ok(());
        }
        let cluster = self.clone();
        let looking = self.node.pools.update.run("Split", Deadline::after(STEP_TIME), move |_| {
            for (number, id) in held(&*cluster.disk, &cluster.storage())? {
                let forked = |folder: CopyFolder| folder.recall().is_ok_and(|i| i.forked == Some(at));
                if number == child && cluster.copy_folder(number, &id).is_ok_and(forked) {
                    return Ok(Some(id));
                }
            }
            Ok::<_, CopyError>(None)
        });
        let id = match looking.await?? {
            Some(id) => id,
            None => {
                let (links, _) = files::link(self, shard.clone(), "Split").await?;
                let id = Uuid::new_v4().simple().to_string();
                let folder = self.copy_folder(child, &id)?;
                let (from, made) = (links.path().to_owned(), clock::unix().as_secs());
                let pool = &self.node.pools.update;
                let making = move |_: &_| folder.fork(&frozen, &from, made);
                pool.run("Split", Deadline::after(STEP_TIME), making).await??;
                drop(links);
                tracing::info!(shard = parent, child, copy = id, "a copy of the new shard is made");
                id
            }
        };
        self.forks.lock().insert(parent, Fork { at, id });
        Ok(())
    }
}
