//! Where copies go, and that evening them out ends, on worlds of pods that share machines and zones.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::copies_tests::{SILENT, answers, check_even, replicated, settle, steps};
use crate::fixtures::{applied, fresh, planned, pod};
use crate::liveness::Standing;
use crate::observe::Observed;

/// More nodes than before, each on its machine.
fn grow(world: &mut Observed, nodes: std::ops::Range<usize>) {
    world.collection.spec.nodes = nodes.end as i32;
    for ordinal in nodes {
        world.pods.push(pod("docs", ordinal as i32, "rev-1", true));
        world.standing.insert(format!("docs-{ordinal}"), Standing::Alive);
    }
    answers(world);
}

fn weigh(world: &mut Observed, bytes: impl Fn(u32) -> u64) {
    let shards = world.nodes.values_mut().flatten().flat_map(|n| &mut n.shards);
    shards.for_each(|s| s.bytes_disk = bytes(s.shard));
}

#[test]
fn new_nodes_get_their_share() {
    for factor in [1, 2] {
        let mut world = replicated("nodes: 2\nshards: 12", factor);
        grow(&mut world, 2..4);
        settle(&mut world, &mut 900);
        check_even(&world, factor, 4);
    }
}

#[test]
fn nodes_get_their_share_on_whichever_machines_they_are() {
    let check = |layout: usize, bytes: fn(u32) -> u64| {
        let at = |ordinal: usize| format!("m{}", layout / 3usize.pow(ordinal as u32) % 3);
        let on = |machine: &str| (0..5).filter(|o| at(*o) == machine).count();
        if ["m0", "m1", "m2"].into_iter().any(|m| on(m) > 2) {
            return 0;
        }
        let mut world = replicated("shards: 10", 2);
        weigh(&mut world, bytes);
        let place = |world: &mut Observed, ordinal: usize| {
            world.machines.insert(format!("docs-{ordinal}"), (None, Some(at(ordinal))));
        };
        (0..5).for_each(|ordinal| place(&mut world, ordinal));
        settle(&mut world, &mut 900);
        grow(&mut world, 3..5);
        settle(&mut world, &mut 9000);
        let machines: Vec<_> = (0..5).map(at).collect();
        let mut load = [0; 5];
        for shard in &world.shards {
            let pods: Vec<_> = shard.spec.copies.iter().map(|c| c.pod.clone()).collect();
            assert_ne!(world.machines[&pods[0]], world.machines[&pods[1]], "{machines:?}: {pods:?}");
            pods.iter().for_each(|pod| load[pod["docs-".len()..].parse::<usize>().expect("a number")] += 1);
        }
        assert_eq!(load, [4; 5], "{machines:?}");
        1
    };
    let checked = |bytes| (0..243).map(|layout| check(layout, bytes)).sum::<i32>();
    assert_eq!(checked(|_| 0), 90);
    assert_eq!(checked(|shard| u64::from(shard * 7 % 5) << 20), 90);
}

#[test]
fn copies_go_to_other_zones_and_machines() {
    let mut world = applied(fresh("nodes: 4\nshards: 1\nreplication: {factor: 2}"));
    let zone = |z: &str, m: &str| (Some(z.to_owned()), Some(m.to_owned()));
    let places = [zone("a", "m0"), zone("a", "m1"), zone("b", "m2"), zone("b", "m2")];
    world.machines = places.into_iter().enumerate().map(|(i, p)| (format!("docs-{i}"), p)).collect();
    assert_eq!(steps(&world), ["0: place docs-2"]);
    world.standing.insert("docs-2".into(), SILENT);
    assert_eq!(steps(&world), ["0: place docs-3"]);
    world.standing.insert("docs-3".into(), Standing::Unknown);
    assert_eq!(steps(&world), ["0: place docs-1"]);
    world.nodes.get_mut("docs-1").expect("one").as_mut().expect("ok").ready = false;
    assert_eq!(steps(&world), [""; 0]);
    assert!(planned(&world).work.waits[0].contains("1 of 2 copies, and no node can take another one"));
}

#[test]
fn copies_whose_pods_came_to_lie_together_are_taken_apart() {
    let mut world = replicated("shards: 6", 2);
    let machine = |m: &str| (None, Some(m.to_owned()));
    let check = |world: &mut Observed, machines: [&str; 3], apart: bool| {
        for (i, m) in machines.into_iter().enumerate() {
            world.machines.insert(format!("docs-{i}"), machine(m));
        }
        settle(world, &mut 900);
        for shard in &world.shards {
            let on: BTreeSet<_> =
                shard.spec.copies.iter().map(|c| world.machines[&c.pod].1.clone()).collect();
            assert!(!apart || on.len() == 2, "{machines:?}: {:?}", shard.spec.copies);
            assert!(shard.spec.copies.len() == 2 && shard.spec.copies.iter().all(|c| c.in_sync));
        }
    };
    check(&mut world, ["m0", "m0", "m1"], true);
    // Nothing to be had by a move.
    check(&mut world, ["m0", "m0", "m0"], false);
    check(&mut world, ["m0", "m1", "m2"], true);
}

proptest! {
    /// `settle` panics if it goes on for ever.
    #[test]
    fn evening_out_ends(
        (factor, first, more) in (1usize..4, 0usize..3, 0usize..5),
        mib in vec(0u64..2000, 1..17),
        machines in vec(0u32..5, 8),
        zones in 1u32..4,
    ) {
        let (first, then) = (factor + first, factor + more);
        let mut world = replicated(&format!("nodes: {first}\nshards: {}", mib.len()), factor);
        weigh(&mut world, |shard| mib[shard as usize] << 20);
        for (ordinal, machine) in machines.iter().enumerate() {
            let place = (Some(format!("z{}", machine % zones)), Some(format!("m{machine}")));
            world.machines.insert(format!("docs-{ordinal}"), place);
        }
        settle(&mut world, &mut 900);
        world.collection.spec.nodes = then as i32;
        if then > first {
            grow(&mut world, first..then);
        }
        settle(&mut world, &mut 9000);
    }
}
