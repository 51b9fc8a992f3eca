//! What a power loss can leave: durable content, and any part of what was pending.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SimDisk;
use super::state::{DataOp, DirNode, FileNode, Node, NodeId, Op, ROOT, State};

/// Which part of the pending changes survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    DropAll,
    /// Everything, as after a kill of the process alone.
    KeepAll,
    /// All up to a random one, which may be torn.
    Prefix,
    /// A random subset of writes and of folder changes.
    Subset,
    /// A random subset of the sectors of 512 bytes, and of folder changes.
    Torn,
}

impl Cut {
    pub const ALL: [Cut; 5] = [Cut::DropAll, Cut::KeepAll, Cut::Prefix, Cut::Subset, Cut::Torn];
}

const SECTOR: usize = 512;

/// The calls of a run, in order.
pub struct History {
    start: State,
    ops: Vec<Op>,
    sync: bool,
}

/// A moment of a run at which the power may go.
pub struct CrashPoint<'a> {
    /// How many calls were finished; one more is under way.
    pub call: usize,
    state: &'a State,
}

impl History {
    pub(super) fn new(start: State, ops: Vec<Op>, sync: bool) -> Self {
        Self { start, ops, sync }
    }

    /// How many calls there were.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Visits the moment during each call, and the one after the last.
    pub fn for_each_crash(&self, mut visit: impl FnMut(CrashPoint<'_>)) {
        let mut state = self.start.clone();
        for (call, op) in self.ops.iter().enumerate() {
            let mut under_way = state.clone();
            under_way.apply(op, false).expect("what was recorded can be done again");
            visit(CrashPoint { call, state: &under_way });
            drop(under_way);
            state.apply(op, self.sync).expect("what was recorded can be done again");
        }
        visit(CrashPoint { call: self.ops.len(), state: &state });
    }
}

impl CrashPoint<'_> {
    /// What a power loss at this moment can leave.
    pub fn image(&self, cut: Cut, seed: u64) -> SimDisk {
        SimDisk::with_state(image(self.state, cut, seed))
    }
}

/// Builds the durable disk that one power loss leaves. The same seed gives the same disk.
pub(super) fn image(state: &State, cut: Cut, seed: u64) -> State {
    let mut rng = Rng(seed ^ 0x5851_f42d_4c95_7f2d);
    let orders: Vec<u64> = pending_orders(state);
    let last_kept = match cut {
        Cut::Prefix if !orders.is_empty() => orders[rng.below(orders.len() as u64) as usize],
        _ => u64::MAX,
    };
    // Odd seeds lose little, even ones about half, every fourth one nearly all.
    let keep_percent = [50, 90, 10, 97][(seed % 4) as usize];
    let mut builder = Builder { state, cut, last_kept, keep_percent, rng, nodes: BTreeMap::new() };
    builder.dir(ROOT);
    State::durable(builder.nodes, state.next_node())
}

fn pending_orders(state: &State) -> Vec<u64> {
    let mut orders = Vec::new();
    for node in state.nodes.values() {
        match node {
            Node::File(file) => orders.extend(file.pending.iter().map(|(order, _)| order)),
            Node::Dir(dir) => orders.extend(dir.pending.iter().map(|(order, _)| order)),
        }
    }
    orders.sort_unstable();
    orders
}

struct Builder<'a> {
    state: &'a State,
    cut: Cut,
    last_kept: u64,
    keep_percent: u64,
    rng: Rng,
    nodes: BTreeMap<NodeId, Node>,
}

impl Builder<'_> {
    fn dir(&mut self, id: NodeId) {
        let dir = self.state.dir(id);
        let mut entries = dir.durable.clone();
        for (order, op) in &dir.pending {
            if self.keeps(*order) {
                op.apply(&mut entries);
            }
        }
        for &child in entries.values() {
            if self.nodes.contains_key(&child) {
                continue;
            }
            match &self.state.nodes[&child] {
                Node::Dir(_) => self.dir(child),
                Node::File(file) => {
                    let content = self.file(file);
                    self.nodes.insert(child, Node::File(FileNode::durable(content)));
                }
            }
        }
        let node = DirNode { durable: entries.clone(), current: entries, pending: Vec::new() };
        self.nodes.insert(id, Node::Dir(node));
    }

    fn file(&mut self, file: &FileNode) -> Arc<Vec<u8>> {
        if self.cut == Cut::DropAll || file.pending.is_empty() {
            return file.durable.clone();
        }
        let mut content = file.durable.to_vec();
        for (order, op) in &file.pending {
            match op {
                DataOp::Write { at, bytes } if self.tears(*order) => {
                    self.tear(*at as usize, bytes, &mut content);
                }
                _ if self.keeps(*order) => op.apply(&mut content),
                _ => {}
            }
        }
        Arc::new(content)
    }

    fn keeps(&mut self, order: u64) -> bool {
        match self.cut {
            Cut::DropAll => false,
            Cut::KeepAll => true,
            Cut::Prefix => order <= self.last_kept,
            Cut::Subset | Cut::Torn => self.rng.percent(self.keep_percent),
        }
    }

    fn tears(&mut self, order: u64) -> bool {
        match self.cut {
            Cut::Torn => true,
            Cut::Prefix => order == self.last_kept && self.rng.percent(50),
            _ => false,
        }
    }

    /// Keeps some sectors of a write. The others read as before, or, past the old end, as zeros.
    fn tear(&mut self, at: usize, bytes: &[u8], content: &mut Vec<u8>) {
        let end = at + bytes.len();
        if content.len() < end && self.rng.percent(50) {
            content.resize(end, 0);
        }
        let mut from = at;
        while from < end {
            let to = (from / SECTOR * SECTOR + SECTOR).min(end);
            if self.rng.percent(self.keep_percent) {
                DataOp::Write { at: from as u64, bytes: bytes[from - at..to - at].into() }.apply(content);
            }
            from = to;
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}
