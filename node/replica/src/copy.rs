//! One copy of a shard: what it keeps, which events move it, and what it asks its driver to do.
//!
//! The driver (a node, a simulation, a model) calls [`Copy::step`] with one event at a time and carries out the actions in
//! their order. [`Action::Store`] is synchronous: nothing behind it in the list happens before it is durable. Everything
//! else may take as long as it takes; the disk's progress comes back as [`Event::Durable`].

use std::sync::Arc;

use crate::follower::Follower;
use crate::lease::{Grant, Timing};
use crate::log::{Log, Position};
use crate::message::{Envelope, Message, Refusal};
use crate::primary::Primary;
use crate::record::{Boot, Change, CopyId, Record};
use crate::{Rule, Rules, Seq, Term, Time};

/// What is the same for all copies of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    pub timing: Timing,
    /// With fewer copies in sync, writes are refused before they reach the log. At least 1.
    pub min_in_sync: usize,
    /// Entries of one message.
    pub batch: u64,
    /// Entries that may wait for their commit; further writes are refused.
    pub waiting: u64,
    pub rules: Rules,
}

impl Default for Settings {
    fn default() -> Self {
        let rules = Rules::default();
        Self { timing: Timing::default(), min_in_sync: 1, batch: 1024, waiting: 65_536, rules }
    }
}

/// What lies durably beside the data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stored {
    pub id: CopyId,
    /// The highest term that was promised: nobody is listened to in a lower one.
    pub term: Term,
    /// The record of the highest version that was seen; none before the first.
    pub record: Option<Arc<Record>>,
    /// Led in this term, and all grants of its own had run out by then.
    pub led: Option<Term>,
}

/// Why a copy neither leads nor follows until a person or the operator has dealt with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// Its data lacks something or contradicts what is committed: it is made anew under another id.
    Damaged,
    /// Its disk failed.
    DiskFailed,
    /// The store holds an older record than this copy has seen: the store was set back.
    RecordLost,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Follower(Follower),
    Primary(Primary),
}

/// What happens to a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Received {
        from: CopyId,
        message: Message,
    },
    /// The disk has all entries up to this one.
    Durable(Position),
    /// The files of a snapshot are in place of log and segments, durably.
    Installed(Position),
    /// A write or sync failed. It is never tried again.
    DiskFailed,
    /// The disk is full: what was asked for is refused, the copy stays.
    NoSpace {
        from: CopyId,
        session: u64,
    },
    /// The record as the store has it now (`live`), or as a watch told it some time ago.
    Record {
        record: Arc<Record>,
        live: bool,
    },
    /// A request to change the record failed for sure, or nobody knows what became of it.
    Unanswered,
    /// So many writes of clients, resolved to ids and absolute values, which go out together. All are taken or none.
    Writes(u64),
    /// A copy that a write or a strong read waits for hasn't answered for too long.
    Silent(CopyId),
    /// The connection to a copy is new.
    Connected(CopyId),
    /// Send a copy what it lacks, or a heartbeat.
    Send(CopyId),
    /// Ask for the admission of a copy, if it may be admitted.
    Admit(CopyId),
    /// Ask for the change that settles what became of an earlier one.
    Settle,
    /// Time has passed: a grant may have run out.
    Tick,
    /// This copy is to go: let that process of another copy lead. Planned, by the operator or the node that stops.
    HandOver {
        to: CopyId,
        boot: Boot,
    },
    /// The hand-over takes too long: lead on.
    KeepLead,
}

/// What the driver has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make this durable before anything else.
    Store(Stored),
    /// Cut the log behind `cut`, then write the entries `after + 1 ..= last` of the message or of the client.
    Write {
        cut: Option<Seq>,
        after: Seq,
        last: Seq,
    },
    Send(Envelope),
    /// Ask the store to put `next` in the place of the record of version `base`.
    Swap {
        base: u64,
        next: Arc<Record>,
    },
    /// Read the record from the store itself.
    Fetch,
    /// Apply everything up to `seq`. A primary then answers the writes up to it.
    Apply(Seq),
    /// The client's write has this place in the log, the last one of several. It is answered when it is applied.
    Accepted(Seq),
    /// The client's write was refused, definitely: it may be tried elsewhere.
    Refused(Refused),
    /// This copy leads from now on.
    Lead(Term),
    /// It leads no more. What became of the writes that wait is unknown.
    StepDown,
    /// Fetch the files of a snapshot from `from`.
    Install {
        from: CopyId,
        up_to: Position,
    },
    /// Tell the operator.
    Report(Unfit),
}

/// Why a write is refused before it reached the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    NotPrimary,
    TooFewInSync,
    TooManyWaiting,
}

/// Why a strong read isn't served here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    NotPrimary,
    /// What was inherited isn't committed again, or an older primary may still read.
    NotYet,
    /// A copy's grant has run out.
    NoLease(CopyId),
}

/// One copy of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    pub(crate) settings: Settings,
    pub(crate) boot: Boot,
    pub(crate) stored: Stored,
    pub(crate) log: Log,
    pub(crate) applied: Seq,
    pub(crate) grant: Grant,
    pub(crate) unfit: Option<Unfit>,
    pub(crate) role: Role,
    /// A snapshot is being fetched: what it answers, once it is there.
    pub(crate) installing: Option<Position>,
}

impl Copy {
    /// A copy that never promised anything: its directory was made just now. It has no data, or those of a backup.
    pub fn create(settings: Settings, id: CopyId, boot: Boot, log: Log) -> Self {
        let stored = Stored { id, term: 0, record: None, led: None };
        Self::new(settings, boot, stored, log, Grant::default())
    }

    /// A copy after a start of its process at `now`, from what its disk has. The log is all durable; what its segments
    /// hold is `log.base()`.
    pub fn start(settings: Settings, boot: Boot, stored: Stored, log: Log, now: Time) -> Self {
        // Nobody remembers what was granted before, unless a mark says that nothing was left by the time this copy led.
        let marked = stored.led == Some(stored.term) && stored.term > 0;
        let was_primary = stored.record.as_ref().is_some_and(|r| r.primary == stored.id);
        let assumed = match settings.rules {
            rules if !rules.keep(Rule::GrantAssumed) => false,
            rules if !rules.keep(Rule::LeadingMarked) => !was_primary,
            _ => !marked,
        };
        let grant = if assumed { Grant::given(now) } else { Grant::default() };
        Self::new(settings, boot, stored, log, grant)
    }

    fn new(settings: Settings, boot: Boot, stored: Stored, log: Log, grant: Grant) -> Self {
        let applied = log.base().seq;
        let role = Role::Follower(Follower::default());
        Self { settings, boot, stored, log, applied, grant, unfit: None, role, installing: None }
    }

    pub fn id(&self) -> CopyId {
        self.stored.id
    }

    /// With fewer copies in sync, writes are refused from now on.
    pub fn set_min_in_sync(&mut self, count: usize) {
        self.settings.min_in_sync = count;
    }

    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// The highest term that was promised.
    pub fn term(&self) -> Term {
        self.stored.term
    }

    pub fn record(&self) -> Option<&Record> {
        self.stored.record.as_deref()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn applied(&self) -> Seq {
        self.applied
    }

    pub fn unfit(&self) -> Option<Unfit> {
        self.unfit
    }

    pub fn primary(&self) -> Option<&Primary> {
        match &self.role {
            Role::Primary(primary) => Some(primary),
            Role::Follower(_) => None,
        }
    }

    /// The snapshot that is being fetched. Files that come when this is another one, or none, have to be thrown away: the
    /// log may have grown meanwhile.
    pub fn installing(&self) -> Option<Position> {
        self.installing
    }

    /// The segments hold everything up to `seq` durably: the log may begin behind it.
    pub fn compact(&mut self, seq: Seq) {
        self.log.compact(seq.min(self.applied));
    }

    /// Whether an ordinary read here is at most `timing.fresh` older than the primary's last message took to arrive. A copy
    /// that isn't may answer as well, but says so.
    pub fn fresh(&self, now: Time) -> bool {
        self.fresh_until(now).is_some_and(|until| now < until)
    }

    /// Until when a copy answers ordinary reads as fresh, if it hears nothing more; `None` if it doesn't now.
    pub fn fresh_until(&self, now: Time) -> Option<Time> {
        match &self.role {
            Role::Primary(_) => self.current_until(now),
            Role::Follower(f) if f.heard => self.grant.fresh_until(&self.settings.timing),
            Role::Follower(_) => None,
        }
    }

    /// Moves the copy by one event at `now` and appends what has to be done to `out`.
    pub fn step(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        if self.unfit.is_some() {
            return self.step_unfit(event, out);
        }
        match event {
            Event::Received { from, message } => self.receive(now, from, message, out),
            Event::Durable(position) => self.on_durable(now, position, out),
            Event::Installed(position) => self.on_installed(now, position, out),
            Event::DiskFailed => self.give_up(Unfit::DiskFailed, out),
            Event::NoSpace { from, session } => self.refuse(from, session, Refusal::NoSpace, out),
            Event::Record { record, live } => self.on_record(now, record, live, out),
            Event::Unanswered => out.push(Action::Fetch),
            Event::Writes(count) => self.on_write(now, count, out),
            Event::Silent(id) => self.remove(id, out),
            Event::Connected(id) => self.open(id, out),
            Event::Send(id) => self.send(now, id, out),
            Event::Admit(id) => self.admit(now, id, out),
            Event::Settle => self.settle(out),
            Event::Tick => {
                self.advance(now, out);
                self.ask_for_successor(out);
            }
            Event::HandOver { to, boot } => self.hand_over(now, to, boot, out),
            Event::KeepLead => self.keep_lead(out),
        }
    }

    /// A copy that is of no use says so to whoever asks, and promises nothing.
    fn step_unfit(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Writes(_) => out.push(Action::Refused(Refused::NotPrimary)),
            Event::Received { from, message: Message::Open { term, session } } if term >= self.term() => {
                self.hello(from, (term, session), out);
            }
            Event::Received { from, message: Message::Append(append) } => {
                self.refuse(from, append.session, Refusal::IoError, out);
            }
            _ => {}
        }
    }

    fn receive(&mut self, now: Time, from: CopyId, message: Message, out: &mut Vec<Action>) {
        let term = message.term();
        if let Message::TakeOver { .. } = message {
            // It takes something back, in its own term or in the one that follows; it moves nobody to a term.
            return self.on_take_over(now, term, out);
        }
        if term > self.term() {
            self.promise(term, out);
        }
        if term < self.term() {
            let lax = match message {
                Message::Open { .. } | Message::Append(_) | Message::Snapshot { .. } => Rule::OldTermRefused,
                _ => Rule::AckOfTerm,
            };
            if self.settings.rules.keep(lax) {
                if let Message::Open { session, .. }
                | Message::Append(crate::message::Append { session, .. })
                | Message::Snapshot { session, .. } = message
                {
                    self.refuse(from, session, Refusal::OldTerm, out);
                }
                return;
            }
        }
        match message {
            Message::Open { session, .. } => self.on_open(from, session, out),
            Message::Append(append) => self.on_append(now, from, append, out),
            Message::Snapshot { session, up_to, asked, .. } => {
                self.on_snapshot(now, from, (session, up_to, asked), out);
            }
            Message::Hello(hello) => self.on_hello(now, from, hello, out),
            Message::Ack { session, matched, asked, .. } => {
                self.on_ack(now, from, (session, matched, asked), out);
            }
            Message::Refuse { session, reason, .. } => self.on_refuse(from, session, reason, out),
            Message::TakeOver { .. } => {}
        }
    }

    /// Listens to nobody below `term` any more. Durable before anything else is done.
    pub(crate) fn promise(&mut self, term: Term, out: &mut Vec<Action>) {
        self.step_down(out);
        self.stored.term = term;
        if self.settings.rules.keep(Rule::TermStored) {
            out.push(Action::Store(self.stored.clone()));
        }
        if !self.settings.rules.keep(Rule::TailKeptOnNewTerm) {
            self.cut_to_commit(out);
        }
    }

    pub(crate) fn cut_to_commit(&mut self, out: &mut Vec<Action>) {
        let keep = self.log.commit();
        self.log.cut(keep);
        out.push(Action::Write { cut: Some(keep), after: keep, last: keep });
    }

    pub(crate) fn step_down(&mut self, out: &mut Vec<Action>) {
        if matches!(self.role, Role::Primary(_)) {
            out.push(Action::StepDown);
        }
        // Answers that wait for the disk belong to the term that is over.
        self.role = Role::Follower(Follower::default());
        self.installing = None;
    }

    pub(crate) fn give_up(&mut self, why: Unfit, out: &mut Vec<Action>) {
        self.step_down(out);
        self.unfit = Some(why);
        out.push(Action::Report(why));
    }

    fn on_record(&mut self, now: Time, record: Arc<Record>, live: bool, out: &mut Vec<Action>) {
        let seen = self.stored.record.as_ref().map_or(0, |r| r.config_version);
        let other = record.config_version == seen && self.stored.record.as_ref() != Some(&record);
        if (record.config_version < seen || other) && self.settings.rules.keep(Rule::RecordKept) {
            // A watch lags behind; the store itself doesn't.
            if live {
                self.give_up(Unfit::RecordLost, out);
            }
            return;
        }
        let lax = !self.settings.rules.keep(Rule::RecordKept) && self.stored.record.as_ref() != Some(&record);
        let news = record.config_version > seen || lax;
        if news {
            self.stored.record = Some(record.clone());
        }
        if record.term > self.term() {
            self.promise(record.term, out);
        } else if news {
            out.push(Action::Store(self.stored.clone()));
        }
        if self.primary().is_some() {
            return self.reconfigure(now, news, out);
        }
        if record.primary != self.id() {
            return;
        }
        let mine = record.primary_boot == Some(self.boot) || !self.settings.rules.keep(Rule::BootOfTerm);
        if mine && record.term == self.term() {
            self.elect(now, out);
        } else if record.primary_boot != Some(self.boot) {
            self.propose(&Change::SelfTerm { boot: self.boot }, out);
        }
    }

    /// Asks the store for a change of the newest record that was seen. Says whether it was a legal one.
    pub(crate) fn propose(&mut self, change: &Change, out: &mut Vec<Action>) -> bool {
        let Some(record) = &self.stored.record else { return false };
        let Ok(next) = record.with(change) else { return false };
        out.push(Action::Swap { base: record.config_version, next: Arc::new(next) });
        true
    }

    fn on_durable(&mut self, now: Time, position: Position, out: &mut Vec<Action>) {
        if !self.log.sync(position) {
            return;
        }
        match self.role {
            Role::Primary(_) => self.advance(now, out),
            Role::Follower(_) => self.settle_answer(out),
        }
    }

    /// Applies what is committed, as far as this disk has it: what is applied can't be lost by a crash of the log.
    pub(crate) fn apply(&mut self, out: &mut Vec<Action>) {
        let rules = self.settings.rules;
        let known = if rules.keep(Rule::ApplyCommitted) { self.log.commit() } else { self.log.last() };
        let waits = rules.keep(Rule::ApplyDurable) && rules.keep(Rule::OwnSync);
        let up_to = if waits { known.min(self.log.durable()) } else { known };
        if up_to > self.applied {
            self.applied = up_to;
            out.push(Action::Apply(up_to));
        }
    }

    pub(crate) fn say(&self, to: CopyId, message: Message, out: &mut Vec<Action>) {
        out.push(Action::Send(Envelope { from: self.id(), to, message }));
    }

    pub(crate) fn refuse(&self, to: CopyId, session: u64, reason: Refusal, out: &mut Vec<Action>) {
        self.say(to, Message::Refuse { term: self.term(), session, reason }, out);
    }

    /// What a driver steps through at every heartbeat: sessions that aren't open, what copies lack, changes that wait.
    pub fn due(&self) -> Vec<Event> {
        let Some(primary) = self.primary() else { return Vec::new() };
        let mut events = vec![Event::Tick];
        if primary.pending.is_some() {
            events.push(Event::Settle);
        }
        for peer in &primary.peers {
            if peer.open {
                events.extend([Event::Admit(peer.id), Event::Send(peer.id)]);
            } else {
                events.push(Event::Connected(peer.id));
            }
        }
        events
    }
}
