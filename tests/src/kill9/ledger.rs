//! What was asked of each point and what was acknowledged.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// What a point holds: the value that its vector and its payload both carry, and one set later by a payload change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub v: u64,
    pub s: Option<u64>,
}

/// One point. `None` is a point that isn't there.
#[derive(Clone, Debug, Default)]
struct Entry {
    acknowledged: Option<State>,
    /// Asked for after what is acknowledged, with no answer yet.
    open: Vec<Option<State>>,
}

/// All points. Each is written by one thread only, so what is open is in order.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<u64, Entry>>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.lock().expect("no thread panics while it holds the ledger")
    }

    /// The state that the next change of a point starts from; only right while nothing is open.
    pub fn current(&self, id: u64) -> Option<State> {
        self.entries().get(&id).and_then(|e| e.acknowledged)
    }

    /// A change is about to be sent.
    pub fn asked(&self, changes: &[(u64, Option<State>)]) {
        let mut entries = self.entries();
        for (id, state) in changes {
            entries.entry(*id).or_default().open.push(*state);
        }
    }

    /// The node said that it holds.
    pub fn acknowledged(&self, changes: &[(u64, Option<State>)]) {
        let mut entries = self.entries();
        for (id, state) in changes {
            let entry = entries.entry(*id).or_default();
            entry.acknowledged = *state;
            entry.open.clear();
        }
    }

    /// Compares with what a restarted node has, and goes on from there.
    pub fn settle(&self, found: &BTreeMap<u64, State>) -> Result<(), String> {
        let mut entries = self.entries();
        if let Some(id) = found.keys().find(|id| !entries.contains_key(id)) {
            return Err(format!("point {id} was never written"));
        }
        for (id, entry) in entries.iter_mut() {
            let is = found.get(id).copied();
            if is != entry.acknowledged && !entry.open.contains(&is) {
                return Err(format!(
                    "point {id} is {is:?}; acknowledged was {:?}, asked for since then {:?}",
                    entry.acknowledged, entry.open
                ));
            }
            *entry = Entry { acknowledged: is, open: Vec::new() };
        }
        Ok(())
    }

    /// How many points there are.
    pub fn alive(&self) -> usize {
        self.entries().values().filter(|e| e.acknowledged.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ledger itself must be able to fail: what each history allows, and what it doesn't.
    fn check(found: Option<State>, allowed: bool) {
        let ledger = Ledger::default();
        let (first, second) = (State { v: 1, s: None }, State { v: 2, s: None });
        ledger.asked(&[(7, Some(first))]);
        ledger.acknowledged(&[(7, Some(first))]);
        ledger.asked(&[(7, Some(second))]);
        let found = found.map(|state| (7, state)).into_iter().collect();
        assert_eq!(ledger.settle(&found).is_ok(), allowed, "{found:?}");
    }

    #[test]
    fn only_the_acknowledged_or_a_later_state_is_right() {
        check(Some(State { v: 1, s: None }), true);
        check(Some(State { v: 2, s: None }), true);
        check(Some(State { v: 3, s: None }), false);
        check(Some(State { v: 2, s: Some(1) }), false);
        check(None, false);
    }

    #[test]
    fn a_point_that_nobody_wrote_is_seen() {
        let found = [(9, State { v: 1, s: None })].into_iter().collect();
        assert!(Ledger::default().settle(&found).is_err());
    }
}
