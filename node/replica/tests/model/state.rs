//! The world of the model: nodes with disks, messages on their way, requests on their way to the store, and its bounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use quiver_replica::log::{Log, Position, Run};
use quiver_replica::message::Envelope;
use quiver_replica::record::{Boot, Change, CopyId, Placed, Record};
use quiver_replica::{Copy, Event, Rules, Seq, Settings, Stored, Term, Time};

/// Every clock always shows this. What has run out was given at 0.
pub const NOW: Time = 1_000_000;

/// One entry's bytes: the term in which it was written, and which write it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    pub term: Term,
    pub value: u8,
}

/// A message, and the bytes of the entries it carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parcel {
    pub envelope: Envelope,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    pub stored: Stored,
    /// As the process sees it.
    pub entries: Vec<Entry>,
    /// As a power cut leaves it.
    pub synced: Vec<Entry>,
    /// What was applied, whether or not the process still knows.
    pub applied: Vec<Entry>,
    /// What the segments hold; the log begins behind it.
    pub base: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub copy: Copy,
    pub disk: Disk,
    pub boots: u8,
    /// Its volume was put back to an older state, under the same id.
    pub set_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub record: Arc<Record>,
    pub nodes: Vec<Node>,
    pub net: BTreeSet<Parcel>,
    /// A version, and the record to be put in its place.
    pub requests: BTreeSet<(u64, Arc<Record>)>,
    /// What a client may have been told is written.
    pub acked: BTreeSet<(Seq, Entry)>,
    pub writes: u8,
    pub restarts: u8,
    pub wipes: u8,
    pub set_backs: u8,
    pub hand_overs: u8,
    pub store_set_backs: u8,
    /// What the store held before, as far as it may be put back to it.
    pub backups: BTreeSet<Arc<Record>>,
    /// The record before the store was set back.
    pub newest: Arc<Record>,
    pub next_id: u8,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// All copies are in sync and empty, and the first leads.
    Populated,
    /// One copy is listed, and nobody has led yet.
    Genesis,
}

/// The bounds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub start: Start,
    pub nodes: usize,
    pub writes: u8,
    pub version: u64,
    pub term: Term,
    pub restarts: u8,
    pub wipes: u8,
    /// Volumes that are put back to when they were empty, under the same id.
    pub set_backs: u8,
    /// Hand-overs that are asked for.
    pub hand_overs: u8,
    /// How often the store is put back to an older record: when all have seen the newest, and that can't rise further.
    pub store_set_backs: u8,
    /// With fewer copies in sync, writes are refused.
    pub min_in_sync: usize,
    /// Messages on their way at once.
    pub net: usize,
    /// Requests on their way to the store at once.
    pub requests: usize,
    /// Whether the operator removes copies on its own.
    pub operator_removes: bool,
    /// Whether the disks of followers take their time as well.
    pub slow_disks: bool,
    /// Whether sessions are opened by messages that can be late, instead of at once.
    pub late_hello: bool,
    /// Whether logs are cut off at their beginning, so that who comes late gets files.
    pub compacts: bool,
    /// Entries of one message.
    pub batch: u64,
    pub rules: Rules,
}

impl Bounds {
    pub fn settings(&self) -> Settings {
        Settings {
            rules: self.rules,
            batch: self.batch,
            min_in_sync: self.min_in_sync,
            ..Settings::default()
        }
    }

    pub fn first(&self) -> State {
        let id = |i: usize| CopyId(i as u128 + 1);
        let mut record = Record::genesis(id(0), pod(0));
        if self.start == Start::Populated {
            record.primary_boot = Some(boot(0, 0));
            let others = (1..self.nodes).map(|i| Placed::new(id(i), pod(i), true));
            record.copies.extend(others);
        }
        let nodes = (0..self.nodes).map(|i| Node::empty(self, id(i), i, 0)).collect();
        let record = Arc::new(record);
        let mut state = State {
            newest: record.clone(),
            record,
            nodes,
            net: BTreeSet::new(),
            requests: BTreeSet::new(),
            acked: BTreeSet::new(),
            writes: 0,
            restarts: 0,
            wipes: 0,
            set_backs: 0,
            hand_overs: 0,
            store_set_backs: 0,
            backups: BTreeSet::new(),
            next_id: self.nodes as u8 + 1,
        };
        if self.start == Start::Populated {
            for i in 0..self.nodes {
                let record = state.record.clone();
                state.step(self, i, Event::Record { record, live: true }, &[]);
            }
        }
        state
    }
}

pub fn pod(node: usize) -> Arc<str> {
    ["p0", "p1", "p2"][node].into()
}

pub fn boot(node: usize, boots: u8) -> Boot {
    Boot(node as u128 * 100 + u128::from(boots))
}

impl Node {
    /// A directory made just now.
    pub fn empty(bounds: &Bounds, id: CopyId, node: usize, boots: u8) -> Self {
        let copy = Copy::create(bounds.settings(), id, boot(node, boots), Log::empty());
        let stored = Stored { id, term: 0, record: None, led: None };
        let base = Position::default();
        let disk = Disk { stored, entries: Vec::new(), synced: Vec::new(), applied: Vec::new(), base };
        Self { copy, disk, boots, set_back: false }
    }

    /// The process starts again with what its disk kept.
    pub fn restart(&mut self, bounds: &Bounds, node: usize) {
        self.boots += 1;
        self.disk.entries = self.disk.synced.clone();
        let mut runs: Vec<Run> = Vec::new();
        let base = self.disk.base;
        for (i, entry) in self.disk.entries.iter().enumerate().skip(base.seq as usize) {
            if runs.last().is_none_or(|r| r.term != entry.term) {
                runs.push(Run { first: i as Seq + 1, term: entry.term });
            }
        }
        let last = self.disk.entries.len() as Seq;
        let log = Log::new(base, runs, last).unwrap_or_else(|_| Log::empty());
        let stored = self.disk.stored.clone();
        self.copy = Copy::start(bounds.settings(), boot(node, self.boots), stored, log, NOW);
    }

    pub fn id(&self) -> CopyId {
        self.copy.id()
    }
}

impl State {
    pub fn node_of(&self, id: CopyId) -> Option<usize> {
        self.nodes.iter().position(|n| n.id() == id)
    }

    /// A request to the store, if there is room for one more on the way; otherwise it is lost.
    pub fn request(&mut self, bounds: &Bounds, base: u64, next: Arc<Record>) {
        if self.requests.len() < bounds.requests && base < bounds.version && next.term <= bounds.term {
            self.requests.insert((base, next));
        }
    }

    /// The request for a change of the record as it is.
    pub fn ask(&mut self, bounds: &Bounds, change: &Change) {
        if let Ok(next) = self.record.with(change) {
            self.request(bounds, self.record.config_version, Arc::new(next));
        }
    }
}
