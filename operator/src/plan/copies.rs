//! What becomes of the copies of each shard: who leads, which copies are made, and which are dropped. One step for each shard
//! at a time; each is a compare-and-swap of the record that it was planned from, or asks a node for something.

use kube::ResourceExt;
use quiver_api::internal::{CopyState, HashRange};
use quiver_crds::VectorShard;
use quiver_crds::shard::{Copy, Purpose};
use quiver_replica::Rules;
use quiver_replica::record::{Boot, Change, CopyId, Placed, Record};

use super::moves;
use super::sites::{Sites, copy_id, record, text};
use crate::observe::Observed;
use crate::validate::Valid;

/// Shards that get another copy at a time, of those that have much data or all the copies they need: a move can wait, and searches go
/// on meanwhile.
pub const FILLING_MAX: usize = 2;
/// Shards with less that lack a copy get it at once, in any number.
const MUCH_BYTES: u64 = 64 << 20;
/// Steps of one reconcile: what is left is done in the next.
const STEPS_MAX: usize = 64;

/// What is told once a step is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    pub warning: bool,
    pub reason: &'static str,
    pub note: String,
}

/// One step for one shard.
#[derive(Clone, Debug)]
pub enum Step {
    /// Puts this in the place of the record that it was made from. `then_drop`: a copy that is dropped from the list right
    /// after it, before the copy that leads lets it in again.
    Record { next: Box<VectorShard>, say: Option<Say>, then_drop: Option<CopyId> },
    /// Asks a node for a copy, and lists what it names, if the record didn't change meanwhile.
    Place { pod: String, shard: Box<VectorShard>, range: HashRange, list: bool },
    /// Asks the node that leads to let another copy lead.
    HandOver { pod: String, shard: i32, to: String, boot: String, say: Say },
}

impl Step {
    pub fn shard(&self) -> i32 {
        match self {
            Self::Record { next, .. } => next.spec.shard,
            Self::Place { shard, .. } => shard.spec.shard,
            Self::HandOver { shard, .. } => *shard,
        }
    }
}

/// All steps, and why there aren't more.
#[derive(Debug, Default)]
pub struct Work {
    pub steps: Vec<Step>,
    /// What keeps a shard from what it needs, and what to do.
    pub waits: Vec<String>,
    /// Copies on pods that have to be empty, and those pods.
    pub moving: usize,
    pub off: Vec<String>,
    /// Copies that are missing or not in sync yet, apart from moves.
    pub making: usize,
}

impl Work {
    /// Whether every copy is where it shall be.
    pub fn settled(&self) -> bool {
        self.steps.is_empty() && self.moving == 0 && self.making == 0
    }
}

/// Plans the copies of all shards.
pub fn plan(valid: &Valid, observed: &Observed, sites: &mut Sites<'_>) -> Work {
    let factor = valid.spec.replication.factor.max(1) as usize;
    let mut work = Work::default();
    let mut known: Vec<(&VectorShard, Record)> = Vec::new();
    for shard in &observed.shards {
        match record(shard) {
            Some(r) => known.push((shard, r)),
            None => {
                work.waits.push(format!("the ids in {} can't be read, so it is left alone", shard.name_any()))
            }
        }
    }
    count(&mut work, &known, sites, factor);
    let patient = |(shard, r): &(&VectorShard, Record), sites: &Sites<'_>| {
        sites.weight(shard.spec.shard) >= MUCH_BYTES || r.in_sync_count() >= factor
    };
    let fills =
        |one: &&(&VectorShard, Record)| patient(one, sites) && one.1.copies.iter().any(|c| !c.in_sync);
    let mut filling = known.iter().filter(fills).count();
    // First those that have the fewest copies.
    known.sort_by_key(|(s, r)| (r.in_sync_count().min(factor), s.spec.shard));
    for one @ (shard, record) in &known {
        if work.steps.len() >= STEPS_MAX {
            break;
        }
        let number = shard.spec.shard;
        let busy = record.copies.iter().any(|c| !c.in_sync);
        let waits = patient(one, sites);
        let may_fill = busy || filling < FILLING_MAX || !waits;
        let step = Shard { shard, record, sites, factor }.step(may_fill);
        match step {
            Ok(Some(step)) => {
                if let Step::Place { pod, list: true, .. } = &step {
                    sites.expect(&pod.clone(), number);
                    filling += usize::from(waits && !busy);
                }
                if let Step::HandOver { pod, .. } = &step {
                    let to = hand_over_pod(record, &step);
                    sites.hand_over(&pod.clone(), &to);
                }
                work.steps.push(step);
            }
            Ok(None) => {}
            Err(why) => work.waits.push(format!("shard {number}: {why}")),
        }
    }
    work
}

/// The pod that a hand-over goes to.
pub(super) fn hand_over_pod(record: &Record, step: &Step) -> String {
    let Step::HandOver { to, .. } = step else { return String::new() };
    record.copies.iter().find(|c| text(c.id.0) == *to).map(|c| c.pod.to_string()).unwrap_or_default()
}

/// Counts what isn't where it shall be.
fn count(work: &mut Work, known: &[(&VectorShard, Record)], sites: &Sites<'_>, factor: usize) {
    for (_, record) in known {
        let leaving = |c: &&Placed| sites.get(&c.pod).is_some_and(|s| s.leaving);
        for copy in record.copies.iter().filter(leaving) {
            work.moving += 1;
            if !work.off.contains(&copy.pod.to_string()) {
                work.off.push(copy.pod.to_string());
            }
        }
        if record.primary_boot.is_some() {
            let moves = record.copies.iter().filter(leaving).count();
            let in_sync = record.copies.iter().filter(|c| c.in_sync).count();
            work.making += factor.saturating_sub(in_sync);
            let surplus = record.copies.len().saturating_sub(factor);
            work.making += surplus.saturating_sub(moves);
        }
    }
    work.off.sort();
}

/// One shard.
pub(super) struct Shard<'a, 's> {
    pub shard: &'a VectorShard,
    pub record: &'a Record,
    pub sites: &'a Sites<'s>,
    pub factor: usize,
}

impl Shard<'_, '_> {
    pub fn number(&self) -> i32 {
        self.shard.spec.shard
    }

    /// The next step; the error is why nothing can be done though something should.
    fn step(&self, may_fill: bool) -> Result<Option<Step>, String> {
        let pods = self.sites.pods(self.number(), self.record);
        if let Some(change) = quiver_replica::plan::plan(self.record, &pods) {
            return Ok(self.change(&change));
        }
        if self.record.primary_boot.is_none() {
            return Ok(None);
        }
        // Its copies are those of the new shard too: they stay where they are until that has its half.
        if self.shard.spec.split.is_some() {
            return Ok(None);
        }
        // Marked by a step that wasn't finished: its leader doesn't admit it again.
        if let Some(copy) = self.record.copies.iter().find(|c| c.leaving && !c.in_sync) {
            return Ok(self.dropped(copy.id));
        }
        if let Some(step) = self.emptied() {
            return Ok(Some(step));
        }
        if let Some(step) = self.surplus()? {
            return Ok(Some(step));
        }
        self.missing(may_fill)
    }

    /// A record after a change of the protocol.
    pub fn change(&self, change: &Change) -> Option<Step> {
        let next = self.record.with(change).ok()?;
        let say = self.say(change, &next);
        Some(Step::Record { next: Box::new(written(self.shard, &next)), say, then_drop: None })
    }

    /// Takes a copy out of sync that is to go, and drops it at once.
    fn leaves(&self, id: CopyId) -> Option<Step> {
        let next = self.record.with(&Change::Remove(id)).ok()?;
        let mut object = written(self.shard, &next);
        let mark = |c: &mut Copy| c.purpose = Some(Purpose::Leaving);
        object.spec.copies.iter_mut().filter(|c| copy_id(&c.id) == Some(id)).for_each(mark);
        Some(Step::Record { next: Box::new(object), say: None, then_drop: Some(id) })
    }

    fn dropped(&self, id: CopyId) -> Option<Step> {
        let (next, say) = dropped(self.shard, id)?;
        Some(Step::Record { next: Box::new(next), say: Some(say), then_drop: None })
    }

    fn say(&self, change: &Change, next: &Record) -> Option<Say> {
        let n = self.number();
        let pod = |id: CopyId| next.find(id).map(|c| c.pod.to_string()).unwrap_or_default();
        let say = |warning, reason, note| Some(Say { warning, reason, note });
        match change {
            Change::Promote { id, .. } => {
                let before = pod(self.record.primary);
                let silent = self.sites.get(&before).is_some_and(|s| s.standing.silent());
                let why = if silent { "is silent" } else { "has no sound copy" };
                let note =
                    format!("shard {n}: {} leads in term {} because {before} {why}", pod(*id), next.term);
                say(true, "Promoted", note)
            }
            Change::Remove(id) => {
                let pod = pod(*id);
                say(
                    true,
                    "CopyLost",
                    format!("shard {n}: the copy on {pod} is gone; another one is made there"),
                )
            }
            Change::List { id, .. } => {
                say(false, "CopyListed", format!("shard {n}: {} gets a copy", pod(*id)))
            }
            _ => None,
        }
    }

    /// A copy that its own pod hasn't got, or that is damaged: its volume is new, or its files are of no use.
    fn emptied(&self) -> Option<Step> {
        let n = self.number();
        let weight = self.sites.weight(n);
        let empty = |c: &&Placed| {
            let Some(site) = self.sites.get(&c.pod).filter(|s| s.has_room(weight)) else { return false };
            match site.report(n, c.id) {
                // A node that isn't ready may not have found its copies yet.
                None => site.ready,
                // It has looked and has none. One that has seen a record says the same when the store was set back: that is for people.
                Some(report) if report.state == CopyState::ConfigLost => report.config_version == 0,
                Some(report) => !c.in_sync && report.state == CopyState::Damaged,
            }
        };
        let copy = self.record.copies.iter().filter(|c| c.id != self.record.primary).find(empty)?;
        self.sites.led(n, self.record).then(|| self.place(&copy.pod, false)).flatten()
    }

    /// Asks a node for a copy, which is listed at once if the record has no other one there.
    pub fn place(&self, pod: &str, list: bool) -> Option<Step> {
        let (first, last) = self.shard.spec.range.bounds()?;
        let range = HashRange { first, last };
        Some(Step::Place { pod: pod.to_owned(), shard: Box::new(self.shard.clone()), range, list })
    }

    fn lost(&self, copy: &Placed) -> bool {
        self.sites.get(&copy.pod).is_none_or(|s| s.lost())
    }

    /// Copies in sync that their nodes confirm, without one.
    fn confirmed_without(&self, id: CopyId) -> usize {
        let confirmed = |c: &&Placed| c.id != id && self.sites.confirmed(self.number(), c);
        self.record.copies.iter().filter(confirmed).count()
    }

    /// Gets rid of one copy too many: in two steps, and only while enough others are confirmed.
    fn surplus(&self) -> Result<Option<Step>, String> {
        let copies = &self.record.copies;
        if copies.len() <= self.factor {
            return Ok(None);
        }
        let behind: Vec<&Placed> = copies.iter().filter(|c| !c.in_sync).collect();
        let useless = behind.iter().find(|c| self.lost(c)).or_else(|| behind.iter().find(|c| self.stale(c)));
        if let Some(copy) = useless {
            return Ok(self.dropped(copy.id));
        }
        let enough = self.confirmed_without(CopyId(0)) >= self.factor;
        let idle = |c: &&&Placed| enough && !copies.iter().any(|c| self.lost(c)) && !moves::pays(self, c);
        if let Some(copy) = behind.iter().find(idle) {
            return Ok(self.dropped(copy.id));
        }
        let Some(victim) = moves::victim(self) else { return Ok(None) };
        if self.confirmed_without(victim.id) < self.factor {
            return Ok(None);
        }
        if victim.id == self.record.primary {
            return self.hand_over("its copy is to go").map(Some);
        }
        Ok(self.leaves(victim.id))
    }

    /// A copy that won't be in sync soon.
    fn stale(&self, copy: &Placed) -> bool {
        let Some(site) = self.sites.get(&copy.pod) else { return true };
        let long = std::time::Duration::from_secs(60);
        let unfit = |state| matches!(state, CopyState::Damaged | CopyState::ConfigLost | CopyState::Failed);
        site.standing.silent_for(long)
            || site.alive() && site.report(self.number(), copy.id).is_some_and(|r| unfit(r.state))
    }

    /// Lets the best other copy lead; the error is why none can.
    pub fn hand_over(&self, why: &str) -> Result<Step, String> {
        let n = self.number();
        let from = self.record.find(self.record.primary).map(|c| c.pod.to_string()).unwrap_or_default();
        let others = self.record.copies.iter().filter(|c| c.id != self.record.primary);
        let able = others.filter(|c| self.sites.confirmed(n, c) && !self.lost(c));
        let sites = able.filter_map(|c| Some((c, self.sites.get(&c.pod)?)));
        let best = sites
            .filter_map(|(c, s)| Some((c, s, s.boot()?)))
            .min_by_key(|(_, s, _)| (!s.ready, s.primaries, s.ordinal));
        let Some((copy, site, boot)) = best else {
            return Err(format!("{from} leads and no other copy in sync can take over"));
        };
        Ok(self.asks(copy, &site.name, boot, &from, why))
    }

    pub fn asks(&self, to: &Placed, pod: &str, boot: Boot, from: &str, why: &str) -> Step {
        let note = format!("shard {}: {from} hands over to {pod}: {why}", self.number());
        Step::HandOver {
            pod: from.to_owned(),
            shard: self.number(),
            to: text(to.id.0),
            boot: text(boot.0),
            say: Say { warning: false, reason: "HandOver", note },
        }
    }

    /// Makes one copy more, if there are too few that will stay.
    fn missing(&self, may_fill: bool) -> Result<Option<Step>, String> {
        let n = self.number();
        let keepers = self.record.copies.iter().filter(|c| !self.lost(c)).count();
        if keepers >= self.factor || self.record.copies.len() > self.factor || !may_fill {
            return Ok(None);
        }
        if !self.sites.led(n, self.record) {
            return Ok(None);
        }
        let Some(target) = moves::target(self) else {
            return Err(format!(
                "{keepers} of {} copies, and no node can take another one: it has to be ready, without a copy of this \
                 shard, with room on its disk, and renew its Lease",
                self.factor
            ));
        };
        let made = target.reports(n).find(|(id, s)| s.fit && self.record.find(*id).is_none());
        Ok(match made {
            Some((id, _)) => self.change(&Change::List { id, pod: target.name.as_str().into() }),
            None => self.place(&target.name, true),
        })
    }
}

/// The VectorShard with another record in it. What the record doesn't say stays.
pub fn written(shard: &VectorShard, next: &Record) -> VectorShard {
    let mut object = shard.clone();
    let spec = &mut object.spec;
    let kept = |placed: &Placed| {
        let id = text(placed.id.0);
        let before = shard.spec.copies.iter().find(|c| c.id == id);
        let purpose = before.and_then(|c| c.purpose).filter(|_| !placed.in_sync);
        Copy { id, pod: placed.pod.to_string(), in_sync: placed.in_sync, purpose }
    };
    spec.copies = next.copies.iter().map(kept).collect();
    spec.term = i64::try_from(next.term).unwrap_or(i64::MAX);
    spec.config_version = i64::try_from(next.config_version).unwrap_or(i64::MAX);
    spec.primary = text(next.primary.0);
    spec.primary_boot = next.primary_boot.map(|b| text(b.0)).unwrap_or_default();
    // Only the one that was looked at: the API server refuses anything older.
    object.status = None;
    object.metadata.managed_fields = None;
    object
}

/// The record without a copy that isn't in sync: a change like *list*, which replaces such a copy.
pub fn dropped(shard: &VectorShard, id: CopyId) -> Option<(VectorShard, Say)> {
    let record = record(shard)?;
    let copy = record.find(id).filter(|c| !c.in_sync)?;
    let mut next = record.clone();
    next.config_version += 1;
    next.copies.retain(|c| c.id != id);
    record.accepts(&next, Rules::default()).ok()?;
    let note =
        format!("shard {}: the copy on {} isn't needed any more and is dropped", shard.spec.shard, copy.pod);
    Some((written(shard, &next), Say { warning: false, reason: "CopyDropped", note }))
}

/// The record with a copy that a node has just made.
pub fn listed(shard: &VectorShard, id: &str, pod: &str) -> Option<(VectorShard, Say)> {
    let record = record(shard)?;
    let id = copy_id(id)?;
    let next = record.with(&Change::List { id, pod: pod.into() }).ok()?;
    let note = format!("shard {}: {pod} gets a copy", shard.spec.shard);
    Some((written(shard, &next), Say { warning: false, reason: "CopyListed", note }))
}
