//! Schedules: what chance brings about too seldom, event by event. Each is a run in which a rule is needed, because things go wrong in
//! one order that the network, the store and the operator are free to choose. With all rules it is judged right.

use quiver_replica::record::Change;
use quiver_replica::{Event, Primary, Rule, Time};

use super::client::Client;
use super::dice::Dice;
use super::world::{Breakage, CALM, Happening, Kind, Size, World};

/// A story, or why it didn't come about.
type Told = Result<(), String>;
type Story = fn(&mut Schedule) -> Told;

/// The leader at first, and the others.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
/// After so long every grant has run out, by the slowest clock.
const GRANTS_OVER: Time = 13_000;

/// Rules that are needed in a schedule of their own, with the number of nodes.
pub const SCHEDULES: [(Rule, Story, usize); 6] = [
    (Rule::GrantAssumed, restarted_after_it_granted, 2),
    (Rule::LeadingMarked, restarted_before_it_led, 2),
    (Rule::ReleasedServesNot, released_and_cut_off, 2),
    (Rule::TermStored, restarted_after_it_promised, 3),
    (Rule::AckOfTerm, answered_two_terms_ago, 3),
    (Rule::PreviousMatches, set_back_while_it_catches_up, 2),
];

pub struct Schedule {
    pub world: World,
}

/// Runs one schedule and judges it.
pub fn check(broken: Breakage, story: Story, nodes: usize) -> Told {
    let mut world = World::of_size(Dice::new(1), Size { nodes, min_in_sync: 1, batch: 8 }, broken);
    (world.scheduled, world.compacts, world.slow) = (true, false, 0);
    let mut schedule = Schedule { world };
    schedule.begin()?;
    story(&mut schedule)?;
    schedule.end()
}

impl Schedule {
    /// All copies are in sync, A leads and has a lease of each, and one write is acknowledged.
    fn begin(&mut self) -> Told {
        let nodes = self.world.nodes.len();
        self.until("all are in sync", |w| w.record.in_sync_count() == nodes)?;
        self.acknowledged(A, 0)?;
        self.pass(3_000);
        // From here on nobody plans but the schedule.
        self.world.operator_gone = Time::MAX;
        Ok(())
    }

    /// Everything works again: the shard gets well, and the run is judged.
    fn end(&mut self) -> Told {
        self.world.blocked.iter_mut().flatten().for_each(|b| *b = false);
        self.world.operator_gone = 0;
        self.pass(CALM.saturating_sub(self.world.now) + 30_000);
        let nodes = self.world.nodes.len();
        self.until("all are in sync again", |w| w.record.in_sync_count() == nodes)?;
        let leads = self.world.record.primary;
        let leader = self.world.nodes.iter().position(|n| n.disk.stored.id == leads).ok_or("nobody leads")?;
        self.acknowledged(leader, 0)?;
        self.world.well_at = Some(self.world.now);
        self.pass(15_000);
        self.world.judge()
    }

    /// One event.
    fn step(&mut self) {
        if let Some((time, what)) = self.world.next() {
            self.world.now = time;
            self.world.happen(what);
        }
    }

    fn pass(&mut self, time: Time) {
        let end = self.world.now + time;
        while self.world.now < end {
            self.step();
        }
    }

    fn until(&mut self, what: &str, holds: impl Fn(&World) -> bool) -> Told {
        let end = self.world.now + 60_000;
        while !holds(&self.world) {
            self.step();
            if self.world.now > end {
                return Err(format!("a minute passed and still not: {what}; {:?}", self.world.record));
            }
        }
        Ok(())
    }

    /// A client of its own asks a node; gives the operation.
    fn ask(&mut self, i: usize, kind: Kind, register: usize) -> usize {
        let client = self.world.clients.len();
        self.world.clients.push(Client::default());
        let call = self.world.asks(client, kind, register);
        self.world.ask(i, call);
        call.number
    }

    /// A write that is tried until it is acknowledged.
    fn acknowledged(&mut self, i: usize, register: usize) -> Told {
        let done = self.acknowledges(i, register, 300);
        done.then_some(()).ok_or_else(|| format!("node {i} doesn't acknowledge: {:?}", self.world.record))
    }

    /// Whether one of so many writes, one after the other, is acknowledged.
    fn acknowledges(&mut self, i: usize, register: usize, tries: usize) -> bool {
        (0..tries).any(|_| {
            let number = self.ask(i, Kind::Write, register);
            self.pass(100);
            self.world.told.answered(number)
        })
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.world.blocked[from][to] = true;
    }

    fn part(&mut self, i: usize, j: usize) {
        self.cut(i, j);
        self.cut(j, i);
    }

    fn cut_from_store(&mut self, i: usize) {
        let store = self.world.nodes.len();
        self.cut(i, store);
    }

    fn join(&mut self, i: usize, j: usize) {
        (self.world.blocked[i][j], self.world.blocked[j][i]) = (false, false);
    }

    fn join_store(&mut self, i: usize) {
        let store = self.world.nodes.len();
        self.world.blocked[i][store] = false;
    }

    /// The operator lets another copy lead, right or wrong.
    fn promote(&mut self, i: usize) -> Told {
        let (id, boot) = (self.world.nodes[i].disk.stored.id, self.world.nodes[i].boot);
        let next = self.world.record.with(&Change::Promote { id, boot }).map_err(|e| format!("{e:?}"))?;
        self.world.store(next.into());
        let term = self.world.record.term;
        self.until("it leads", |w| led(w, i).is_some_and(|p| p.term == term))
    }

    /// A driver that has no patience asks for the removal of a copy.
    fn removes(&mut self, i: usize, other: usize) -> Told {
        let id = self.world.nodes[other].disk.stored.id;
        for _ in 0..100 {
            if !self.world.record.in_sync(id) {
                return Ok(());
            }
            let now = self.world.nodes[i].clock(self.world.now);
            let mut wants = Vec::new();
            self.world.nodes[i].step(now, Event::Silent(id), (1, &[]), &mut wants);
            self.world.carry_out(i, wants);
            self.pass(100);
        }
        Err(format!("{id:?} isn't removed: {:?}", self.world.record))
    }

    /// Loses what wasn't synced, and starts again after so long.
    fn restart(&mut self, i: usize, after: Time) -> Told {
        let life = self.world.nodes[i].life;
        self.world.crash(i, after, after + 1);
        self.until("it starts again", |w| w.nodes[i].life > life && w.nodes[i].copy.is_some())
    }

    /// What was held arrives now.
    fn deliver(&mut self) {
        self.world.held = None;
        for (i, life, arrival) in std::mem::take(&mut self.world.mail) {
            self.world.at(self.world.now, Happening::Arrives(i, life, arrival));
        }
    }

    /// B leads, commits alone, and A may still serve strong reads by what B granted.
    fn read_behind_its_back(&mut self) -> Told {
        self.removes(B, A)?;
        self.acknowledges(B, 0, 10);
        self.ask(A, Kind::Strong, 0);
        self.pass(100);
        Ok(())
    }
}

/// What a node leads.
fn led(world: &World, i: usize) -> Option<&Primary> {
    world.nodes[i].copy.as_ref()?.primary()
}

/// B grants, starts again at once, and is made the leader although A is well.
fn restarted_after_it_granted(s: &mut Schedule) -> Told {
    s.part(A, B);
    s.cut_from_store(A);
    s.restart(B, 50)?;
    s.promote(B)?;
    s.read_behind_its_back()
}

/// B granted, is made the leader, and starts again while it waits for the end of its grant.
fn restarted_before_it_led(s: &mut Schedule) -> Told {
    s.part(A, B);
    s.cut_from_store(A);
    s.promote(B)?;
    s.restart(B, 50)?;
    s.until("it leads again", |w| led(w, B).is_some())?;
    s.read_behind_its_back()
}

/// A hands over to B and hears nothing more.
fn released_and_cut_off(s: &mut Schedule) -> Told {
    s.cut_from_store(A);
    // Between two heartbeats, which would be granted for if they came later.
    s.pass(300);
    s.world.hand_over(A, B);
    s.until("it has released", |w| led(w, A).and_then(|p| p.hand_over).is_some_and(|h| h.released))?;
    s.pass(20);
    s.part(A, B);
    s.promote(B)?;
    s.read_behind_its_back()
}

/// B promises C's term, has what C commits in it, and starts again within reach of A alone, which leads in the term before.
fn restarted_after_it_promised(s: &mut Schedule) -> Told {
    s.part(A, C);
    s.cut(B, A);
    s.cut_from_store(A);
    s.cut_from_store(B);
    s.promote(C)?;
    s.pass(GRANTS_OVER);
    s.ask(A, Kind::Write, 1);
    s.removes(C, A)?;
    s.acknowledged(C, 2)?;
    s.part(B, C);
    s.restart(B, 50)?;
    s.pass(5_000);
    // C is gone for long, and B has to lead.
    s.world.crash(C, 30_000, 30_001);
    s.join_store(B);
    s.cut(A, B);
    s.promote(B)?;
    s.removes(B, C)?;
    s.pass(GRANTS_OVER);
    s.acknowledged(B, 3)
}

/// C acknowledged to A what was cut off later; the answers arrive when A leads again, without anybody having started again.
fn answered_two_terms_ago(s: &mut Schedule) -> Told {
    s.part(A, B);
    s.cut_from_store(A);
    s.world.held = Some((C, A));
    for i in 0..8 {
        s.ask(A, Kind::Write, i % 4);
    }
    s.pass(3_000);
    let old = std::mem::take(&mut s.world.mail);
    s.world.held = None;
    s.part(A, C);
    s.promote(B)?;
    s.pass(GRANTS_OVER);
    s.removes(B, A)?;
    s.acknowledged(B, 0)?;
    s.join_store(A);
    s.join(A, B);
    let id = s.world.nodes[A].disk.stored.id;
    s.until("it is in sync again", |w| w.record.in_sync(id))?;
    s.join(A, C);
    s.pass(2_000);
    s.world.hand_over(B, A);
    s.until("it leads again", |w| led(w, A).is_some())?;
    s.pass(2_000);
    s.part(A, C);
    for i in 0..3 {
        s.ask(A, Kind::Write, i);
    }
    s.pass(200);
    s.world.mail = old;
    s.deliver();
    s.pass(200);
    // A and B are gone for long, and C has to lead.
    s.world.crash(A, 30_000, 30_001);
    s.world.crash(B, 30_000, 30_001);
    s.promote(C)?;
    s.removes(C, A)?;
    s.removes(C, B)?;
    s.pass(GRANTS_OVER);
    s.acknowledged(C, 3)
}

/// An older state of B's volume is put back while A sends what B lacks.
fn set_back_while_it_catches_up(s: &mut Schedule) -> Told {
    s.part(A, B);
    s.removes(A, B)?;
    for _ in 0..40 {
        s.acknowledged(A, 1)?;
    }
    let had = s.world.nodes[B].disk.entries.len();
    s.join(A, B);
    s.until("it catches up", |w| w.nodes[B].disk.synced.len() >= had + 4)?;
    s.world.nodes[B].disk.synced.truncate(1);
    s.world.nodes[B].disk.entries.truncate(1);
    s.restart(B, 50)?;
    s.pass(10_000);
    Ok(())
}
