//! A planned hand-over: a primary that goes lets another copy lead without a gap of the length of a grant.
//!
//! It takes no more writes, waits until all it has is committed, and serves no strong read any more. Then it says so to
//! its successor (`TakeOver`), which owes its grant to nobody from there on, and asks the store to promote it. In this
//! term it never serves again: who has to lead on after all takes another one.

use crate::copy::{Action, Copy, Role};
use crate::lease::{Grant, Lease};
use crate::message::Message;
use crate::record::{Boot, Change, CopyId};
use crate::{Rule, Term, Time};

/// Where a hand-over stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandOver {
    pub to: CopyId,
    /// The process that shall lead.
    pub boot: Boot,
    /// Nothing waits for its commit, and no strong read is served in this term any more.
    pub released: bool,
    /// It has to lead on, in another term.
    pub abandoned: bool,
}

impl Copy {
    /// Whom this copy is handing over to: it is draining.
    pub fn draining(&self) -> Option<CopyId> {
        self.primary().and_then(|p| p.hand_over).map(|h| h.to)
    }

    /// Begins to hand over. Without effect on a copy that doesn't lead, or for one that isn't in sync.
    pub(crate) fn hand_over(&mut self, now: Time, to: CopyId, boot: Boot, out: &mut Vec<Action>) {
        let fit = self.leads(now) && to != self.id() && self.record().is_some_and(|r| r.in_sync(to));
        let Role::Primary(primary) = &mut self.role else { return };
        if fit && primary.hand_over.is_none() {
            primary.hand_over = Some(HandOver { to, boot, released: false, abandoned: false });
            self.release_when_drained(now, out);
        }
    }

    /// The hand-over takes too long, or isn't wanted any more.
    pub(crate) fn keep_lead(&mut self, out: &mut Vec<Action>) {
        let Role::Primary(primary) = &mut self.role else { return };
        match &mut primary.hand_over {
            Some(hand_over) if hand_over.released => hand_over.abandoned = true,
            _ => primary.hand_over = None,
        }
        self.ask_for_successor(out);
    }

    /// Hands over once the successor's disk has all that there is, and nobody waits for anything.
    pub(crate) fn release_when_drained(&mut self, now: Time, out: &mut Vec<Action>) {
        let (leads, last, commit) = (self.leads(now), self.log.last(), self.log.commit());
        let rules = self.settings.rules;
        let Role::Primary(primary) = &mut self.role else { return };
        let Some(mut hand_over) = primary.hand_over.filter(|h| !h.released) else { return };
        let has_all = primary.peer(hand_over.to).is_some_and(|p| p.open && p.matched >= last);
        let drained = commit == last && has_all;
        if !leads || (rules.keep(Rule::DrainFirst) && !drained) {
            return;
        }
        hand_over.released = true;
        primary.hand_over = Some(hand_over);
        if rules.keep(Rule::ReleasedServesNot) {
            for peer in &mut primary.peers {
                peer.lease = Lease::default();
            }
        }
        self.take_over(hand_over.to, out);
        self.ask_for_successor(out);
    }

    /// Says to the successor that nobody serves in this term any more.
    pub(crate) fn take_over(&self, to: CopyId, out: &mut Vec<Action>) {
        let config_version = self.record().map_or(0, |r| r.config_version);
        self.say(to, Message::TakeOver { term: self.term(), config_version }, out);
    }

    /// Asks for the promotion of the successor, as often as it takes; or for another term of its own, if there is no
    /// successor any more. Either one settles what was asked for before.
    pub(crate) fn ask_for_successor(&mut self, out: &mut Vec<Action>) {
        let Some(hand_over) = self.primary().and_then(|p| p.hand_over) else { return };
        let fit = self.record().is_some_and(|r| r.in_sync(hand_over.to)) && !hand_over.abandoned;
        if !hand_over.released {
            if let (false, Role::Primary(primary)) = (fit, &mut self.role) {
                primary.hand_over = None;
            }
        } else if fit {
            self.propose(&Change::Promote { id: hand_over.to, boot: hand_over.boot }, out);
        } else {
            self.propose(&Change::NextTerm, out);
        }
    }

    /// The primary of `term` serves no more, and it led only when those before it couldn't serve any more either. So this
    /// copy's grant binds it no longer, unless it may have been given to somebody in a later term.
    pub(crate) fn on_take_over(&mut self, now: Time, term: Term, out: &mut Vec<Action>) {
        let granted_in_it = term == self.term() && matches!(self.role, Role::Follower(_));
        let follows_it = self.primary().is_some_and(|p| p.term == term + 1);
        if !(granted_in_it || follows_it) {
            return;
        }
        self.grant = Grant::default();
        if let Role::Follower(follower) = &mut self.role {
            follower.heard = false;
        }
        self.advance(now, out);
    }
}
