//! A whole shard in one thread: nodes, network, store, operator and clients, driven by one queue of events from one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use quiver_replica::log::Position;
use quiver_replica::message::Envelope;
use quiver_replica::plan::{Pod, Reported, plan};
use quiver_replica::record::{Boot, CopyId, Record};
use quiver_replica::{Event, Rules, Seq, Settings, Time};

use super::client::{Client, Told};
use super::dice::Dice;
use super::node::{Disk, Entry, Node, Want};

pub const REGISTERS: usize = 4;
pub const CLIENTS: usize = 4;
/// Faults end here, and the shard has to be well again one minute later.
pub const CALM: Time = 40_000;
pub const WELL: Time = CALM + 60_000;
/// All is still when the shard has been well and its record the same for so long: a copy that has come to lead commits when what it
/// granted is over, which takes 10 s by its own clock.
const STILL: Time = 15_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Strong,
    Ordinary,
}

/// What a client asks a node. `number` names the operation in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub client: usize,
    pub number: usize,
    pub kind: Kind,
    pub register: usize,
    pub value: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Written,
    /// A value, and whether it is said to be fresh.
    Read(u64, bool),
    /// Definitely not done.
    Refused,
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, Default)]
pub struct Breakage {
    pub rules: Rules,
    pub no_fsync: bool,
    pub stale_strong_reads: bool,
    pub blind_retry: bool,
    pub late_installs: bool,
}

/// What reaches a node's process.
#[derive(Clone)]
pub enum Arrival {
    Message(Envelope, Vec<Entry>),
    Synced(Vec<Entry>),
    Installed(Position, Vec<Entry>),
    /// The record, and the version that was known when the store was asked; none from a watch.
    Record(Arc<Record>, Option<u64>),
    Unanswered,
    Call(Call),
    Beat,
}

pub enum Happening {
    Arrives(usize, u64, Arrival),
    Starts(usize, u64),
    Swap(usize, u64, u64, Arc<Record>),
    Fetch(usize, u64, u64),
    Plans(Arc<Record>),
    Operator,
    Fault,
    Acts(usize, usize),
    Answered(Call, Answer),
    GivesUp(Call),
}

struct Queued(Time, u64, Happening);

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

pub struct World {
    pub dice: Dice,
    pub broken: Breakage,
    pub settings: Settings,
    pub now: Time,
    pub events: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    pub nodes: Vec<Node>,
    /// Who can't send to whom; the last place is the store's.
    pub blocked: Vec<Vec<bool>>,
    /// Messages of a thousand that get lost, and that take long.
    pub lossy: usize,
    pub slow: usize,
    pub record: Arc<Record>,
    /// When it last changed.
    pub recorded_at: Time,
    pub in_flight: usize,
    pub outage: Time,
    pub slow_watch: Time,
    pub operator_gone: Time,
    /// When each node last renewed its lease, and what it said it has.
    pub reports: Vec<Option<(Time, Boot, Reported)>>,
    pub clients: Vec<Client>,
    pub told: Told,
    pub next_id: u128,
    pub compacts: bool,
    pub faults: BTreeMap<&'static str, u64>,
    /// A copy in sync that files were installed in that had less than it had before.
    pub set_back: Option<CopyId>,
    /// A promise that was broken although no client noticed, in words.
    pub broke: Option<&'static str>,
    pub well_at: Option<Time>,
    /// Nothing happens by chance but that things take their time: a schedule says what does.
    pub scheduled: bool,
    /// Messages from one node to another that wait, and who they are for in which life.
    pub held: Option<(usize, usize)>,
    pub mail: Vec<(usize, u64, Arrival)>,
}

/// How large a world is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub nodes: usize,
    pub min_in_sync: usize,
    pub batch: u64,
}

impl World {
    pub fn new(seed: u64, broken: Breakage) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = if dice.chance(250) { 2 } else { 3 };
        let min_in_sync = if nodes == 3 && dice.chance(300) { 2 } else { 1 };
        let batch = if dice.chance(300) { 2 } else { 1024 };
        Self::of_size(dice, Size { nodes, min_in_sync, batch }, broken)
    }

    pub fn of_size(mut dice: Dice, size: Size, broken: Breakage) -> Self {
        let Size { nodes: count, min_in_sync, batch } = size;
        let settings = Settings { rules: broken.rules, min_in_sync, batch, ..Settings::default() };
        let node =
            |i: usize, dice: &mut Dice| Node::new(CopyId(i as u128 + 1), Boot(i as u128 + 1), settings, dice);
        let nodes: Vec<Node> = (0..count).map(|i| node(i, &mut dice)).collect();
        let mut world = Self {
            broken,
            settings,
            now: 0,
            events: 0,
            queue: BinaryHeap::new(),
            blocked: vec![vec![false; count + 1]; count + 1],
            lossy: 0,
            slow: 5,
            record: Arc::new(Record::genesis(CopyId(1), pod(0))),
            recorded_at: 0,
            in_flight: 0,
            outage: 0,
            slow_watch: 0,
            operator_gone: 0,
            reports: vec![None; count],
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            told: Told::default(),
            next_id: 100,
            compacts: dice.chance(600) && !broken.no_fsync,
            faults: BTreeMap::new(),
            set_back: None,
            broke: None,
            well_at: None,
            scheduled: false,
            held: None,
            mail: Vec::new(),
            nodes,
            dice,
        };
        (0..count).for_each(|i| world.at(i as u64, Happening::Arrives(i, 0, Arrival::Beat)));
        (0..CLIENTS).for_each(|c| world.at(500 + c as u64, Happening::Acts(c, 0)));
        world.at(100, Happening::Operator);
        world.at(5_000, Happening::Fault);
        world
    }

    pub fn at(&mut self, time: Time, what: Happening) {
        self.events += 1;
        self.queue.push(Reverse(Queued(time.max(self.now), self.events, what)));
    }

    pub fn after(&mut self, low: u64, high: u64, what: Happening) {
        let delay = self.dice.within(low, high);
        self.at(self.now + delay, what);
    }

    /// Runs until the shard is well after all faults, or should have been, and then until all is still.
    pub fn run(&mut self) {
        while let Some((time, what)) = self.next() {
            // A swap that was queued somewhere may still hand the lead over after the shard was well.
            if time > self.well_at.map_or(WELL, |well| well.max(self.recorded_at) + STILL) {
                return;
            }
            self.now = time;
            self.happen(what);
            if self.now > CALM && self.well_at.is_none() && self.well() {
                self.well_at = Some(self.now);
            }
        }
    }

    /// What happens next, and when.
    pub fn next(&mut self) -> Option<(Time, Happening)> {
        self.queue.pop().map(|Reverse(Queued(time, _, what))| (time, what))
    }

    /// All copies are in sync, and a write that began after the last fault is acknowledged.
    fn well(&self) -> bool {
        self.record.in_sync_count() == self.nodes.len() && self.told.written_after(CALM)
    }

    /// Whether a copy is left from which the shard can come back.
    pub fn recoverable(&self) -> bool {
        let in_sync = |n: &Node| self.record.in_sync(n.disk.stored.id);
        self.nodes.iter().any(|n| in_sync(n) && n.unfit().is_none())
    }

    pub fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrives(i, life, arrival) => self.arrive(i, life, arrival),
            Happening::Starts(i, life) if self.nodes[i].life == life => self.start(i),
            Happening::Starts(..) => {}
            Happening::Swap(i, life, base, next) => self.swap(i, life, base, next),
            Happening::Fetch(i, life, known) => self.answer_fetch(i, life, known),
            Happening::Plans(next) => {
                self.in_flight -= 1;
                self.store(next);
            }
            Happening::Operator => self.operate(),
            Happening::Fault | Happening::Acts(..) if self.scheduled => {}
            Happening::Fault => self.fault(),
            Happening::Acts(c, turn) => self.act(c, turn),
            Happening::Answered(call, answer) => self.answered(call, answer),
            Happening::GivesUp(call) => self.give_up(call),
        }
    }

    fn arrive(&mut self, i: usize, life: u64, arrival: Arrival) {
        if self.nodes[i].life != life || self.nodes[i].copy.is_none() {
            return;
        }
        if self.nodes[i].paused > self.now {
            return self.at(self.nodes[i].paused, Happening::Arrives(i, life, arrival));
        }
        let (world, stale) = (self.now, self.broken.stale_strong_reads);
        let mut wants = Vec::new();
        let node = &mut self.nodes[i];
        let now = node.clock(world);
        match arrival {
            Arrival::Message(envelope, entries) => node.receive(world, envelope, &entries, &mut wants),
            Arrival::Synced(entries) => return self.synced(i, entries),
            Arrival::Installed(up_to, files) => {
                let (id, had) = (node.disk.stored.id, node.disk.entries.len());
                node.install(now, up_to, files, self.broken.late_installs, &mut wants);
                if node.disk.entries.len() < had && self.record.in_sync(id) {
                    self.set_back = Some(id);
                }
            }
            Arrival::Record(record, known) => {
                // The store's own answer may be older than what was learned while it was on its way.
                let live = known.is_some_and(|known| {
                    let seen = node.copy.as_ref().and_then(|c| c.record()).map_or(0, |r| r.config_version);
                    record.config_version < known || record.config_version >= seen
                });
                node.step(now, Event::Record { record, live }, (1, &[]), &mut wants);
            }
            Arrival::Unanswered => node.step(now, Event::Unanswered, (1, &[]), &mut wants),
            Arrival::Call(call) => node.call(world, call, stale, &mut wants),
            Arrival::Beat => return self.beat(i),
        }
        self.carry_out(i, wants);
    }

    fn beat(&mut self, i: usize) {
        let mut wants = Vec::new();
        let (now, life) = (self.nodes[i].clock(self.now), self.nodes[i].life);
        self.nodes[i].beat(now, &mut wants);
        wants.push(Want::Fetch);
        self.carry_out(i, wants);
        if self.compacts && self.dice.chance(100) {
            self.nodes[i].compact();
        }
        self.report(i);
        self.mend(i);
        if self.nodes[i].life == life {
            let local = 1000 * 1000 / self.nodes[i].rate;
            self.at(self.now + local, Happening::Arrives(i, life, Arrival::Beat));
        }
    }

    /// Renews the node's lease, and says what it has.
    fn report(&mut self, i: usize) {
        let store = self.nodes.len();
        let reachable = !self.blocked[i][store] && self.outage <= self.now;
        if let Some(copy) = &self.nodes[i].copy
            && reachable
        {
            let fit = copy.unfit().is_none();
            let reported = Reported { id: copy.id(), term: copy.term(), durable: copy.log().durable(), fit };
            self.reports[i] = Some((self.now, copy.boot(), reported));
        }
    }

    /// A failed disk ends the process. Damaged data is made anew when the store itself says that others have everything.
    fn mend(&mut self, i: usize) {
        match self.nodes[i].unfit() {
            Some(quiver_replica::Unfit::DiskFailed) => self.crash(i, 1_000, 4_000),
            Some(quiver_replica::Unfit::Damaged) => {
                let id = self.nodes[i].disk.stored.id;
                let others = self.record.copies.iter().any(|c| c.in_sync && c.id != id);
                if others && !self.record.in_sync(id) {
                    self.make_anew(i);
                }
            }
            _ => {}
        }
    }

    pub fn crash(&mut self, i: usize, low: u64, high: u64) {
        self.nodes[i].stop();
        if self.nodes[i].disk.cut_power(&mut self.dice) {
            self.broke = Some("segments hold what the log has lost");
        }
        let life = self.nodes[i].life;
        self.after(low, high, Happening::Starts(i, life));
    }

    fn start(&mut self, i: usize) {
        self.next_id += 1;
        let (boot, now) = (Boot(self.next_id), self.nodes[i].clock(self.now));
        self.nodes[i].start(boot, self.settings, now);
        self.at(self.now, Happening::Arrives(i, self.nodes[i].life, Arrival::Beat));
    }

    pub fn make_anew(&mut self, i: usize) {
        self.next_id += 2;
        let old = self.nodes[i].disk.stored.id;
        let kept = self.record.may_start_empty(old, self.settings.rules)
            || !self.settings.rules.keep(quiver_replica::Rule::IdOfDisk);
        let id = if kept { old } else { CopyId(self.next_id) };
        self.nodes[i].make_anew(id, Boot(self.next_id - 1), self.settings);
        self.at(self.now, Happening::Arrives(i, self.nodes[i].life, Arrival::Beat));
    }

    pub fn carry_out(&mut self, i: usize, wants: Vec<Want>) {
        let life = self.nodes[i].life;
        if self.nodes[i].leaves_writers() {
            self.broke = Some("a hand-over leaves writers without an answer");
        }
        if self.nodes[i].gap {
            self.broke = Some("a log has a gap");
        }
        for want in wants {
            match want {
                Want::Send(envelope, entries) => self.post(i, envelope, entries),
                Want::Sync => self.sync(i),
                Want::Swap(base, next) => {
                    self.in_flight += 1;
                    self.after(1, 60, Happening::Swap(i, life, base, next));
                }
                Want::Fetch => {
                    let known = self.nodes[i].copy.as_ref().and_then(|c| c.record());
                    let known = known.map_or(0, |r| r.config_version);
                    self.after(1, 60, Happening::Fetch(i, life, known));
                }
                Want::Install(from, up_to) => self.fetch_files(i, from, up_to),
                Want::Answer(call, answer) => {
                    if !self.dice.chance(self.lossy) {
                        self.after(1, 10, Happening::Answered(call, answer));
                    }
                }
            }
        }
    }

    fn node_of(&self, id: CopyId) -> Option<usize> {
        self.nodes.iter().position(|n| n.disk.stored.id == id)
    }

    fn post(&mut self, i: usize, envelope: Envelope, entries: Vec<Entry>) {
        let Some(j) = self.node_of(envelope.to) else { return };
        if self.blocked[i][j] || self.dice.chance(self.lossy) {
            return;
        }
        let life = self.nodes[j].life;
        if self.held == Some((i, j)) {
            return self.mail.push((j, life, Arrival::Message(envelope, entries)));
        }
        let (low, high) = if self.dice.chance(self.slow) { (50, 2_500) } else { (1, 15) };
        self.after(low, high, Happening::Arrives(j, life, Arrival::Message(envelope, entries)));
    }

    fn sync(&mut self, i: usize) {
        let disk = &mut self.nodes[i].disk;
        disk.dirty = true;
        if disk.busy {
            return;
        }
        (disk.busy, disk.dirty) = (true, false);
        let (entries, stalled, life) = (disk.entries.clone(), disk.stalled, self.nodes[i].life);
        let begins = self.now.max(stalled);
        let takes = self.dice.within(1, 12);
        self.at(begins + takes, Happening::Arrives(i, life, Arrival::Synced(entries)));
    }

    fn synced(&mut self, i: usize, entries: Vec<Entry>) {
        let node = &mut self.nodes[i];
        let now = node.clock(self.now);
        let mut wants = Vec::new();
        node.disk.busy = false;
        if node.disk.fails {
            node.step(now, Event::DiskFailed, (1, &[]), &mut wants);
        } else {
            let end = Disk::end(&entries);
            if !self.broken.no_fsync && entries.len() >= node.disk.base.seq as usize {
                node.disk.synced = entries;
            }
            node.step(now, Event::Durable(end), (1, &[]), &mut wants);
            if node.disk.dirty {
                wants.push(Want::Sync);
            }
        }
        self.carry_out(i, wants);
    }

    /// Files as of an entry are read at once and arrive late.
    fn fetch_files(&mut self, i: usize, from: CopyId, up_to: Position) {
        let Some(j) = self.node_of(from).filter(|j| !self.blocked[*j][i]) else { return };
        let files: Vec<Entry> = self.nodes[j].disk.entries.iter().take(up_to.seq as usize).copied().collect();
        let (life, there) = (self.nodes[i].life, Disk::end(&files) == up_to);
        if there && self.nodes[j].copy.is_some() {
            self.after(20, 4_000, Happening::Arrives(i, life, Arrival::Installed(up_to, files)));
        }
    }

    fn unreachable(&self, i: usize) -> bool {
        self.outage > self.now || self.blocked[i][self.nodes.len()]
    }

    fn swap(&mut self, i: usize, life: u64, base: u64, next: Arc<Record>) {
        self.in_flight -= 1;
        if self.unreachable(i) {
            return self.after(1_000, 2_000, Happening::Arrives(i, life, Arrival::Unanswered));
        }
        if self.dice.chance(30) {
            // Queued somewhere, and applied long after its sender gave up on it.
            self.in_flight += 1;
            self.after(500, 8_000, Happening::Swap(i, life, base, next));
            return self.after(300, 400, Happening::Arrives(i, life, Arrival::Unanswered));
        }
        let taken = self.record.config_version == base || !self.compares();
        self.store(next.clone());
        let answer = if taken && !self.dice.chance(100) && *self.record == *next {
            Arrival::Record(next, Some(base))
        } else {
            Arrival::Unanswered
        };
        self.after(1, 60, Happening::Arrives(i, life, answer));
    }

    fn compares(&self) -> bool {
        self.settings.rules.keep(quiver_replica::Rule::CompareAndSwap)
    }

    pub fn store(&mut self, next: Arc<Record>) {
        if self.record.accepts(&next, self.settings.rules).is_err() {
            return;
        }
        (self.record, self.recorded_at) = (next, self.now);
        for i in 0..self.nodes.len() {
            if self.unreachable(i) || self.dice.chance(100) {
                continue;
            }
            let high = if self.slow_watch > self.now { 9_000 } else { 100 };
            let (life, record) = (self.nodes[i].life, self.record.clone());
            self.after(2, high, Happening::Arrives(i, life, Arrival::Record(record, None)));
        }
    }

    fn answer_fetch(&mut self, i: usize, life: u64, known: u64) {
        if !self.unreachable(i) {
            let record = self.record.clone();
            self.after(1, 60, Happening::Arrives(i, life, Arrival::Record(record, Some(known))));
        }
    }

    /// The operator: a pure plan from what it sees, once a second.
    fn operate(&mut self) {
        self.after(800, 1_200, Happening::Operator);
        if self.outage > self.now || self.operator_gone > self.now {
            return;
        }
        let pods: Vec<Pod> = (0..self.nodes.len())
            .map(|i| {
                let report = self.reports[i];
                let alive = report.is_some_and(|(at, ..)| at + 5_000 > self.now);
                let (boot, copy) = (report.map_or(Boot(0), |r| r.1), report.map(|r| r.2));
                Pod { name: pod(i), alive, boot, copy }
            })
            .collect();
        if let Some(change) = plan(&self.record, &pods)
            && let Ok(next) = self.record.with(&change)
        {
            let late = if self.dice.chance(50) { 4_000 } else { 60 };
            self.in_flight += 1;
            self.after(1, late, Happening::Plans(Arc::new(next)));
        }
    }

    /// A planned hand-over to any other copy in sync.
    pub fn hand_over(&mut self, i: usize, j: usize) {
        let to = self.nodes[j].disk.stored.id;
        let boot = self.nodes[j].boot;
        let now = self.nodes[i].clock(self.now);
        let mut wants = Vec::new();
        if self.nodes[i].paused <= self.now {
            self.nodes[i].step(now, Event::HandOver { to, boot }, (1, &[]), &mut wants);
            self.carry_out(i, wants);
        }
    }

    /// A call reaches a node, if it does.
    pub fn ask(&mut self, i: usize, call: Call) {
        let life = self.nodes[i].life;
        if !self.dice.chance(self.lossy) {
            self.after(1, 10, Happening::Arrives(i, life, Arrival::Call(call)));
        }
    }

    /// The log that all others have to agree with.
    pub fn log_of_primary(&self) -> Option<(&[Entry], Seq)> {
        let node = self.nodes.iter().find(|n| n.disk.stored.id == self.record.primary)?;
        let commit = node.copy.as_ref()?.log().commit();
        Some((&node.disk.entries, commit))
    }
}

pub fn pod(node: usize) -> Arc<str> {
    ["p0", "p1", "p2"][node].into()
}
