//! What can happen in the model: which moves there are in a state, and what each of them does.

use std::sync::Arc;

use quiver_replica::log::Position;
use quiver_replica::message::{Append, Envelope, Message};
use quiver_replica::record::{Change, CopyId, Record};
use quiver_replica::{Action, Event, Rule, Seq};

use super::state::{Bounds, Entry, NOW, Node, Parcel, State, pod};

/// One move.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    Write(usize),
    /// The disk of a node has all that was written.
    Sync(usize),
    Open(usize, usize),
    Send(usize, usize),
    Deliver(Parcel),
    Drop(Parcel),
    /// A node sees the record as it is.
    Observe(usize),
    Admit(usize, CopyId),
    Silent(usize, CopyId),
    Settle(usize),
    /// The store takes a request, or refuses it.
    Store(u64, Arc<Record>),
    Promote(usize),
    OperatorRemoves(CopyId),
    List(usize),
    Restart(usize),
    Wipe(usize),
    SetBack(usize),
    /// The segments of a node hold all it has applied, and its log begins behind that.
    Compact(usize),
    /// What a node granted has run out.
    Expire(usize),
    /// A primary is told to hand over to another node.
    HandOver(usize, usize),
    KeepLead(usize),
    /// A heartbeat of a node that hands over: it asks for its successor again.
    Tick(usize),
    /// The store is restored from a backup that has this record.
    SetStoreBack(Arc<Record>),
}

impl Move {
    /// A short name: what a script asks for and a trace shows.
    pub fn label(&self) -> String {
        let message = |word: &str, parcel: &Parcel| {
            let Envelope { from, to, message } = &parcel.envelope;
            let what = match message {
                Message::Open { .. } => "open".to_owned(),
                Message::Hello(_) => "hello".to_owned(),
                Message::Append(a) => format!("append {}..{}", a.previous.seq, a.last),
                Message::Ack { matched, .. } => format!("ack {matched}"),
                Message::Refuse { .. } => "refuse".to_owned(),
                Message::Snapshot { .. } => "snapshot".to_owned(),
                Message::TakeOver { .. } => "take over".to_owned(),
            };
            format!("{word} {what} {}>{} term {}", from.0, to.0, message.term())
        };
        match self {
            Self::Write(i) => format!("write {i}"),
            Self::Sync(i) => format!("sync {i}"),
            Self::Open(i, j) => format!("open {i} {j}"),
            Self::Send(i, j) => format!("send {i} {j}"),
            Self::Deliver(parcel) => message("deliver", parcel),
            Self::Drop(parcel) => message("drop", parcel),
            Self::Observe(i) => format!("observe {i}"),
            Self::Admit(i, id) => format!("admit {i} {}", id.0),
            Self::Silent(i, id) => format!("silent {i} {}", id.0),
            Self::Settle(i) => format!("settle {i}"),
            Self::Store(base, next) => format!("store {base} term {} primary {}", next.term, next.primary.0),
            Self::Promote(i) => format!("promote {i}"),
            Self::OperatorRemoves(id) => format!("operator removes {}", id.0),
            Self::List(i) => format!("list {i}"),
            Self::Restart(i) => format!("restart {i}"),
            Self::Wipe(i) => format!("wipe {i}"),
            Self::SetBack(i) => format!("set back {i}"),
            Self::Compact(i) => format!("compact {i}"),
            Self::Expire(i) => format!("expire {i}"),
            Self::HandOver(i, j) => format!("hand over {i} {j}"),
            Self::KeepLead(i) => format!("keep lead {i}"),
            Self::Tick(i) => format!("tick {i}"),
            Self::SetStoreBack(record) => format!("set store back {}", record.config_version),
        }
    }
}

impl State {
    /// Steps one copy and carries out what it says. `entries` are those of the message, by their seq.
    pub fn step(&mut self, bounds: &Bounds, i: usize, event: Event, entries: &[(Seq, Entry)]) {
        let sends = matches!(event, Event::Send(_) | Event::Received { .. } | Event::Connected(_));
        let on_purpose = matches!(event, Event::Send(_));
        let mut actions = Vec::new();
        self.nodes[i].copy.step(NOW, event, &mut actions);
        for action in actions {
            match action {
                Action::Store(stored) => self.nodes[i].disk.stored = stored,
                Action::Write { cut, after, last } => self.write(i, cut, (after, last), entries),
                Action::Apply(seq) => self.apply(i, seq),
                Action::Swap { base, next } => self.request(bounds, base, next),
                Action::Install { from, up_to } => self.install(bounds, i, from, up_to),
                Action::Send(envelope) => match envelope.message {
                    // A message that isn't sent is one that was lost; it is sent again by a move of its own.
                    Message::Append(_) | Message::Snapshot { .. } | Message::TakeOver { .. }
                        if !on_purpose => {}
                    Message::Open { .. } => {}
                    Message::Refuse { .. } if !bounds.late_hello => {}
                    _ if !sends && !bounds.slow_disks => {}
                    _ => self.post(bounds, envelope),
                },
                _ => {}
            }
        }
        if !bounds.slow_disks && self.nodes[i].copy.primary().is_none() {
            self.sync(bounds, i);
        }
    }

    /// The files of a snapshot, fetched at once; lost if the other disk is gone.
    fn install(&mut self, bounds: &Bounds, i: usize, from: CopyId, up_to: Position) {
        let Some(j) = self.node_of(from) else { return };
        let files: Vec<Entry> = self.nodes[j].disk.entries.iter().take(up_to.seq as usize).copied().collect();
        let disk = &mut self.nodes[i].disk;
        (disk.entries, disk.synced, disk.applied) = (files.clone(), files.clone(), files);
        disk.base = up_to;
        self.step(bounds, i, Event::Installed(up_to), &[]);
    }

    fn write(&mut self, i: usize, cut: Option<Seq>, (after, last): (Seq, Seq), entries: &[(Seq, Entry)]) {
        let log = &mut self.nodes[i].disk.entries;
        if let Some(keep) = cut {
            log.truncate(keep as usize);
        }
        for seq in after + 1..=last {
            let none = Entry { term: 0, value: 0 };
            let entry = entries.iter().find(|e| e.0 == seq).map_or(none, |e| e.1);
            log.truncate(seq as usize - 1);
            log.push(entry);
        }
    }

    fn apply(&mut self, i: usize, seq: Seq) {
        let leads = self.nodes[i].copy.primary().is_some();
        let disk = &mut self.nodes[i].disk;
        let committed = disk.entries[..(seq as usize).min(disk.entries.len())].to_vec();
        if leads {
            self.acked.extend(committed.iter().enumerate().map(|(k, e)| (k as Seq + 1, *e)));
        }
        if committed.len() > disk.applied.len() {
            disk.applied = committed;
        }
    }

    /// A power cut now takes nothing away from node `i`.
    fn sync(&mut self, bounds: &Bounds, i: usize) {
        let disk = &mut self.nodes[i].disk;
        if disk.synced == disk.entries {
            return;
        }
        disk.synced = disk.entries.clone();
        let seq = disk.synced.len() as Seq;
        let term = disk.synced.last().map_or(0, |e| e.term);
        // What the disk says late is answered like what was asked: by a message.
        let mut actions = Vec::new();
        self.nodes[i].copy.step(NOW, Event::Durable(Position { seq, term }), &mut actions);
        for action in actions {
            match action {
                Action::Store(stored) => self.nodes[i].disk.stored = stored,
                Action::Apply(seq) => self.apply(i, seq),
                Action::Send(envelope) if matches!(envelope.message, Message::Ack { .. }) => {
                    self.post(bounds, envelope);
                }
                _ => {}
            }
        }
    }

    fn post(&mut self, bounds: &Bounds, envelope: Envelope) {
        let from = self.node_of(envelope.from);
        if self.net.len() >= bounds.net || self.node_of(envelope.to).is_none() {
            return;
        }
        let mut entries = Vec::new();
        if let (Message::Append(Append { previous, last, .. }), Some(i)) = (&envelope.message, from) {
            let log = &self.nodes[i].disk.entries;
            entries = log[(previous.seq as usize).min(log.len())..(*last as usize).min(log.len())].to_vec();
        }
        self.net.insert(Parcel { envelope, entries });
    }

    /// A primary asks a copy what it has, and hears it at once.
    fn open(&mut self, bounds: &Bounds, i: usize, j: usize) {
        let (from, to) = (self.nodes[i].id(), self.nodes[j].id());
        let Some(primary) = self.nodes[i].copy.primary() else { return };
        let Some(peer) = primary.peers.iter().find(|p| p.id == to) else { return };
        let message = Message::Open { term: primary.term, session: peer.session };
        if bounds.late_hello {
            return self.post(bounds, Envelope { from, to, message });
        }
        let mut actions = Vec::new();
        self.nodes[j].copy.step(NOW, Event::Received { from, message }, &mut actions);
        for action in actions {
            match action {
                Action::Store(stored) => self.nodes[j].disk.stored = stored,
                Action::Write { cut, after, last } => self.write(j, cut, (after, last), &[]),
                Action::Send(answer) => {
                    let event = Event::Received { from: to, message: answer.message };
                    self.step(bounds, i, event, &[]);
                }
                _ => {}
            }
        }
    }

    fn deliver(&mut self, bounds: &Bounds, parcel: Parcel) {
        self.net.remove(&parcel);
        let Parcel { envelope: Envelope { from, to, message }, entries } = parcel;
        let Some(i) = self.node_of(to) else { return };
        let first = if let Message::Append(append) = &message { append.previous.seq + 1 } else { 1 };
        let entries: Vec<(Seq, Entry)> =
            entries.into_iter().enumerate().map(|(k, e)| (first + k as Seq, e)).collect();
        self.step(bounds, i, Event::Received { from, message }, &entries);
    }

    /// Ends the grant of node `i`, and before it every lease that rests on it.
    fn expire(&mut self, bounds: &Bounds, i: usize) {
        let id = self.nodes[i].id();
        self.nodes[i].copy.end_grant();
        for node in &mut self.nodes {
            node.copy.end_lease(id);
        }
        let net = std::mem::take(&mut self.net);
        self.net = net
            .into_iter()
            .map(|mut parcel| {
                if let Message::Ack { asked, .. } = &mut parcel.envelope.message
                    && parcel.envelope.from == id
                {
                    *asked = 0;
                }
                parcel
            })
            .collect();
        self.step(bounds, i, Event::Tick, &[]);
    }

    fn wipe(&mut self, bounds: &Bounds, i: usize) {
        let (old, boots) = (self.nodes[i].id(), self.nodes[i].boots + 1);
        let kept = self.record.may_start_empty(old, bounds.rules) || !bounds.rules.keep(Rule::IdOfDisk);
        let id = if kept { old } else { CopyId(u128::from(self.next_id)) };
        self.next_id += u8::from(!kept);
        self.wipes += 1;
        self.nodes[i] = Node::empty(bounds, id, i, boots);
    }

    pub fn make(&mut self, bounds: &Bounds, chosen: Move) {
        match chosen {
            Move::Write(i) => {
                self.writes += 1;
                let term = self.nodes[i].copy.term();
                let entry = Entry { term, value: self.writes };
                let seq = self.nodes[i].copy.log().last() + 1;
                self.step(bounds, i, Event::Writes(1), &[(seq, entry)]);
            }
            Move::Sync(i) => self.sync(bounds, i),
            Move::Open(i, j) => self.open(bounds, i, j),
            Move::Send(i, j) => {
                let to = self.nodes[j].id();
                self.step(bounds, i, Event::Send(to), &[]);
            }
            Move::Deliver(parcel) => self.deliver(bounds, parcel),
            Move::Drop(parcel) => drop(self.net.remove(&parcel)),
            Move::Observe(i) => {
                let record = self.record.clone();
                self.step(bounds, i, Event::Record { record, live: true }, &[]);
            }
            Move::Admit(i, id) => self.step(bounds, i, Event::Admit(id), &[]),
            Move::Silent(i, id) => self.step(bounds, i, Event::Silent(id), &[]),
            Move::Settle(i) => self.step(bounds, i, Event::Settle, &[]),
            Move::Store(base, next) => {
                self.requests.remove(&(base, next.clone()));
                if self.record.accepts(&next, bounds.rules).is_ok() {
                    self.change(bounds, next);
                }
            }
            Move::Promote(i) => {
                let (id, boot) = (self.nodes[i].id(), self.nodes[i].copy.boot());
                self.ask(bounds, &Change::Promote { id, boot });
            }
            Move::OperatorRemoves(id) => self.ask(bounds, &Change::Remove(id)),
            Move::List(i) => {
                let id = self.nodes[i].id();
                self.ask(bounds, &Change::List { id, pod: pod(i) });
            }
            Move::Restart(i) => {
                self.restarts += 1;
                self.nodes[i].restart(bounds, i);
            }
            Move::Wipe(i) => self.wipe(bounds, i),
            Move::SetBack(i) => {
                self.set_backs += 1;
                let (id, boots) = (self.nodes[i].id(), self.nodes[i].boots + 1);
                self.nodes[i] = Node { set_back: true, ..Node::empty(bounds, id, i, boots) };
            }
            Move::Compact(i) => {
                let node = &mut self.nodes[i];
                let applied = node.copy.applied();
                node.copy.compact(applied);
                node.disk.base = node.copy.log().base();
            }
            Move::Expire(i) => self.expire(bounds, i),
            Move::HandOver(i, j) => {
                self.hand_overs += 1;
                let (to, boot) = (self.nodes[j].id(), self.nodes[j].copy.boot());
                self.step(bounds, i, Event::HandOver { to, boot }, &[]);
            }
            Move::KeepLead(i) => self.step(bounds, i, Event::KeepLead, &[]),
            Move::Tick(i) => self.step(bounds, i, Event::Tick, &[]),
            Move::SetStoreBack(record) => {
                self.store_set_backs += 1;
                self.record = record;
            }
        }
        self.forget(bounds);
    }

    /// The store holds `next`, and a backup is made of what it held, if one can be restored.
    fn change(&mut self, bounds: &Bounds, next: Arc<Record>) {
        let old = std::mem::replace(&mut self.record, next.clone());
        if self.store_set_backs < bounds.store_set_backs {
            self.backups.insert(old);
        }
        if self.store_set_backs == 0 {
            self.newest = next;
        }
    }

    /// Takes out what can have no effect any more, so that states that behave alike are one.
    fn forget(&mut self, bounds: &Bounds) {
        if bounds.rules.keep(Rule::CompareAndSwap) {
            let version = self.record.config_version;
            self.requests.retain(|(base, _)| *base == version);
        }
        let nodes = &self.nodes;
        let lax = !bounds.rules.keep(Rule::AckOfTerm);
        self.net.retain(|parcel| {
            let Some(node) = nodes.iter().find(|n| n.id() == parcel.envelope.to) else { return false };
            let asks = matches!(
                parcel.envelope.message,
                Message::Append(_)
                    | Message::Open { .. }
                    | Message::Snapshot { .. }
                    | Message::TakeOver { .. }
            );
            let primary = node.copy.primary();
            asks || lax || primary.is_some_and(|p| p.term <= parcel.envelope.message.term())
        });
    }
}
