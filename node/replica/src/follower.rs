//! A copy that follows: it takes entries, answers when its disk has them, and grants that nobody else leads meanwhile.

use crate::copy::{Action, Copy, Role, Unfit};
use crate::lease::Grant;
use crate::log::{Mismatch, Position};
use crate::message::{Append, Hello, Message, Refusal};
use crate::record::CopyId;
use crate::{Rule, Seq, Term, Time};

/// An answer that waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owed {
    to: CopyId,
    session: u64,
    matched: Seq,
    pub(crate) asked: Time,
}

/// What only a follower keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    /// The newest message's answer; an older one that waits is contained in it.
    pub(crate) owed: Option<Owed>,
    /// The primary's last word was current, and this copy had applied all that it said was committed.
    pub(crate) heard: bool,
}

impl Copy {
    /// The primary begins a session.
    pub(crate) fn on_open(&mut self, from: CopyId, session: u64, out: &mut Vec<Action>) {
        if let Role::Follower(follower) = &mut self.role {
            follower.owed = None;
            self.hello(from, (self.term(), session), out);
        }
    }

    /// Answers in the term that was asked in: one that is of no use promises nothing, and is heard by whoever leads now.
    pub(crate) fn hello(&self, to: CopyId, (term, session): (Term, u64), out: &mut Vec<Action>) {
        let last = self.log.position(self.log.durable());
        let commit = self.log.commit().min(last.seq);
        let damaged = self.unfit.is_some();
        self.say(to, Message::Hello(Hello { term, session, last, commit, damaged }), out);
    }

    /// Entries or a heartbeat of the primary of this copy's term.
    pub(crate) fn on_append(&mut self, now: Time, from: CopyId, append: Append, out: &mut Vec<Action>) {
        let rules = self.settings.rules;
        if matches!(self.role, Role::Primary(_)) || self.installing.is_some() {
            return;
        }
        self.grant = Grant::given(now);
        let Append { session, previous, ref runs, last, commit, current, asked, .. } = append;
        let taken = match self.log.take(previous, runs, last, rules) {
            Ok(taken) => taken,
            Err(Mismatch::Previous) => return self.refuse(from, session, Refusal::Mismatch, out),
            Err(Mismatch::Malformed) => return self.refuse(from, session, Refusal::Conflict, out),
            Err(Mismatch::Committed) => {
                self.refuse(from, session, Refusal::Conflict, out);
                return self.give_up(Unfit::Damaged, out);
            }
        };
        if taken.cut.is_some() || taken.after < last {
            out.push(Action::Write { cut: taken.cut, after: taken.after, last });
        }
        // What lies behind this message's end may be the tail of another primary, which nobody has committed.
        let matched = if rules.keep(Rule::CommitOfMatched) { last } else { self.log.last() };
        self.log.commit_to(commit.min(matched));
        self.apply(out);
        let owed = Owed { to: from, session, matched: last, asked };
        let heard = current && self.applied >= commit;
        self.role = Role::Follower(Follower { owed: Some(owed), heard });
        self.settle_answer(out);
    }

    /// Answers what was asked last, if the disk has it.
    pub(crate) fn settle_answer(&mut self, out: &mut Vec<Action>) {
        self.apply(out);
        let durable = self.log.durable();
        let Role::Follower(follower) = &mut self.role else { return };
        let Some(owed) = follower.owed else { return };
        if owed.matched <= durable || !self.settings.rules.keep(Rule::AckAfterSync) {
            follower.owed = None;
            let (term, session, applied) = (self.stored.term, owed.session, self.applied);
            let ack = Message::Ack { term, session, matched: owed.matched, applied, asked: owed.asked };
            self.say(owed.to, ack, out);
        }
    }

    /// The primary's log doesn't reach back to what this copy has.
    pub(crate) fn on_snapshot(
        &mut self,
        now: Time,
        from: CopyId,
        (session, up_to, asked): (u64, Position, Time),
        out: &mut Vec<Action>,
    ) {
        if matches!(self.role, Role::Primary(_)) {
            return;
        }
        self.grant = Grant::given(now);
        let owed = Owed { to: from, session, matched: up_to.seq, asked };
        self.role = Role::Follower(Follower { owed: Some(owed), heard: false });
        if self.log.matches(up_to) {
            self.log.commit_to(up_to.seq);
            return self.settle_answer(out);
        }
        if self.log.commit() >= up_to.seq {
            self.refuse(from, session, Refusal::Conflict, out);
            return self.give_up(Unfit::Damaged, out);
        }
        // The offer is repeated until the files are there; they are fetched once.
        if self.installing != Some(up_to) {
            self.installing = Some(up_to);
            out.push(Action::Install { from, up_to });
        }
    }

    /// The files are there. If the copy has promised another term meanwhile they are as good as ever: they hold only what
    /// is committed.
    pub(crate) fn on_installed(&mut self, _now: Time, position: Position, out: &mut Vec<Action>) {
        self.installing = None;
        self.log.install(position);
        self.applied = position.seq;
        self.settle_answer(out);
    }
}
