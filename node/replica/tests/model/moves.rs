//! Which moves a state has.

use quiver_replica::Rule;

use super::state::{Bounds, NOW, State};
use super::world::Move;

impl State {
    pub fn moves(&self, bounds: &Bounds, moves: &mut Vec<Move>) {
        for i in 0..self.nodes.len() {
            self.moves_of_primary(bounds, i, moves);
            self.moves_of_node(bounds, i, moves);
        }
        self.moves_of_operator(bounds, moves);
        for parcel in &self.net {
            moves.push(Move::Deliver(parcel.clone()));
            if self.net.len() >= bounds.net {
                moves.push(Move::Drop(parcel.clone()));
            }
        }
        moves.extend(self.requests.iter().map(|(base, next)| Move::Store(*base, next.clone())));
    }

    fn room_for_request(&self, bounds: &Bounds) -> bool {
        self.requests.len() < bounds.requests && self.record.config_version < bounds.version
    }

    fn moves_of_primary(&self, bounds: &Bounds, i: usize, moves: &mut Vec<Move>) {
        let copy = &self.nodes[i].copy;
        let (Some(primary), Some(record)) = (copy.primary(), copy.record()) else { return };
        if self.writes < bounds.writes && copy.leads(NOW) {
            moves.push(Move::Write(i));
        }
        for peer in &primary.peers {
            let Some(j) = self.node_of(peer.id) else { continue };
            if !peer.open {
                if !bounds.late_hello || self.net.len() < bounds.net {
                    moves.push(Move::Open(i, j));
                }
                continue;
            }
            let other = &self.nodes[j].copy;
            let lacks = peer.matched < copy.log().last() || other.log().commit() < copy.log().commit();
            let leased = peer.lease.holds(NOW, &bounds.settings().timing);
            let takes_over =
                primary.hand_over.is_some_and(|h| h.released && h.to == peer.id) && other.has_granted();
            if self.net.len() < bounds.net && (lacks || !leased || takes_over) {
                moves.push(Move::Send(i, j));
            }
        }
        if primary.hand_over.is_none() && self.hand_overs < bounds.hand_overs && copy.leads(NOW) {
            let others = primary.peers.iter().filter(|p| record.in_sync(p.id));
            moves.extend(others.filter_map(|p| self.node_of(p.id)).map(|j| Move::HandOver(i, j)));
        }
        let room = self.requests.len() < bounds.requests && record.config_version < bounds.version;
        if !room {
            return;
        }
        if primary.hand_over.is_some() && record.term < bounds.term {
            // It is also how a request for the successor that was lost is made again.
            moves.extend([Move::KeepLead(i), Move::Tick(i)]);
        }
        if primary.pending.is_some() {
            moves.push(Move::Settle(i));
            return;
        }
        for peer in &primary.peers {
            if record.in_sync(peer.id) {
                if copy.log().durable() == copy.log().last() {
                    moves.push(Move::Silent(i, peer.id));
                }
            } else if peer.open {
                moves.push(Move::Admit(i, peer.id));
            }
        }
    }

    fn moves_of_node(&self, bounds: &Bounds, i: usize, moves: &mut Vec<Move>) {
        let node = &self.nodes[i];
        let (copy, record) = (&node.copy, &self.record);
        if node.disk.synced != node.disk.entries {
            moves.push(Move::Sync(i));
        }
        if copy.unfit().is_none() && self.news_for(bounds, i) {
            moves.push(Move::Observe(i));
        }
        let may_lead = record.in_sync(node.id()) && record.primary != node.id() && copy.unfit().is_none();
        if may_lead && self.room_for_request(bounds) && record.term < bounds.term {
            moves.push(Move::Promote(i));
        }
        if self.restarts < bounds.restarts {
            moves.push(Move::Restart(i));
        }
        if self.wipes < bounds.wipes {
            moves.push(Move::Wipe(i));
        }
        if self.set_backs < bounds.set_backs {
            moves.push(Move::SetBack(i));
        }
        if bounds.compacts && copy.applied() > copy.log().base().seq {
            moves.push(Move::Compact(i));
        }
        if copy.has_granted() {
            moves.push(Move::Expire(i));
        }
    }

    /// Whether the record would move the copy; news that change nothing but what it remembers are left out.
    fn news_for(&self, bounds: &Bounds, i: usize) -> bool {
        let (copy, record) = (&self.nodes[i].copy, &self.record);
        // Only a store that was set back says less than it did, or something else.
        let older = self.store_set_backs > 0
            && copy.record().is_some_and(|r| {
                r.config_version > record.config_version
                    || r.config_version == record.config_version && r != &**record
            });
        if record.term > copy.term() || older {
            return true;
        }
        if let Some(primary) = copy.primary() {
            let seen = copy.record().map_or(0, |r| r.config_version);
            let forgets = !bounds.rules.keep(Rule::UnknownKept) && primary.pending.is_some();
            return record.config_version > seen || (forgets && record.config_version == seen);
        }
        if record.primary != copy.id() {
            return false;
        }
        let mine = record.primary_boot == Some(copy.boot()) || !bounds.rules.keep(Rule::BootOfTerm);
        // Either it leads, or it asks for a term of its own, which needs room for the request.
        (mine && record.term == copy.term())
            || (!mine && self.room_for_request(bounds) && record.term < bounds.term)
    }

    fn moves_of_operator(&self, bounds: &Bounds, moves: &mut Vec<Move>) {
        let seen = self.nodes.iter().all(|n| n.copy.record() == Some(&self.record));
        let highest = self.record.config_version >= bounds.version;
        if self.store_set_backs < bounds.store_set_backs && seen && highest {
            moves.extend(self.backups.iter().cloned().map(Move::SetStoreBack));
        }
        if !self.room_for_request(bounds) {
            return;
        }
        for copy in &self.record.copies {
            if bounds.operator_removes && copy.in_sync && copy.id != self.record.primary {
                moves.push(Move::OperatorRemoves(copy.id));
            }
        }
        let unlisted = (0..self.nodes.len()).filter(|i| self.record.find(self.nodes[*i].id()).is_none());
        moves.extend(unlisted.map(Move::List));
    }
}
