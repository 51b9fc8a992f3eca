//! A copy that leads: it sends its log to all others, commits what all that count have on disk, and asks for changes of
//! the record.

use std::sync::Arc;

use crate::copy::{Action, Copy, Denied, Refused, Role, Unfit};
use crate::handover::HandOver;
use crate::lease::Lease;
use crate::message::{Append, Hello, Message, Refusal};
use crate::record::{Change, CopyId, Record};
use crate::{Rule, Seq, Term, Time};

/// What a primary knows of another copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    pub id: CopyId,
    /// Answers to earlier sessions don't count.
    pub session: u64,
    /// Whether the copy has said what it has in this session.
    pub open: bool,
    /// Entries behind this one are sent first.
    pub next: Seq,
    /// The copy's disk has everything up to here, equal to the primary's log.
    pub matched: Seq,
    pub lease: Lease,
}

/// A change that was asked for, from the record as it is known here. Until a newer record is seen it may be applied at any
/// moment, whatever an answer or a failure to answer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pending {
    Admit(CopyId),
    Remove(CopyId),
}

/// What only a primary keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Primary {
    pub term: Term,
    /// The end of the log when this copy was made primary.
    pub inherited: Seq,
    /// All other copies that the record lists.
    pub peers: Vec<Peer>,
    pub pending: Option<Pending>,
    /// A planned hand-over that goes on.
    pub hand_over: Option<HandOver>,
}

impl Primary {
    pub(crate) fn peer(&mut self, id: CopyId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|p| p.id == id)
    }

    /// Peers that the record lists, with what is known of those that were listed before.
    fn list(&mut self, me: CopyId, record: &Record) {
        let mut old = std::mem::take(&mut self.peers);
        self.peers = record
            .copies
            .iter()
            .filter(|c| c.id != me)
            .map(|c| match old.iter().position(|p| p.id == c.id) {
                Some(i) => old.swap_remove(i),
                None => {
                    Peer { id: c.id, session: 0, open: false, next: 0, matched: 0, lease: Lease::default() }
                }
            })
            .collect();
    }
}

impl Copy {
    /// The record names this process. All it has is kept: what was acknowledged before is in it.
    pub(crate) fn elect(&mut self, now: Time, out: &mut Vec<Action>) {
        let Some(record) = self.stored.record.clone() else { return };
        if !self.settings.rules.keep(Rule::OwnTailKept) {
            self.cut_to_commit(out);
        }
        let (term, inherited) = (self.term(), self.log.last());
        let mut primary = Primary { term, inherited, peers: Vec::new(), pending: None, hand_over: None };
        primary.list(self.id(), &record);
        let peers: Vec<CopyId> = primary.peers.iter().map(|p| p.id).collect();
        self.role = Role::Primary(primary);
        self.installing = None;
        out.push(Action::Lead(term));
        for id in peers {
            self.open(id, out);
        }
        self.advance(now, out);
    }

    /// A record of the same term; `news`: a newer one than before, so whatever was asked for is settled.
    pub(crate) fn reconfigure(&mut self, now: Time, news: bool, out: &mut Vec<Action>) {
        let (me, record) = (self.id(), self.stored.record.clone());
        let Role::Primary(primary) = &mut self.role else { return };
        if news && let Some(record) = record {
            primary.list(me, &record);
            if let Some(Pending::Remove(removed)) = primary.pending
                && let Some(peer) = primary.peer(removed).filter(|_| !record.in_sync(removed))
            {
                // Its session ends: one that is gone would be taken in again as long as nothing is written.
                peer.open = false;
            }
        }
        if news || !self.settings.rules.keep(Rule::UnknownKept) {
            primary.pending = None;
        }
        self.advance(now, out);
    }

    /// Whether a write waits for that copy's disk: it is in sync, or its admission may be applied at any moment. One whose
    /// removal was asked for still counts.
    pub fn requires(&self, id: CopyId) -> bool {
        let (Role::Primary(primary), Some(record)) = (&self.role, &self.stored.record) else { return false };
        let rules = self.settings.rules;
        match primary.pending {
            Some(Pending::Admit(admitted)) if admitted == id => rules.keep(Rule::AdmittedRequired),
            Some(Pending::Remove(removed)) if removed == id && !rules.keep(Rule::RemovedRequired) => false,
            _ => id == self.id() || record.in_sync(id),
        }
    }

    /// Whether an older primary may still trust a grant of this copy.
    fn bound(&self, now: Time) -> bool {
        self.settings.rules.keep(Rule::GrantWaited) && self.grant.outstanding(now, &self.settings.timing)
    }

    /// Whether this copy leads in full: nobody else reads, and what it inherited is committed in its term.
    pub fn leads(&self, now: Time) -> bool {
        self.primary().is_some_and(|p| self.log.commit() >= p.inherited) && !self.bound(now)
    }

    /// Commits what every copy that counts has on disk.
    pub(crate) fn advance(&mut self, now: Time, out: &mut Vec<Action>) {
        let Role::Primary(primary) = &self.role else { return };
        if self.bound(now) {
            return;
        }
        let own = if self.settings.rules.keep(Rule::OwnSync) { self.log.durable() } else { self.log.last() };
        let others = primary.peers.iter().filter(|p| self.requires(p.id)).map(|p| p.matched);
        let commit = others.fold(own, Seq::min);
        if self.stored.led != Some(self.stored.term) && self.grant_over(now) {
            self.stored.led = Some(self.stored.term);
            out.push(Action::Store(self.stored.clone()));
        }
        if commit > self.log.commit() {
            self.log.commit_to(commit);
            self.apply(out);
            self.send_to_idle(now, self.log.last(), out);
        }
        self.release_when_drained(now, out);
    }

    fn grant_over(&self, now: Time) -> bool {
        !self.grant.outstanding(now, &self.settings.timing)
    }

    /// Sends to all that have everything up to `known`: to the others something is on its way already.
    fn send_to_idle(&mut self, now: Time, known: Seq, out: &mut Vec<Action>) {
        let Role::Primary(primary) = &self.role else { return };
        let idle: Vec<CopyId> =
            primary.peers.iter().filter(|p| p.open && p.matched >= known).map(|p| p.id).collect();
        for id in idle {
            self.send(now, id, out);
        }
    }

    pub(crate) fn on_write(&mut self, now: Time, count: u64, out: &mut Vec<Action>) {
        let Role::Primary(primary) = &self.role else {
            return out.push(Action::Refused(Refused::NotPrimary));
        };
        let term = primary.term;
        let in_sync = self.record().map_or(0, Record::in_sync_count);
        let draining = primary.hand_over.is_some() && self.settings.rules.keep(Rule::DrainFirst);
        let refused = if !self.leads(now) || draining {
            Some(Refused::NotPrimary)
        } else if in_sync < self.settings.min_in_sync {
            Some(Refused::TooFewInSync)
        } else if self.log.last() - self.log.commit() >= self.settings.waiting {
            Some(Refused::TooManyWaiting)
        } else {
            None
        };
        if let Some(why) = refused {
            return out.push(Action::Refused(why));
        }
        let before = self.log.last();
        let seq = (0..count).fold(before, |_, _| self.log.append(term));
        out.push(Action::Accepted(seq));
        out.push(Action::Write { cut: None, after: before, last: seq });
        self.send_to_idle(now, before, out);
    }

    /// What a read must see that is to be linearizable: everything up to the returned entry, once it is applied here.
    /// Asked after the read arrived, before it reads.
    pub fn strong_read(&self, now: Time) -> Result<Seq, Denied> {
        let Role::Primary(primary) = &self.role else { return Err(Denied::NotPrimary) };
        let rules = self.settings.rules;
        let recommitted = self.log.commit() >= primary.inherited || !rules.keep(Rule::ReadAfterRecommit);
        let released = primary.hand_over.is_some_and(|h| h.released) && rules.keep(Rule::ReleasedServesNot);
        if self.unfit.is_some() || !recommitted || released || self.bound(now) {
            return Err(Denied::NotYet);
        }
        let timing = &self.settings.timing;
        let lacks = |id: CopyId| !primary.peers.iter().any(|p| p.id == id && p.lease.holds(now, timing));
        let mut required = primary.peers.iter().map(|p| p.id).filter(|id| self.requires(*id));
        match required.find(|id| lacks(*id)) {
            Some(id) if rules.keep(Rule::LeaseOfAll) => Err(Denied::NoLease(id)),
            _ => Ok(self.log.commit()),
        }
    }

    /// Until when no other primary can have acknowledged anything for longer than `timing.fresh`, should nothing be heard any
    /// more: none begins before the leases of all required copies have ended. Without such copies there can be no other.
    pub(crate) fn current_until(&self, now: Time) -> Option<Time> {
        if !self.leads(now) || self.unfit.is_some() {
            return None;
        }
        let Role::Primary(primary) = &self.role else { return None };
        // Leases were given back with the release: the successor may begin at once.
        if primary.hand_over.is_some_and(|h| h.released) {
            return None;
        }
        let timing = &self.settings.timing;
        let mut required = primary.peers.iter().filter(|p| self.requires(p.id));
        required.try_fold(Time::MAX, |least, peer| {
            peer.lease.until(timing).map(|until| least.min(until.saturating_add(timing.fresh)))
        })
    }

    /// Begins a session with a copy.
    pub(crate) fn open(&mut self, id: CopyId, out: &mut Vec<Action>) {
        let (term, counts) = (self.term(), self.requires(id));
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(peer) = primary.peer(id) else { return };
        peer.session += 1;
        peer.open = false;
        if !counts {
            // Nothing rests on what it had: a volume that was put back catches up like one that is new.
            peer.matched = 0;
        }
        let session = peer.session;
        self.say(id, Message::Open { term, session }, out);
    }

    pub(crate) fn on_hello(&mut self, now: Time, from: CopyId, hello: Hello, out: &mut Vec<Action>) {
        let in_sync = self.record().is_some_and(|r| r.in_sync(from));
        let last = self.log.last();
        let known = self.log.term_at(hello.last.seq) == Some(hello.last.term);
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(peer) = primary.peer(from) else { return };
        if hello.session != peer.session || peer.open {
            return;
        }
        if hello.damaged || hello.last.seq < peer.matched {
            // Its disk lost what it had acknowledged: an old volume, or worse. It is made anew under another id.
            return self.remove_broken(from, out);
        }
        if hello.commit > last && in_sync {
            // Something is committed that this copy lacks: it was never fit to lead.
            return self.give_up(Unfit::Damaged, out);
        }
        peer.open = true;
        // Logs that have one entry in common are equal up to it; and what is committed there is here as well.
        peer.next = if known { hello.last.seq } else { hello.commit.min(last) };
        self.send(now, from, out);
    }

    /// Sends what a copy lacks, or a heartbeat. At most one batch is on its way to each.
    pub(crate) fn send(&mut self, now: Time, id: CopyId, out: &mut Vec<Action>) {
        let Role::Primary(primary) = &self.role else { return };
        let Some(peer) = primary.peers.iter().find(|p| p.id == id && p.open) else { return };
        if primary.hand_over.is_some_and(|h| h.released && h.to == id) {
            // An append would be granted for again.
            return self.take_over(id, out);
        }
        let (term, session, previous) = (primary.term, peer.session, peer.next.max(peer.matched));
        let base = self.log.base();
        if previous < base.seq {
            return self.say(id, Message::Snapshot { term, session, up_to: base, asked: now }, out);
        }
        let last = self.log.last().min(previous.saturating_add(self.settings.batch));
        let append = Append {
            term,
            session,
            config_version: self.stored.record.as_ref().map_or(0, |r| r.config_version),
            previous: self.log.position(previous),
            runs: self.log.slice(previous, last),
            last,
            commit: self.log.commit(),
            current: self.strong_read(now).is_ok(),
            asked: now,
        };
        self.say(id, Message::Append(append), out);
    }

    pub(crate) fn on_ack(
        &mut self,
        now: Time,
        from: CopyId,
        (session, matched, asked): (u64, Seq, Time),
        out: &mut Vec<Action>,
    ) {
        let (last, rules) = (self.log.last(), self.settings.rules);
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(peer) = primary.peer(from) else { return };
        if session != peer.session || !peer.open || (matched > last && rules.keep(Rule::AckOfTerm)) {
            return;
        }
        let news = matched > peer.matched;
        peer.matched = peer.matched.max(matched.min(last));
        peer.lease.renew(if rules.keep(Rule::LeaseFromSending) { asked } else { now }, now);
        self.advance(now, out);
        if news && matched < last {
            self.send(now, from, out);
        }
    }

    pub(crate) fn on_refuse(&mut self, from: CopyId, session: u64, reason: Refusal, out: &mut Vec<Action>) {
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(peer) = primary.peer(from).filter(|p| p.session == session) else { return };
        match reason {
            // It started again, or its disk was set back: a new session says which.
            Refusal::Mismatch | Refusal::Conflict => {
                peer.open = false;
                self.open(from, out);
            }
            // A full disk is no reason to lose a copy; a failed one shows as silence.
            Refusal::NoSpace | Refusal::IoError | Refusal::OldTerm => {}
        }
    }

    /// Asks for the admission of a copy that has everything that is committed, once that is certain to be everything. One that
    /// is to go stays out: it would only have to be taken out again.
    pub(crate) fn admit(&mut self, now: Time, id: CopyId, out: &mut Vec<Action>) {
        let rules = self.settings.rules;
        let (commit, bound) = (self.log.commit(), self.bound(now));
        let listed = self.record().is_some_and(|r| r.find(id).is_some_and(|c| !c.in_sync && !c.leaving));
        let Role::Primary(primary) = &mut self.role else { return };
        let recommitted = commit >= primary.inherited || !rules.keep(Rule::RecommitFirst);
        if !listed || primary.pending.is_some() || bound || !recommitted {
            return;
        }
        let ready = |p: &Peer| p.open && (p.matched >= commit || !rules.keep(Rule::CaughtUp));
        if primary.peer(id).is_some_and(|p| ready(p)) {
            // Required from here on: the request may be applied before anybody hears of it.
            primary.pending = Some(Pending::Admit(id));
            self.propose(&Change::Admit(id), out);
        }
    }

    /// Asks for the removal of a copy that something waits for. A primary whose own disk doesn't follow removes nobody, or
    /// one with a dying disk would be left alone; and none goes below the number without which writes are refused anyway.
    pub(crate) fn remove(&mut self, id: CopyId, out: &mut Vec<Action>) {
        let synced = self.log.durable() == self.log.last();
        let enough = self.record().is_some_and(|r| r.in_sync_count() > self.settings.min_in_sync.max(1));
        if synced && enough {
            self.remove_broken(id, out);
        }
    }

    /// Asks for the removal of a copy of which nothing more is to be hoped.
    fn remove_broken(&mut self, id: CopyId, out: &mut Vec<Action>) {
        let in_sync = self.record().is_some_and(|r| r.in_sync(id));
        let Role::Primary(primary) = &mut self.role else { return };
        if in_sync && primary.pending.is_none() {
            primary.pending = Some(Pending::Remove(id));
            self.propose(&Change::Remove(id), out);
        }
    }

    /// Asks for the record as it is, one version later. When that is seen, whatever was asked for before from the same
    /// version was applied or never will be.
    pub(crate) fn settle(&mut self, out: &mut Vec<Action>) {
        if self.primary().is_some_and(|p| p.pending.is_some()) {
            self.propose(&Change::Confirm, out);
        }
    }

    /// The record that a primary acts on, shared.
    pub fn shared_record(&self) -> Option<Arc<Record>> {
        self.stored.record.clone()
    }
}
