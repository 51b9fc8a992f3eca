//! A simulated node: one process with one copy, its disk, and the driver between the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use quiver_replica::log::{Log, Position, Run};
use quiver_replica::message::{Append, Envelope, Message};
use quiver_replica::record::{Boot, CopyId, Record};
use quiver_replica::{Action, Copy, Event, Heard, Seq, Settings, Stored, Term, Time, Unfit};

use super::dice::Dice;
use super::world::{Answer, Call, Kind, REGISTERS};

/// As a node's `Pace`: after so long a copy is silent and a hand-over is given up; so often the driver looks.
const SILENCE: Time = 5_000;
const HEARTBEAT: Time = 1_000;

/// One entry's bytes: a value for a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub term: Term,
    pub register: usize,
    pub value: u64,
}

pub type Registers = [u64; REGISTERS];

/// What a power cut leaves, and what the process sees of it.
#[derive(Clone, Debug)]
pub struct Disk {
    pub stored: Stored,
    pub entries: Vec<Entry>,
    pub synced: Vec<Entry>,
    /// The log begins behind this entry: the segments hold everything up to it.
    pub base: Position,
    /// The segments hold everything up to here: all that was applied when they were written.
    pub flushed: Seq,
    pub busy: bool,
    pub dirty: bool,
    /// Times of the world until which it answers late, or has no room.
    pub stalled: Time,
    pub full: Time,
    pub fails: bool,
}

/// What a node wants of the world, in this order.
pub enum Want {
    Send(Envelope, Vec<Entry>),
    Sync,
    Swap(u64, Arc<Record>),
    Fetch,
    Install(CopyId, Position),
    Answer(Call, Answer),
}

pub struct Node {
    pub copy: Option<Copy>,
    pub disk: Disk,
    pub boot: Boot,
    /// What was meant for an earlier life doesn't reach this one.
    pub life: u64,
    /// Local milliseconds in a second.
    pub rate: u64,
    pub offset: u64,
    pub paused: Time,
    pub registers: Registers,
    pub waiting: BTreeMap<Seq, Call>,
    pub reads: Vec<(Seq, Call)>,
    pub heard: Heard,
    /// When a strong read was last refused for want of a lease.
    pub denied: Option<Time>,
    pub draining: Option<Time>,
    /// Its log has taken entries without those before them.
    pub gap: bool,
}

impl Disk {
    pub fn empty(id: CopyId) -> Self {
        let stored = Stored { id, term: 0, record: None, led: None };
        let (entries, synced, base) = (Vec::new(), Vec::new(), Position::default());
        let (busy, dirty, fails) = (false, false, false);
        Self { stored, entries, synced, base, flushed: 0, busy, dirty, stalled: 0, full: 0, fails }
    }

    /// The end of the log by name.
    pub fn end(entries: &[Entry]) -> Position {
        Position { seq: entries.len() as Seq, term: entries.last().map_or(0, |e| e.term) }
    }

    /// Power is gone: of what wasn't synced a prefix may be there, up to a torn entry, which recovery drops. Says whether the segments
    /// hold more than the log then, which must not be.
    pub fn cut_power(&mut self, dice: &mut Dice) -> bool {
        let common = self.entries.iter().zip(&self.synced).take_while(|(a, b)| a == b).count();
        if common == self.synced.len() || dice.chance(500) {
            let keep = common + dice.below(self.entries.len() - common + 1);
            self.synced = self.entries[..keep].to_vec();
        }
        self.entries = self.synced.clone();
        (self.busy, self.dirty, self.fails) = (false, false, false);
        if self.base.seq as usize > self.entries.len() {
            self.base = Self::end(&self.entries);
        }
        let more = self.flushed > self.entries.len() as Seq;
        self.flushed = self.flushed.min(self.entries.len() as Seq);
        more
    }

    fn log(&self) -> Log {
        let mut runs: Vec<Run> = Vec::new();
        for (i, entry) in self.entries.iter().enumerate().skip(self.base.seq as usize) {
            if runs.last().is_none_or(|r| r.term != entry.term) {
                runs.push(Run { first: i as Seq + 1, term: entry.term });
            }
        }
        Log::new(self.base, runs, self.entries.len() as Seq).expect("a recovered log is well formed")
    }

    fn registers(&self, up_to: Seq) -> Registers {
        let mut registers = [0; REGISTERS];
        self.entries.iter().take(up_to as usize).for_each(|e| registers[e.register] = e.value);
        registers
    }
}

impl Node {
    pub fn new(id: CopyId, boot: Boot, settings: Settings, dice: &mut Dice) -> Self {
        Self {
            copy: Some(Copy::create(settings, id, boot, Log::empty())),
            disk: Disk::empty(id),
            boot,
            life: 0,
            rate: 800 + dice.below(401) as u64,
            offset: dice.below(1_000_000) as u64,
            paused: 0,
            registers: [0; REGISTERS],
            waiting: BTreeMap::new(),
            reads: Vec::new(),
            heard: Heard::new(SILENCE, HEARTBEAT),
            denied: None,
            draining: None,
            gap: false,
        }
    }

    pub fn clock(&self, world: Time) -> Time {
        self.offset + world * self.rate / 1000
    }

    pub fn stop(&mut self) {
        self.copy = None;
        self.life += 1;
        self.waiting.clear();
        self.reads.clear();
        self.heard = Heard::new(SILENCE, HEARTBEAT);
        (self.denied, self.draining) = (None, None);
    }

    pub fn start(&mut self, boot: Boot, settings: Settings, now: Time) {
        self.boot = boot;
        self.registers = self.disk.registers(self.disk.base.seq);
        let stored = self.disk.stored.clone();
        self.copy = Some(Copy::start(settings, boot, stored, self.disk.log(), now));
    }

    /// Another directory, and with it another copy.
    pub fn make_anew(&mut self, id: CopyId, boot: Boot, settings: Settings) {
        self.stop();
        self.boot = boot;
        self.disk = Disk::empty(id);
        self.registers = [0; REGISTERS];
        self.copy = Some(Copy::create(settings, id, boot, Log::empty()));
    }

    /// Steps the copy and carries out what it says. `entries` go with the message or the write, by the seq of the first.
    pub fn step(&mut self, now: Time, event: Event, entries: (Seq, &[Entry]), wants: &mut Vec<Want>) {
        let Some(copy) = &mut self.copy else { return };
        let mut actions = Vec::new();
        copy.step(now, event, &mut actions);
        for action in actions {
            match action {
                Action::Store(stored) => self.disk.stored = stored,
                Action::Write { cut, after, last } => {
                    self.write(cut, (after, last), entries);
                    wants.push(Want::Sync);
                }
                Action::Send(envelope) => {
                    let with = self.entries_of(&envelope.message);
                    wants.push(Want::Send(envelope, with));
                }
                Action::Swap { base, next } => wants.push(Want::Swap(base, next)),
                Action::Fetch => wants.push(Want::Fetch),
                Action::Apply(seq) => self.apply(seq, wants),
                Action::Install { from, up_to } => wants.push(Want::Install(from, up_to)),
                Action::StepDown => {
                    self.waiting.clear();
                    self.draining = None;
                }
                Action::Lead(_) => {
                    self.heard.lead(now);
                    self.denied = None;
                }
                Action::Accepted(_) | Action::Refused(_) | Action::Report(_) => {}
            }
        }
        self.answer_reads(wants);
    }

    fn entries_of(&self, message: &Message) -> Vec<Entry> {
        let Message::Append(Append { previous, last, .. }) = message else { return Vec::new() };
        self.disk.entries[previous.seq as usize..*last as usize].to_vec()
    }

    fn write(&mut self, cut: Option<Seq>, (after, last): (Seq, Seq), (first, given): (Seq, &[Entry])) {
        let log = &mut self.disk.entries;
        if let Some(keep) = cut {
            log.truncate(keep as usize);
        }
        log.truncate(after as usize);
        let taken = (after + 1..=last).map_while(|seq| given.get(seq.checked_sub(first)? as usize));
        log.extend(taken);
        self.gap |= log.len() < last as usize;
    }

    fn apply(&mut self, seq: Seq, wants: &mut Vec<Want>) {
        self.registers = self.disk.registers(seq);
        let later = self.waiting.split_off(&(seq + 1));
        let answered = std::mem::replace(&mut self.waiting, later);
        wants.extend(answered.into_values().map(|call| Want::Answer(call, Answer::Written)));
    }

    fn answer_reads(&mut self, wants: &mut Vec<Want>) {
        let Some(copy) = &self.copy else { return };
        let applied = copy.applied();
        let registers = &self.registers;
        self.reads.retain(|(seq, call)| {
            if *seq <= applied {
                wants.push(Want::Answer(*call, Answer::Read(registers[call.register], true)));
            }
            *seq > applied
        });
    }

    /// A client asks. `stale`: a strong read is answered by anybody, as a broken node might.
    pub fn call(&mut self, world: Time, call: Call, stale: bool, wants: &mut Vec<Want>) {
        let now = self.clock(world);
        let Some(copy) = &self.copy else { return };
        match call.kind {
            Kind::Write if self.disk.full > world => wants.push(Want::Answer(call, Answer::Refused)),
            Kind::Write => {
                let (before, seq) = (copy.log().last(), copy.log().last() + 1);
                let entry = Entry { term: copy.term(), register: call.register, value: call.value };
                self.waiting.insert(seq, call);
                self.step(now, Event::Writes(1), (seq, &[entry]), wants);
                let accepted = self.copy.as_ref().is_some_and(|c| c.log().last() > before);
                if !accepted {
                    self.waiting.remove(&seq);
                    wants.push(Want::Answer(call, Answer::Refused));
                }
            }
            Kind::Strong if !stale => match copy.strong_read(now) {
                Ok(seq) => {
                    self.reads.push((seq, call));
                    self.answer_reads(wants);
                }
                Err(denied) => {
                    let lease = matches!(denied, quiver_replica::Denied::NoLease(_));
                    self.denied = if lease { Some(now) } else { self.denied };
                    wants.push(Want::Answer(call, Answer::Refused));
                }
            },
            _ => {
                let (value, fresh) = (self.registers[call.register], copy.fresh(now));
                wants.push(Want::Answer(call, Answer::Read(value, fresh)));
            }
        }
    }

    /// A message arrives; a full disk takes no entries.
    pub fn receive(&mut self, world: Time, envelope: Envelope, entries: &[Entry], wants: &mut Vec<Want>) {
        let now = self.clock(world);
        let Some(copy) = &self.copy else { return };
        if envelope.to != copy.id() {
            return;
        }
        self.heard.hear(envelope.from, now);
        let Envelope { from, message, .. } = envelope;
        let event = match &message {
            Message::Append(append) if self.disk.full > world && !append.runs.is_empty() => {
                Event::NoSpace { from, session: append.session }
            }
            _ => Event::Received { from, message: message.clone() },
        };
        let first = if let Message::Append(append) = &message { append.previous.seq + 1 } else { 1 };
        self.step(now, event, (first, entries), wants);
    }

    /// A heartbeat: what is due, whom nobody has heard of, and a hand-over that takes too long.
    pub fn beat(&mut self, now: Time, wants: &mut Vec<Want>) {
        let Some(copy) = &self.copy else { return };
        let mut events = copy.due();
        self.heard.look(now);
        if let Some(primary) = copy.primary() {
            let waits =
                copy.log().last() > copy.log().commit() || self.denied.is_some_and(|d| d + SILENCE > now);
            for peer in primary.peers.iter().filter(|p| copy.requires(p.id)) {
                if waits && self.heard.silent(peer.id, now) {
                    events.push(Event::Silent(peer.id));
                }
            }
        }
        if copy.draining().is_some() {
            let since = *self.draining.get_or_insert(now);
            if now > since + SILENCE {
                events.push(Event::KeepLead);
            }
        } else {
            self.draining = None;
        }
        events.into_iter().for_each(|event| self.step(now, event, (1, &[]), wants));
    }

    /// The files of a snapshot are fetched. They take the place of everything only if they are still asked for.
    pub fn install(
        &mut self,
        now: Time,
        up_to: Position,
        files: Vec<Entry>,
        late: bool,
        wants: &mut Vec<Want>,
    ) {
        let wanted = self.copy.as_ref().is_some_and(|c| c.installing() == Some(up_to));
        if self.copy.is_none() || !(wanted || late) {
            return;
        }
        self.disk.entries = files.clone();
        self.disk.synced = files;
        (self.disk.base, self.disk.flushed) = (up_to, up_to.seq);
        self.registers = self.disk.registers(up_to.seq);
        self.step(now, Event::Installed(up_to), (1, &[]), wants);
    }

    /// Writes all that is applied to segments, and cuts the log off behind it.
    pub fn compact(&mut self) {
        if let Some(copy) = &mut self.copy {
            self.disk.flushed = copy.applied();
            copy.compact(copy.applied());
            self.disk.base = copy.log().base();
        }
    }

    /// Whether it has released what it leads while writers wait.
    pub fn leaves_writers(&self) -> bool {
        let Some(copy) = &self.copy else { return false };
        let released = copy.primary().and_then(|p| p.hand_over).is_some_and(|h| h.released);
        released && copy.log().last() > copy.log().commit()
    }

    pub fn unfit(&self) -> Option<Unfit> {
        self.copy.as_ref().and_then(Copy::unfit)
    }
}
