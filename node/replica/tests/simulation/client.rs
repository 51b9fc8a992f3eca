//! Clients: each has one operation under way, and what they were told is the history of a run.

use std::collections::BTreeMap;

use quiver_replica::Time;

use super::history::{Op, all_linearizable};
use super::world::{Answer, Call, Happening, Kind, REGISTERS, World};

/// How long a client waits for an answer.
const PATIENCE: Time = 3_000;

#[derive(Default)]
pub struct Client {
    turn: usize,
    /// The operation under way, and how often it was asked again.
    waits: Option<usize>,
    tries: u8,
    leader: usize,
}

/// What a fresh ordinary read saw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    register: usize,
    value: u64,
    at: Time,
}

#[derive(Default)]
pub struct Told {
    ops: Vec<(Op, Kind, Time, Option<Time>)>,
    /// Values of which a client was told that they were not written.
    refused: Vec<u64>,
    ordinary: Vec<Seen>,
    pub stale: u64,
}

impl Told {
    pub fn written_after(&self, time: Time) -> bool {
        let recent = self.ops.iter().rev().take(64);
        recent
            .clone()
            .any(|(o, k, began, ended)| *k == Kind::Write && o.write && *began > time && ended.is_some())
    }

    pub fn acknowledged(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter().map(|(op, ..)| op).filter(|o| o.write && o.ended.is_some())
    }

    /// Whether an operation was answered, and not refused.
    pub fn answered(&self, number: usize) -> bool {
        self.ops[number].0.ended.is_some()
    }

    pub fn strong_reads(&self) -> usize {
        self.ops.iter().filter(|(o, k, ..)| *k == Kind::Strong && o.ended.is_some()).count()
    }

    pub fn ordinary_reads(&self) -> usize {
        self.ordinary.len()
    }
}

impl World {
    /// The client asks something new.
    pub fn act(&mut self, c: usize, turn: usize) {
        if self.clients[c].turn != turn || self.well_at.is_some() {
            return;
        }
        let kind = [Kind::Write, Kind::Write, Kind::Strong, Kind::Strong, Kind::Ordinary][self.dice.below(5)];
        let register = self.dice.below(REGISTERS);
        let call = self.asks(c, kind, register);
        let i = match kind {
            Kind::Ordinary => self.dice.below(self.nodes.len()),
            _ if self.broken.stale_strong_reads && kind == Kind::Strong => self.dice.below(self.nodes.len()),
            _ => self.clients[c].leader,
        };
        self.ask(i, call);
        self.at(self.now + PATIENCE, Happening::GivesUp(call));
    }

    /// A client's operation begins, and is in the history from here on.
    pub fn asks(&mut self, client: usize, kind: Kind, register: usize) -> Call {
        let number = self.told.ops.len();
        let write = kind == Kind::Write;
        let value = if write { number as u64 + 1 } else { 0 };
        let op = Op { register, value, write, began: self.events, ended: None };
        self.told.ops.push((op, kind, self.now, None));
        (self.clients[client].waits, self.clients[client].tries) = (Some(number), 0);
        Call { client, number, kind, register, value }
    }

    fn next_turn(&mut self, c: usize, low: u64, high: u64) {
        self.clients[c].turn += 1;
        self.clients[c].waits = None;
        let turn = self.clients[c].turn;
        self.after(low, high, Happening::Acts(c, turn));
    }

    pub fn answered(&mut self, call: Call, answer: Answer) {
        if !self.waits_for(&call) {
            return;
        }
        self.events += 1;
        let (now, number) = (self.now, self.events);
        let entry = &mut self.told.ops[call.number];
        match answer {
            Answer::Written => (entry.0.ended, entry.3) = (Some(number), Some(now)),
            Answer::Read(value, _) if call.kind == Kind::Strong => {
                entry.0.value = value;
                (entry.0.ended, entry.3) = (Some(number), Some(now));
            }
            Answer::Read(value, true) => {
                let at = entry.2;
                self.told.ordinary.push(Seen { register: call.register, value, at });
            }
            Answer::Read(_, false) => self.told.stale += 1,
            Answer::Refused => {
                if call.kind == Kind::Write && self.clients[call.client].tries == 0 {
                    self.told.refused.push(call.value);
                }
                self.clients[call.client].leader = self.dice.below(self.nodes.len());
            }
        }
        self.next_turn(call.client, 5, 250);
    }

    /// Answers to what was given up come too late.
    fn waits_for(&self, call: &Call) -> bool {
        self.clients[call.client].waits == Some(call.number)
    }

    pub fn give_up(&mut self, call: Call) {
        if !self.waits_for(&call) {
            return;
        }
        self.clients[call.client].leader = self.dice.below(self.nodes.len());
        if self.broken.blind_retry && call.kind == Kind::Write && self.clients[call.client].tries < 3 {
            self.clients[call.client].tries += 1;
            self.ask(self.clients[call.client].leader, call);
            return self.at(self.now + PATIENCE, Happening::GivesUp(call));
        }
        self.next_turn(call.client, 5, 250);
    }

    /// Judges a run that is over.
    pub fn judge(&self) -> Result<(), String> {
        let ops: Vec<Op> =
            self.told.ops.iter().filter(|(_, k, ..)| *k != Kind::Ordinary).map(|o| o.0).collect();
        all_linearizable(&ops, REGISTERS)?;
        if self.nodes.iter().any(|n| n.unfit() == Some(quiver_replica::Unfit::RecordLost)) {
            return Err("a copy believes that the store was set back".to_owned());
        }
        if let Some(why) = self.broke {
            return Err(why.to_owned());
        }
        if let Some(id) = self.set_back {
            return Err(format!("{id:?} is in sync and was set back by files"));
        }
        if !self.recoverable() {
            let copies: Vec<_> = self.nodes.iter().map(|n| (n.disk.stored.id, n.unfit())).collect();
            return Err(format!("no copy that is in sync is left: {copies:?} {:?}", self.record));
        }
        if self.well_at.is_none() {
            return Err(format!("a minute after the last fault the shard isn't well: {:?}", self.record));
        }
        self.judge_logs()
    }

    fn judge_logs(&self) -> Result<(), String> {
        let (log, commit) = self.log_of_primary().ok_or("nobody leads")?;
        // A tail that nobody committed may stay behind the end until the next write; it counts for nothing.
        for node in &self.nodes {
            if !node.disk.synced.starts_with(log)
                || commit != log.len() as u64
                || node.registers != self.registers(log)
            {
                let (there, at, log) = (
                    node.disk.synced.len(),
                    node.copy.as_ref().map(|c| (c.applied(), c.log().commit())),
                    log.len(),
                );
                return Err(format!(
                    "copy {:?} differs: {there} entries, {at:?}; {commit} of {log} are committed",
                    node.disk.stored.id
                ));
            }
        }
        let mut place = BTreeMap::new();
        for (i, entry) in log.iter().enumerate() {
            let of = self.told.ops.get(entry.value as usize - 1).map(|o| o.0);
            if !of.is_some_and(|o| o.write && o.register == entry.register)
                || self.told.refused.contains(&entry.value)
            {
                return Err(format!("{entry:?} was never written"));
            }
            if place.insert(entry.value, i + 1).is_some() {
                return Err(format!("{entry:?} is there twice"));
            }
        }
        if let Some(lost) = self.told.acknowledged().find(|o| !place.contains_key(&o.value)) {
            return Err(format!("{lost:?} was acknowledged and is lost"));
        }
        place.insert(0, 0);
        match self.told.ordinary.iter().find(|s| !place.contains_key(&s.value)) {
            Some(seen) => Err(format!("{seen:?} was never committed")),
            None => Ok(()),
        }
    }

    fn registers(&self, log: &[super::node::Entry]) -> [u64; REGISTERS] {
        let mut registers = [0; REGISTERS];
        log.iter().for_each(|e| registers[e.register] = e.value);
        registers
    }

    /// How many milliseconds older than acknowledged the oldest value was that an ordinary read called fresh.
    pub fn staleness(&self) -> Time {
        let Some((log, _)) = self.log_of_primary() else { return 0 };
        let place: BTreeMap<u64, usize> = log.iter().enumerate().map(|(i, e)| (e.value, i + 1)).collect();
        let of = |value: u64| place.get(&value).copied().unwrap_or(0);
        let late = |seen: &Seen| {
            let newer = |o: &&(Op, Kind, Time, Option<Time>)| {
                o.0.write && o.0.register == seen.register && o.3.is_some() && of(o.0.value) > of(seen.value)
            };
            let first = self.told.ops.iter().filter(newer).filter_map(|o| o.3).min();
            first.map_or(0, |acknowledged| seen.at.saturating_sub(acknowledged))
        };
        self.told.ordinary.iter().map(late).max().unwrap_or(0)
    }
}
