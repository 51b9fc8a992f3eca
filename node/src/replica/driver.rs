//! The thread of one copy: takes an input, steps the protocol, and does what it says, in that order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use quiver_engine::shard::Shard;
use quiver_engine::shard::replicated::{LogTail, NotCommitted};
use quiver_engine::wal;
use quiver_replica::log::{Log, Position, Run};
use quiver_replica::message::{Envelope, Message, Refusal};
use quiver_replica::record::CopyId;
use quiver_replica::{Action, Copy, Denied, Event, Heard, Seq, Time};

use super::lead::Leader;
use super::recent::Recent;
use super::{Adopt, Asked, Fresh, Inbox, Input, Outside, Parts, Standing, stored};
use crate::clock;

/// Bytes of entries in one message, at most, but for one that is larger by itself.
const MESSAGE_BYTES: usize = 4 << 20;
const ALONE: &str = "this node hears neither another copy of the shard, which has to confirm writes, nor that it may do without: ask \
                     another node, or again in a moment";
/// A year in milliseconds: the copy that is alone in its shard is fresh for ever, which no clock can be asked for.
const FOR_EVER: u64 = 365 * 24 * 3600 * 1000;

pub struct Driver<O> {
    parts: Parts<O>,
    inbox: Inbox,
    copy: Copy,
    begun: Instant,
    /// When the next heartbeat is due.
    next_beat: Instant,
    /// What the protocol is told next: the disk's answers to what it asked for.
    events: VecDeque<Event>,
    recent: Recent,
    /// Writers that wait for the commit of everything up to an entry.
    waiting: VecDeque<(Seq, SyncSender<Result<(), NotCommitted>>)>,
    /// The entries of the message that is being handled, and who sent it in which session.
    incoming: (CopyId, u64, Vec<wal::Record>),
    heard: Heard,
    /// What the outside was told last.
    told: Option<Standing>,
    /// Since when it hands over.
    drains: Option<Time>,
    /// When a strong read last had to be refused because a copy's grant had run out.
    refused: Option<Time>,
    /// Since when something waits for a copy that is silent, and the store doesn't take its removal.
    stuck: Option<Time>,
    fresh: Fresh,
}

impl<O: Outside> Driver<O> {
    pub fn new(parts: Parts<O>, inbox: Inbox, fresh: Fresh) -> anyhow::Result<Self> {
        let copy = copy_of(&parts, 0)?;
        let incoming = (parts.id, 0, Vec::new());
        Ok(Self {
            copy,
            inbox,
            incoming,
            begun: clock::now(),
            next_beat: clock::now(),
            events: VecDeque::new(),
            recent: Recent::default(),
            waiting: VecDeque::new(),
            heard: Heard::new(parts.pace.silence, parts.pace.heartbeat),
            told: None,
            drains: None,
            refused: None,
            stuck: None,
            fresh,
            parts,
        })
    }

    /// Until it is told to stop.
    pub fn run(mut self, inputs: &Receiver<Input>) {
        let beat = Duration::from_millis(self.parts.pace.heartbeat);
        self.next_beat = clock::now() + beat;
        loop {
            match inputs.recv_timeout(self.next_beat.saturating_duration_since(clock::now())) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // A full inbox doesn't keep a leader from being heard.
            if clock::now() >= self.next_beat {
                self.heartbeat();
                self.next_beat = clock::now() + beat;
            }
            self.tell();
        }
        *self.fresh.0.lock() = None;
        self.parts.shard.set_lead(None);
        self.tell_unknown("this copy of the shard was stopped");
    }

    fn now(&self) -> Time {
        u64::try_from(clock::now().duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }

    fn seen(&self) -> Asked {
        Asked(self.copy.record().map_or(0, |r| r.config_version))
    }

    /// Says where the copy stands, if that is news.
    fn tell(&mut self) {
        let until = self.copy.fresh_until(self.now());
        *self.fresh.0.lock() = until.map(|at| self.begun + Duration::from_millis(at.min(FOR_EVER)));
        let standing = Standing::of(&self.copy, self.now());
        if self.told != Some(standing) {
            self.told = Some(standing);
            self.parts.outside.stands(standing);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Message { envelope: Envelope { from, to, message }, entries } => {
                self.inbox.taken(&entries);
                if to != self.parts.id {
                    return;
                }
                // One that only says that it is of no use is as good as silent.
                if !is_of_no_use(&message) {
                    self.heard.hear(from, self.now());
                }
                let session = if let Message::Append(append) = &message { append.session } else { 0 };
                self.incoming = (from, session, entries);
                self.step(Event::Received { from, message });
                self.incoming.2.clear();
            }
            Input::Record { record, asked } => {
                let (version, seen) = (record.config_version, self.seen().0);
                let live = asked.is_some_and(|Asked(before)| version >= seen || version < before);
                self.step(Event::Record { record, live });
                // Another change of the record may have come before their removal.
                for gone in self.heard.left() {
                    self.step(Event::Silent(gone));
                }
            }
            Input::MinInSync(count) => {
                self.parts.settings.min_in_sync = count;
                self.copy.set_min_in_sync(count);
            }
            Input::Unanswered => self.step(Event::Unanswered),
            // Files that come too late are dropped: the log may have gone on.
            Input::Installed { shard, up_to, adopt }
                if self.copy.installing().is_some_and(|asked| asked.seq <= up_to.seq) =>
            {
                self.install(shard, up_to, adopt);
            }
            Input::NotInstalled => self.begin_again(),
            Input::Term(reply) => drop(reply.send(self.writing_term())),
            Input::Confirm(reply) => drop(reply.send(self.confirm())),
            Input::Commit { entries, reply } => self.commit(&entries, reply),
            Input::Leaves(id) => {
                // If the store doesn't take its removal now, the next heartbeats ask again.
                self.heard.leaves(id);
                self.step(Event::Silent(id));
            }
            Input::Ask(question) => question(&self.copy, self.now()),
            Input::HandOver { to, boot } => {
                self.drains.get_or_insert(self.now());
                self.step(Event::HandOver { to, boot });
            }
            Input::Installed { .. } | Input::Stop => {}
        }
    }

    fn install(&mut self, shard: Arc<Shard>, up_to: Position, adopt: Adopt) {
        if let Err(e) = adopt() {
            // Nobody knows which of the two the next start opens: this one takes nothing more.
            self.disk_failed(&e);
            return self.settle_events();
        }
        self.recent = Recent::default();
        self.parts.shard = shard;
        self.step(Event::Installed(up_to));
    }

    fn heartbeat(&mut self) {
        // What the log has dropped is in segments only, and other copies get it as files.
        let first = self.parts.shard.log_tail().first;
        self.copy.compact(first.saturating_sub(1));
        for event in self.copy.due() {
            self.step(event);
        }
        let (now, silence) = (self.now(), self.parts.pace.silence);
        self.heard.look(now);
        if self.copy.draining().is_none() {
            self.drains = None;
        } else if self.drains.is_some_and(|since| now.saturating_sub(since) > self.parts.pace.hand_over) {
            self.step(Event::KeepLead);
        }
        let reads_wait = self.refused.is_some_and(|at| now.saturating_sub(at) < silence);
        let writes_wait = self.copy.log().last() > self.copy.log().commit();
        let waits = self.copy.primary().is_some() && (writes_wait || reads_wait);
        let listed = self.copy.record().filter(|_| waits).map(|r| r.copies.clone()).unwrap_or_default();
        let mut stuck = None;
        for other in listed {
            if other.id != self.parts.id && self.heard.silent(other.id, now) {
                self.step(Event::Silent(other.id));
                stuck = if other.in_sync { self.stuck.or(Some(now)) } else { stuck };
            }
        }
        self.stuck = stuck;
        if self.is_stuck() {
            // Whoever waits behind these can ask another node.
            self.tell_unknown(ALONE);
        }
    }

    /// Whether this node may be the one that is cut off, and another one leads by now.
    fn is_stuck(&self) -> bool {
        self.stuck.is_some_and(|since| self.now().saturating_sub(since) > self.parts.pace.stuck)
    }

    fn step(&mut self, event: Event) {
        self.events.push_back(event);
        self.settle_events();
    }

    fn settle_events(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let mut actions = Vec::new();
            self.copy.step(self.now(), event, &mut actions);
            actions.into_iter().for_each(|action| self.act(action));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Store(stored) => {
                if let Err(e) = stored::write(&*self.parts.disk, &self.parts.dir, &stored) {
                    self.disk_failed(&e);
                }
            }
            Action::Write { after, last, .. } => self.write(after, last),
            Action::Send(envelope) => self.send(envelope),
            Action::Swap { base, next } => {
                let seen = self.seen();
                self.parts.outside.swap(base, next, seen);
            }
            Action::Fetch => {
                let seen = self.seen();
                self.parts.outside.fetch(seen);
            }
            Action::Apply(seq) => self.apply(seq),
            // Its place was compared before, and refusals were ruled out.
            Action::Accepted(_) | Action::Refused(_) => {}
            Action::Lead(term) => {
                tracing::info!(term, "this copy leads");
                self.heard.lead(self.now());
                // Just when one that is dead has had its time to answer: writers wait for that.
                self.next_beat = clock::now() + Duration::from_millis(self.parts.pace.heartbeat + 1);
                let patience = Duration::from_millis(self.parts.pace.commit);
                let leader = Leader { inbox: self.inbox.clone(), patience };
                self.parts.shard.set_lead(Some(Arc::new(leader)));
            }
            Action::StepDown => {
                self.parts.shard.set_lead(None);
                self.tell_unknown("another copy of the shard leads now: read what became of the write");
            }
            Action::Install { from, up_to } => self.parts.outside.install(from, up_to),
            Action::Report(why) => {
                tracing::error!(?why, "this copy is of no use until it was dealt with");
            }
        }
    }

    /// Which term a write here would get, or why there can't be one.
    fn writing_term(&self) -> Result<u64, String> {
        let in_sync = self.copy.record().map_or(0, |r| r.in_sync_count());
        let min = self.parts.settings.min_in_sync;
        match self.copy.primary() {
            Some(_) if in_sync < min => Err(format!(
                "{in_sync} copies of the shard are in sync and {min} have to be: writes are accepted again when one has caught up"
            )),
            Some(_) if self.copy.draining().is_some() => {
                Err("this copy of the shard is handing over to another one: ask again in a moment".into())
            }
            // Another node may lead by now. A write that would wait is better refused: its client can ask there.
            Some(_) if self.is_stuck() => Err(ALONE.into()),
            Some(_) if self.copy.leads(self.now()) => Ok(self.copy.term()),
            Some(_) => Err("this copy of the shard leads in a moment: ask again".into()),
            None => Err("another copy of the shard leads: ask again, the request goes there".into()),
        }
    }

    /// Whether all that was acknowledged anywhere is applied here. It is, if this copy may serve strong reads: what is
    /// committed was applied before this is asked.
    fn confirm(&mut self) -> Result<(), String> {
        let now = self.now();
        self.copy.strong_read(now).map(drop).map_err(|denied| match denied {
            Denied::NotPrimary => "another copy of the shard leads: ask again, the request goes there".into(),
            Denied::NotYet => "this copy of the shard leads in a moment: ask again".into(),
            Denied::NoLease(_) => {
                self.refused = Some(now);
                "another copy of the shard doesn't answer, and might be made the leader: ask again in a moment".into()
            }
        })
    }

    /// Takes entries that this shard has written as the leader.
    fn commit(&mut self, entries: &[wal::Record], reply: SyncSender<Result<(), NotCommitted>>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return drop(reply.send(Ok(())));
        };
        let uncommitted = self.copy.log().last() - self.copy.log().commit() + entries.len() as u64;
        let fits = first.seq == self.copy.log().last() + 1 && self.writing_term() == Ok(last.term);
        if !fits || uncommitted > self.parts.settings.waiting {
            let why = "the copy that led this shard stopped leading: ask again, nothing was written";
            return drop(reply.send(Err(NotCommitted::Refused(why.into()))));
        }
        self.recent.extend(entries);
        self.waiting.push_back((last.seq, reply));
        self.step(Event::Writes(entries.len() as u64));
        self.step(Event::Durable(Position { seq: last.seq, term: last.term }));
    }

    /// Writes what came with the message into the log. What a leader wrote is there already.
    fn write(&mut self, after: Seq, last: Seq) {
        if self.copy.primary().is_some() {
            return;
        }
        let (from, session, entries) = &self.incoming;
        let (from, session) = (*from, *session);
        let new: Vec<wal::Record> =
            entries.iter().filter(|e| e.seq > after && e.seq <= last).cloned().collect();
        if new.len() as u64 != last - after {
            // Entries that were promised and aren't there: a sender that doesn't keep the protocol.
            return self.disk_failed(&format!("the entries behind {after} up to {last} did not come"));
        }
        match self.parts.shard.follow(after, &new) {
            Ok(()) => {
                self.recent.cut_after(after);
                self.recent.extend(&new);
                self.events.push_back(Event::Durable(self.copy.log().position(last)));
            }
            Err(e) if e.is_no_space() => {
                // The protocol believes in entries that aren't there.
                self.begin_again();
                self.events.push_back(Event::NoSpace { from, session });
            }
            Err(e) => self.disk_failed(&e),
        }
    }

    /// Starts the protocol again from what is on the disk, as a copy that follows.
    fn begin_again(&mut self) {
        if self.copy.primary().is_some() || self.copy.unfit().is_some() {
            return;
        }
        match copy_of(&self.parts, self.now()) {
            Ok(copy) => {
                self.copy = copy;
                self.events.clear();
            }
            Err(e) => self.disk_failed(&e),
        }
    }

    fn send(&mut self, mut envelope: Envelope) {
        let mut entries = Vec::new();
        if let Message::Append(append) = &mut envelope.message
            && append.last > append.previous.seq
        {
            let after = append.previous.seq;
            let found = match self.recent.range(after, append.last) {
                Some(found) => Ok(found),
                None => self.parts.shard.records_from(after + 1, MESSAGE_BYTES),
            };
            entries = match found {
                Ok(found) => found,
                // The next heartbeat offers files instead.
                Err(e) => return tracing::debug!("entries behind {after} can't be read: {e}"),
            };
            entries.truncate(fitting(&entries, append.last));
            append.last = entries.last().map_or(after, |e| e.seq);
            append.runs.retain(|run| run.first <= append.last);
        }
        self.parts.outside.send(envelope, entries);
    }

    fn apply(&mut self, seq: Seq) {
        if let Err(e) = self.parts.shard.apply_to(seq) {
            return self.disk_failed(&e);
        }
        while self.waiting.front().is_some_and(|(last, _)| *last <= seq)
            && let Some((_, reply)) = self.waiting.pop_front()
        {
            let _ = reply.send(Ok(()));
        }
    }

    fn tell_unknown(&mut self, why: &str) {
        for (_, reply) in self.waiting.drain(..) {
            let _ = reply.send(Err(NotCommitted::Unknown(why.into())));
        }
    }

    fn disk_failed(&mut self, why: &dyn std::fmt::Display) {
        tracing::error!("a copy's disk failed: {why}");
        self.events.push_back(Event::DiskFailed);
    }
}

/// Whether a copy says with it that its disk failed, or that its data is damaged.
fn is_of_no_use(message: &Message) -> bool {
    match message {
        Message::Refuse { reason, .. } => *reason == Refusal::IoError,
        Message::Hello(hello) => hello.damaged,
        _ => false,
    }
}

/// How many of the entries go into one message.
fn fitting(entries: &[wal::Record], last: Seq) -> usize {
    let mut bytes = 0;
    let fits = |e: &&wal::Record| {
        bytes += e.body.len();
        e.seq <= last && bytes <= MESSAGE_BYTES
    };
    entries.iter().take_while(fits).count().max(1).min(entries.len())
}

/// The protocol's state after a start at `now`, from what the disk has.
fn copy_of<O>(parts: &Parts<O>, now: Time) -> anyhow::Result<Copy> {
    let stored = stored::read(&*parts.disk, &parts.dir, parts.id)?;
    let tail = parts.shard.log_tail();
    if stored.term == 0 && stored.record.is_none() {
        return Ok(Copy::create(parts.settings, parts.id, parts.boot, log_of(&tail)?));
    }
    Ok(Copy::start(parts.settings, parts.boot, stored, log_of(&tail)?, now))
}

/// The protocol's view of a log: what was applied is its beginning.
fn log_of(tail: &LogTail) -> anyhow::Result<Log> {
    let (seq, term) = tail.applied;
    let base = Position { seq, term: if seq == 0 { 0 } else { term } };
    let runs = tail.runs.iter().map(|&(first, term)| Run { first, term }).collect();
    Log::new(base, runs, tail.last).map_err(|e| anyhow::anyhow!("the log can't be followed: {e:?}"))
}
