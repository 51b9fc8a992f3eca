//! What must hold in every state.

use quiver_replica::Seq;

use super::state::{Entry, NOW, State};

pub type Invariant = (&'static str, fn(&State) -> bool);

pub const INVARIANTS: [Invariant; 6] = [
    ("A: what was acknowledged is durable on every live copy in sync", durable_in_sync),
    ("B: who serves a strong read has committed all that was acknowledged", read_sees_all),
    ("C: what was applied is the beginning of the log, and what was acknowledged", applied_is_right),
    ("D: logs with one entry in common are equal up to it", logs_match),
    ("E: one primary in a term", one_primary),
    ("F: a planned hand-over leaves no write in the air", drained),
];

fn has(entries: &[Entry], (seq, entry): &(Seq, Entry)) -> bool {
    entries.get(*seq as usize - 1) == Some(entry)
}

/// A volume that was put back lost what it acknowledged; only what others make of it can be right or wrong.
fn lost_by_hand(state: &State) -> bool {
    state.set_backs > 0
}

fn durable_in_sync(state: &State) -> bool {
    if lost_by_hand(state) {
        return true;
    }
    let mut in_sync = state.nodes.iter().filter(|n| state.newest.in_sync(n.id()));
    in_sync.all(|n| state.acked.iter().all(|a| has(&n.disk.synced, a)))
}

fn read_sees_all(state: &State) -> bool {
    lost_by_hand(state)
        || state.nodes.iter().all(|n| match n.copy.strong_read(NOW) {
            Ok(commit) => state.acked.iter().all(|a| a.0 <= commit && has(&n.disk.entries, a)),
            Err(_) => true,
        })
}

fn applied_is_right(state: &State) -> bool {
    let agrees = |applied: &[Entry], (seq, entry): &(Seq, Entry)| {
        applied.get(*seq as usize - 1).is_none_or(|e| e == entry)
    };
    state.nodes.iter().all(|n| {
        let applied = &n.disk.applied;
        let right = lost_by_hand(state) || state.acked.iter().all(|a| agrees(applied, a));
        right && n.disk.entries.starts_with(applied)
    })
}

fn logs_match(state: &State) -> bool {
    let logs = || state.nodes.iter().map(|n| &n.disk.entries);
    logs().enumerate().all(|(i, a)| {
        logs().skip(i + 1).all(|b| {
            let common = (0..a.len().min(b.len())).rev().find(|k| a[*k].term == b[*k].term);
            common.is_none_or(|k| a[..=k] == b[..=k])
        })
    })
}

fn one_primary(state: &State) -> bool {
    let terms = || state.nodes.iter().filter_map(|n| n.copy.primary().map(|p| p.term));
    terms().enumerate().all(|(i, t)| terms().skip(i + 1).all(|o| o != t))
}

/// Whoever has released what it leads waits for nothing: its writers were all told what became of their writes.
fn drained(state: &State) -> bool {
    state.nodes.iter().all(|n| {
        let released = n.copy.primary().and_then(|p| p.hand_over).is_some_and(|h| h.released);
        !released || n.copy.log().last() == n.copy.log().commit()
    })
}

/// The first invariant that a state breaks.
pub fn broken(state: &State) -> Option<&'static str> {
    INVARIANTS.iter().find(|(_, holds)| !holds(state)).map(|(name, _)| *name)
}
