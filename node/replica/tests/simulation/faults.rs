//! What goes wrong. A plan keeps one complete copy, so that every run can end well.

use super::dice::Dice;
use super::world::{CALM, Happening, World};

impl World {
    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// One fault, and the time of the next; after the last one everything works.
    pub fn fault(&mut self) {
        if self.now >= CALM {
            return self.end_of_faults();
        }
        let next = (self.now + self.dice.within(100, 3_000)).min(CALM);
        self.at(next, Happening::Fault);
        let i = self.dice.below(self.nodes.len());
        let until = self.now + self.dice.within(500, 12_000);
        match self.dice.below(20) {
            0 | 1 => {
                self.count("crash");
                self.crash(i, 50, 8_000);
            }
            2 => {
                self.count("power cut everywhere");
                (0..self.nodes.len()).for_each(|i| self.crash(i, 50, 3_000));
            }
            3 | 4 => {
                self.count("pause");
                // Not longer than it is: what a message takes to arrive bounds how old a read may be.
                if self.nodes[i].paused + 1_000 < self.now {
                    self.nodes[i].paused = until;
                }
            }
            5 | 6 => self.partition(i),
            7 | 8 => {
                self.count("network whole again");
                self.blocked.iter_mut().flatten().for_each(|b| *b = false);
                self.lossy = 0;
            }
            9 => {
                self.count("messages lost and late");
                (self.lossy, self.slow) = (self.dice.below(300), self.dice.below(300));
            }
            10 => {
                self.count("disk stalls");
                self.nodes[i].disk.stalled = until;
            }
            11 => {
                self.count("disk full");
                self.nodes[i].disk.full = until;
            }
            12 => {
                self.count("disk fails");
                self.nodes[i].disk.fails = true;
            }
            13 => self.wipe(i),
            14 => {
                self.count("store away");
                self.outage = until;
            }
            15 => {
                self.count("watch late");
                self.slow_watch = until;
            }
            16 => {
                self.count("operator away");
                self.operator_gone = until;
            }
            _ => {
                self.count("hand-over");
                let j = self.dice.below(self.nodes.len());
                let primary = self.nodes.iter().position(|n| n.disk.stored.id == self.record.primary);
                primary.into_iter().for_each(|i| self.hand_over(i, j));
            }
        }
    }

    fn partition(&mut self, i: usize) {
        let count = self.nodes.len();
        let j = self.dice.below(count + 1);
        match self.dice.below(4) {
            0 => {
                self.count("one way cut");
                self.blocked[i][j] = true;
            }
            1 => {
                self.count("bridge");
                (self.blocked[i][j], self.blocked[j][i]) = (true, true);
            }
            2 => {
                self.count("cut from the store");
                self.blocked[i][count] = true;
            }
            _ => {
                self.count("cut from all");
                for j in 0..=count {
                    (self.blocked[i][j], self.blocked[j][i]) = (true, true);
                }
            }
        }
    }

    /// A disk is lost, if another copy in sync is left whatever requests on their way do.
    fn wipe(&mut self, i: usize) {
        let others = self.nodes.iter().enumerate().any(|(j, n)| {
            j != i && self.record.in_sync(n.disk.stored.id) && n.unfit().is_none() && !n.disk.fails
        });
        let pending =
            self.nodes.iter().filter_map(|n| n.copy.as_ref()?.primary()).any(|p| p.pending.is_some());
        if others && !pending && self.in_flight == 0 && self.record.primary_boot.is_some() {
            self.count("disk lost");
            self.make_anew(i);
        }
    }

    fn end_of_faults(&mut self) {
        self.blocked.iter_mut().flatten().for_each(|b| *b = false);
        (self.lossy, self.slow) = (0, 0);
        (self.outage, self.slow_watch, self.operator_gone) = (0, 0, 0);
        for node in &mut self.nodes {
            node.paused = node.paused.min(self.now);
            let disk = &mut node.disk;
            (disk.stalled, disk.full, disk.fails) = (0, 0, false);
        }
        self.dice = Dice::new(self.events);
    }
}
