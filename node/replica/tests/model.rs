//! A model of the whole protocol around the code that nodes run: copies with disks, a network that loses and reorders, a
//! store that applies requests late, an operator, restarts, wiped disks. docs/replication.md says what it explores.

#[path = "model/invariants.rs"]
mod invariants;
#[path = "model/moves.rs"]
mod moves;
#[path = "model/state.rs"]
mod state;
#[path = "model/walk.rs"]
mod walk;
#[path = "model/world.rs"]
mod world;

use quiver_replica::{Rule, Rules};
use stateright::{Checker, HasDiscoveries, Model, Property};

use invariants::INVARIANTS;
use state::{Bounds, Start, State};
use world::Move;

const REACHED: &str = "a write is acknowledged in a later term";

impl Model for Bounds {
    type State = State;
    type Action = Move;

    fn init_states(&self) -> Vec<State> {
        vec![self.first()]
    }

    fn actions(&self, state: &State, moves: &mut Vec<Move>) {
        state.moves(self, moves);
    }

    fn next_state(&self, state: &State, chosen: Move) -> Option<State> {
        let mut next = state.clone();
        next.make(self, chosen);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = vec![
            Property::always(INVARIANTS[0].0, |_, s| (INVARIANTS[0].1)(s)),
            Property::always(INVARIANTS[1].0, |_, s| (INVARIANTS[1].1)(s)),
            Property::always(INVARIANTS[2].0, |_, s| (INVARIANTS[2].1)(s)),
            Property::always(INVARIANTS[3].0, |_, s| (INVARIANTS[3].1)(s)),
            Property::always(INVARIANTS[4].0, |_, s| (INVARIANTS[4].1)(s)),
            Property::always(INVARIANTS[5].0, |_, s| (INVARIANTS[5].1)(s)),
        ];
        if self.rules == Rules::default() {
            properties.push(Property::sometimes(
                "a write is acknowledged in a later term",
                |m: &Bounds, s: &State| m.writes == 0 || s.acked.iter().any(|(_, e)| e.term >= 2),
            ));
        }
        properties
    }
}

/// Two copies that are in sync.
const PAIR: Bounds = Bounds {
    start: Start::Populated,
    nodes: 2,
    writes: 1,
    version: 3,
    term: 3,
    restarts: 1,
    wipes: 0,
    set_backs: 0,
    hand_overs: 0,
    store_set_backs: 0,
    min_in_sync: 1,
    net: 1,
    requests: 2,
    operator_removes: false,
    slow_disks: false,
    late_hello: false,
    compacts: false,
    batch: 1024,
    rules: ALL,
};
const ALL: Rules = Rules::all();

/// Three copies, and more of everything: for walks.
const TRIO: Bounds = Bounds {
    nodes: 3,
    writes: 3,
    version: 7,
    term: 5,
    restarts: 2,
    wipes: 1,
    hand_overs: 1,
    net: 3,
    operator_removes: true,
    ..PAIR
};

/// Everything at once: slow disks, sessions that open late, one entry in a message, logs that are cut off.
const ROUGH: Bounds = Bounds { slow_disks: true, late_hello: true, batch: 1, compacts: true, ..TRIO };

/// What an exploration came to.
#[derive(Debug)]
struct Explored {
    states: usize,
    depth: usize,
    complete: bool,
    broken: Vec<String>,
    /// Whether a write was acknowledged in a later term: an exploration that never gets there proves little.
    reached: bool,
}

/// Explores breadth first, until something is broken, everything was seen, or `steps` were made.
fn explore(bounds: Bounds, steps: usize) -> Explored {
    let checker = bounds
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(steps)
        .spawn_bfs()
        .join();
    let mut broken = Vec::new();
    let mut reached = false;
    for (name, path) in checker.discoveries() {
        if name == REACHED {
            reached = true;
            continue;
        }
        let moves: Vec<String> = path.into_actions().iter().map(Move::label).collect();
        broken.push(format!("{name}\n  after {} moves: {}", moves.len(), moves.join(", ")));
    }
    let complete = broken.is_empty() && checker.state_count() < steps;
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    Explored { states, depth, complete, broken, reached }
}

/// Whether the large counts are asked for.
fn full() -> bool {
    std::env::var_os("QUIVER_TEST_FULL").is_some()
}

/// Explores, and expects nothing to be broken; `complete`: that the bounds were exhausted.
fn check(name: &str, bounds: Bounds, steps: usize, complete: bool) {
    let explored = explore(bounds, steps);
    println!("{name}: {} states, depth {}, complete: {}", explored.states, explored.depth, explored.complete);
    assert!(explored.broken.is_empty(), "{name}: {}", explored.broken.join("\n"));
    let seen_all = explored.complete && explored.reached;
    assert!(!complete || seen_all, "{name}: {explored:?}");
}

#[test]
fn two_copies_lose_nothing() {
    check("restart", PAIR, 10_000_000, true);
    let operator = Bounds { operator_removes: true, restarts: 0, ..PAIR };
    check("operator removes, no restart", operator, 10_000_000, true);
    check("slow disks", Bounds { slow_disks: true, version: 2, ..PAIR }, 10_000_000, true);
    check("disk wiped", Bounds { restarts: 0, wipes: 1, ..PAIR }, 10_000_000, true);
    check("two messages on their way", Bounds { net: 2, ..PAIR }, 1_500_000, false);
    if full() {
        check("two writes", Bounds { writes: 2, ..PAIR }, usize::MAX, true);
        check("disk wiped, restart", Bounds { wipes: 1, ..PAIR }, usize::MAX, true);
        check("two messages on their way", Bounds { net: 2, ..PAIR }, usize::MAX, true);
        check("restart, operator removes", Bounds { operator_removes: true, ..PAIR }, usize::MAX, true);
        check("slow disks", Bounds { slow_disks: true, ..PAIR }, usize::MAX, true);
    }
}

#[test]
fn a_shard_begins_with_one_copy_and_loses_nothing() {
    let genesis = Bounds { start: Start::Genesis, version: 4, wipes: 0, ..PAIR };
    check("genesis", genesis, 10_000_000, true);
    check("genesis, disk wiped", Bounds { restarts: 0, wipes: 1, ..genesis }, 10_000_000, true);
    if full() {
        check("genesis, longer", Bounds { version: 5, term: 4, ..genesis }, usize::MAX, true);
        let wiped = Bounds { restarts: 0, wipes: 1, version: 5, ..genesis };
        check("genesis, disk wiped", wiped, usize::MAX, true);
    }
}

#[test]
fn a_planned_hand_over_loses_nothing() {
    let planned = Bounds { hand_overs: 1, restarts: 0, ..PAIR };
    check("hand-over", Bounds { version: 4, ..planned }, 10_000_000, true);
    check("hand-over, restart", Bounds { restarts: 1, ..planned }, 1_500_000, false);
    if full() {
        check("hand-over, restart", Bounds { restarts: 1, ..planned }, usize::MAX, true);
        check("two hand-overs, two writes", Bounds { hand_overs: 2, writes: 2, ..planned }, usize::MAX, true);
    }
}

#[test]
fn a_store_that_was_set_back_moves_nobody_who_has_seen_more() {
    let restored = Bounds { store_set_backs: 1, restarts: 0, ..PAIR };
    check("store set back", restored, 10_000_000, true);
    check("store set back, restart", Bounds { restarts: 1, ..restored }, 1_500_000, false);
}

#[test]
fn three_copies_lose_nothing() {
    let smallest = Bounds { nodes: 3, version: 2, term: 2, restarts: 0, requests: 1, ..PAIR };
    check("three copies, smallest", smallest, 10_000_000, true);
    let trio = Bounds { nodes: 3, version: 2, term: 2, ..PAIR };
    check("three copies", trio, 1_500_000, false);
    if full() {
        check("three copies", trio, usize::MAX, true);
    }
}

#[test]
fn a_volume_that_was_put_back_spoils_no_other() {
    check("set back", Bounds { set_backs: 1, restarts: 0, version: 2, ..PAIR }, 10_000_000, true);
}

/// Walks at random with several bounds; nothing is broken, and writes are acknowledged on the way.
fn check_walks(name: &str, bounds: Bounds, steps: u64, heal: bool) {
    let walked = walk::walk(&bounds, 7, steps, heal);
    let (walks, steps) = (walked.walks, walked.steps);
    println!("{name}: {walks} walks, {steps} steps, {} acked, {} healed", walked.acked, walked.healed);
    if let Some((what, moves)) = walked.broken {
        panic!("{name}: {what}\n  after {} moves: {}", moves.len(), moves.join(", "));
    }
    assert!(walked.acked > walks / 4, "{name}: too few walks come to a write");
    assert!(!heal || walked.healed > walks / 4, "{name}: too few walks leave something to heal");
}

#[test]
fn random_walks_of_three_copies_lose_nothing() {
    let steps = if full() { 250_000_000 } else { 400_000 };
    check_walks("three copies", TRIO, steps, false);
    check_walks("from the genesis", Bounds { start: Start::Genesis, ..TRIO }, steps, false);
    check_walks("slow disks", Bounds { slow_disks: true, ..TRIO }, steps, false);
    check_walks("everything at once", ROUGH, steps, false);
    check_walks("two have to be in sync", Bounds { min_in_sync: 2, ..TRIO }, steps, false);
}

#[test]
fn a_shard_recovers_when_faults_have_ended() {
    let steps = if full() { 50_000_000 } else { 300_000 };
    check_walks("three copies", TRIO, steps, true);
    check_walks("from the genesis", Bounds { start: Start::Genesis, ..TRIO }, steps, true);
    check_walks("everything at once", ROUGH, steps, true);
    check_walks("two have to be in sync", Bounds { min_in_sync: 2, ..TRIO }, steps, true);
}

/// Leaves out a rule: breadth first has to find something broken within `steps`.
fn check_mutant(rule: Rule, bounds: Bounds, steps: usize) {
    let explored = explore(Bounds { rules: Rules::without(rule), ..bounds }, steps);
    println!("without {rule:?}: {} states; {}", explored.states, explored.broken.join("\n"));
    assert!(!explored.broken.is_empty(), "nobody notices that {rule:?} is left out");
}

#[test]
fn every_rule_is_needed() {
    use Rule::*;
    let two = Bounds { writes: 2, version: 4, ..PAIR };
    for rule in [
        CompareAndSwap,
        BootOfTerm,
        TailKeptOnNewTerm,
        RemovedRequired,
        ApplyCommitted,
        UnknownKept,
        CaughtUp,
        AdmittedRequired,
        OwnTailKept,
        GrantWaited,
        LeaseOfAll,
    ] {
        check_mutant(rule, two, 600_000);
    }
    for rule in [IdOfDisk, IdOfLearner, Genesis, LeaseFromSending] {
        check_mutant(rule, Bounds { wipes: 1, restarts: 0, ..two }, 600_000);
    }
    for rule in [AckAfterSync, ApplyDurable] {
        check_mutant(rule, Bounds { slow_disks: true, ..two }, 600_000);
    }
    check_mutant(DrainFirst, Bounds { hand_overs: 1, ..two }, 600_000);
    let planned = Bounds { hand_overs: 1, restarts: 0, version: 4, ..PAIR };
    check_mutant(ReleasedServesNot, planned, 4_000_000);
    check_mutant(RecordKept, Bounds { store_set_backs: 1, ..PAIR }, 4_000_000);
    check_mutant(CutAtConflict, Bounds { net: 2, ..two }, 600_000);
    check_mutant(OwnSync, Bounds { version: 2, ..PAIR }, 600_000);
    check_mutant(GrantAssumed, PAIR, 1_000_000);
    let one_term = Bounds { writes: 2, term: 2, ..PAIR };
    check_mutant(OldTermRefused, one_term, 4_000_000);
    check_mutant(AckOfTerm, one_term, 4_000_000);
    check_mutant(TermStored, Bounds { version: 4, ..PAIR }, 4_000_000);
    check_mutant(LeadingMarked, Bounds { version: 4, ..PAIR }, 4_000_000);
}

/// Leaves out a rule and follows a script, at whose end something is broken; with the rule nothing is.
fn check_script(rule: Rule, bounds: Bounds, script: &str) {
    let found = walk::script(&Bounds { rules: Rules::without(rule), ..bounds }, script);
    println!("without {rule:?}: {found:?} by a script of {} moves", script.split(',').count());
    assert!(found.is_some(), "nobody notices that {rule:?} is left out");
    assert_eq!(walk::script(&bounds, script), None);
}

#[test]
fn rules_that_matter_only_after_many_moves_are_needed() {
    check_script(
        Rule::RecommitFirst,
        Bounds { nodes: 3, version: 4, ..PAIR },
        "silent 0 2, store, observe 0, write 0, sync 0, open 0 2, send 0 2, deliver append, deliver ack, \
         restart 0, observe 0, store, observe 0, open 0 1, admit 0 2, store",
    );
    check_script(
        Rule::ReadAfterRecommit,
        Bounds { writes: 3, restarts: 2, batch: 1, ..PAIR },
        "write 0, write 0, sync 0, open 0 1, send 0 1, deliver append, deliver ack, send 0 1, deliver append, \
         deliver ack, write 0, send 0 1, deliver append, restart 1, restart 0, observe 0, store, observe 0, \
         open 0 1, send 0 1, deliver append 0..1, deliver ack 1",
    );
    check_script(
        Rule::CommitOfMatched,
        Bounds { writes: 3, restarts: 2, batch: 1, ..PAIR },
        "write 0, sync 0, open 0 1, send 0 1, deliver append, deliver ack, write 0, send 0 1, deliver append, \
         restart 0, restart 1, observe 0, store, observe 0, silent 0 2, store, observe 0, write 0, sync 0, \
         open 0 1, send 0 1, deliver append 0..1",
    );
    check_script(
        Rule::PreviousMatches,
        Bounds { writes: 2, set_backs: 1, ..PAIR },
        "write 0, sync 0, open 0 1, send 0 1, deliver append, deliver ack, set back 1, write 0, send 0 1, deliver append",
    );
}
