//! A deterministic simulation: the code that nodes run, with everything around it made up from one seed, and judged by what
//! clients saw. docs/replication.md says what happens in it. `QUIVER_SEED=n` replays one run.

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/dice.rs"]
mod dice;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/history.rs"]
mod history;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/schedule.rs"]
mod schedule;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::io::Write;

use dice::Dice;
use history::{Op, linearizable, linearizable_by_search};
use quiver_replica::Rule::{self, *};
use quiver_replica::Rules;
use world::{Breakage, CALM, World};

/// How old a read that is called fresh may be: its time by the slowest clock, and the longest that a message can take here,
/// including a pause of who gets it.
const STALE: u64 = 3_000 * 1000 / 800 + 2_500 + 110_000;

/// One run of one seed.
fn run(seed: u64, broken: Breakage) -> (World, Result<(), String>) {
    let mut world = World::new(seed, broken);
    world.run();
    let judged = world.judge();
    (world, judged)
}

/// The seeds to run: one that is asked for, or so many.
fn seeds(many: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("QUIVER_SEED").ok().and_then(|s| s.parse::<u64>().ok());
    asked.map_or(0..many, |seed| seed..seed + 1)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "only the rate that is printed comes of it")]
fn no_seed_loses_a_write_or_reads_an_old_one() {
    let begun = std::time::Instant::now();
    let (mut acked, mut strong, mut ordinary, mut events, mut stalest, mut slowest) = (0, 0, 0, 0, 0, 0);
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let seeds = seeds(20_000);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let (world, judged) = run(seed, Breakage::default());
        judged.unwrap_or_else(|why| panic!("QUIVER_SEED={seed}: {why}"));
        acked += world.told.acknowledged().count();
        strong += world.told.strong_reads();
        ordinary += world.told.ordinary_reads();
        events += world.events;
        assert!(
            world.staleness() <= STALE,
            "QUIVER_SEED={seed}: {} ms old and called fresh",
            world.staleness()
        );
        stalest = stalest.max(world.staleness());
        slowest = slowest.max(world.well_at.map_or(0, |t| t - CALM));
        world.faults.iter().for_each(|(fault, n)| *faults.entry(*fault).or_default() += n);
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    // Not by `println!`, which a test that passes shows nobody.
    writeln!(std::io::stderr(), "\n1,000 simulated seeds take {:.1} s", 1000.0 / rate).expect("printed");
    println!("{count} seeds, {rate:.0} a second; {events} events, {acked} writes, {strong} strong reads");
    println!(
        "{ordinary} reads called fresh, the oldest {stalest} ms old; well again after at most {slowest} ms"
    );
    println!("{faults:?}");
    assert!(count == 1 || acked as u64 > 50 * count, "clients come to write");
    assert!(count == 1 || strong as u64 > 50 * count, "clients come to read");
}

/// Breaks something: a run within `seeds` has to be judged wrong.
fn check_broken(name: &str, broken: Breakage, seeds: u64) -> bool {
    let found = (0..seeds).find_map(|seed| run(seed, broken).1.err().map(|why| (seed, why)));
    match &found {
        Some((seed, why)) => println!("{name}: seed {seed}: {why}"),
        None => println!("{name}: not seen in {seeds} seeds"),
    }
    found.is_some()
}

#[test]
fn a_broken_node_is_found_out() {
    let none = Breakage::default();
    assert!(check_broken("no fsync", Breakage { no_fsync: true, ..none }, 100));
    assert!(check_broken("stale strong reads", Breakage { stale_strong_reads: true, ..none }, 100));
    assert!(check_broken("blind retry", Breakage { blind_retry: true, ..none }, 100));
    assert!(check_broken("files that come late", Breakage { late_installs: true, ..none }, 1_000));
}

/// Rules without which a run is judged wrong, and the first seed of such a run. A change of the simulation moves them: then all seeds
/// from 0 on are tried.
const SEEN: [(Rule, u64); 25] = [
    (IdOfDisk, 6),
    (IdOfLearner, 2_963),
    (Genesis, 6),
    (CompareAndSwap, 2),
    (BootOfTerm, 0),
    (CutAtConflict, 139),
    (TailKeptOnNewTerm, 0),
    (AckAfterSync, 127),
    (OwnSync, 57),
    (ApplyCommitted, 0),
    (OwnTailKept, 1),
    (ReadAfterRecommit, 5),
    (OldTermRefused, 811),
    (CommitOfMatched, 730),
    (RemovedRequired, 38),
    (UnknownKept, 4_352),
    (RecommitFirst, 693),
    (CaughtUp, 92),
    (AdmittedRequired, 4_432),
    (GrantWaited, 9_314),
    (LeaseOfAll, 601),
    (RecordKept, 1_627),
    (LeaseFromSending, 89_824),
    (ApplyDurable, 90),
    (DrainFirst, 0),
];

#[test]
fn rules_left_out_are_found_out() {
    for (rule, seed) in SEEN {
        let broken = Breakage { rules: Rules::without(rule), ..Breakage::default() };
        let name = format!("without {rule:?}");
        let found = run(seed, broken).1.is_err() || check_broken(&name, broken, 20_000);
        assert!(found, "nobody notices that {rule:?} is left out");
    }
}

/// Those that chance needs too seldom to be seen. With the ones above these are all rules there are.
#[test]
fn schedules_need_their_rules() {
    for (rule, story, nodes) in schedule::SCHEDULES {
        let right = schedule::check(Breakage::default(), story, nodes);
        assert_eq!(right, Ok(()), "{rule:?}");
        let broken = Breakage { rules: Rules::without(rule), ..Breakage::default() };
        let wrong = schedule::check(broken, story, nodes);
        println!("without {rule:?}: {wrong:?}");
        assert!(wrong.is_err(), "nobody notices that {rule:?} is left out");
    }
}

/// A small history at random: a register as it would be, or one that lies.
fn small_history(dice: &mut Dice) -> Vec<Op> {
    let count = 2 + dice.below(5);
    let mut ops: Vec<Op> = Vec::new();
    for i in 0..count {
        let write = i == 0 || dice.chance(500);
        let value = if write { i as u64 + 1 } else { dice.below(i + 1) as u64 };
        let began = 10 * dice.within(1, 12) + i as u64;
        let ended = (!write || dice.chance(800)).then(|| began + 10 * dice.within(1, 6) + 5);
        ops.push(Op { register: 0, value, write, began, ended });
    }
    let written: Vec<u64> = ops.iter().filter(|o| o.write).map(|o| o.value).collect();
    ops.retain(|o| o.write || o.value == 0 || written.contains(&o.value));
    ops
}

#[test]
fn the_judge_agrees_with_trying_every_order() {
    let mut dice = Dice::new(5);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..50_000 {
        let ops = small_history(&mut dice);
        let (found, searched) = (linearizable(&ops), linearizable_by_search(&ops));
        assert_eq!(found.is_ok(), searched, "{found:?} {ops:?}");
        *if searched { &mut right } else { &mut wrong } += 1;
    }
    println!("{right} histories are right, {wrong} are wrong");
    assert!(right > 1_000 && wrong > 1_000);
}
