//! Copies: a world, what happens to it, and the steps that follow. Steps are also carried out as nodes and API server would, until
//! nothing is left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::ResourceExt;
use quiver_api::internal::{CopyState, NodeStatus};
use quiver_crds::condition::{kind, reason};
use quiver_crds::shard::{Copy, Purpose};
use quiver_replica::Rules;

use super::copies::{Step, dropped, listed};
use super::sites::record;
use crate::fixtures::{applied, boot, fresh, id, node, planned, pod};
use crate::liveness::Standing;
use crate::observe::Observed;
use crate::status::{Outcome, collection_status};

pub(super) const SILENT: Standing = Standing::Silent(Duration::from_secs(11));

/// Steps in words: `0: promote docs-1`.
pub(super) fn steps(world: &Observed) -> Vec<String> {
    planned(world).work.steps.iter().map(|s| word(world, s)).collect()
}

fn word(world: &Observed, step: &Step) -> String {
    let n = step.shard();
    let before = &world.shards.iter().find(|s| s.spec.shard == n).expect("a shard").spec;
    match step {
        Step::Place { pod, .. } => format!("{n}: place {pod}"),
        Step::HandOver { pod, to, .. } => {
            let to = before.copies.iter().find(|c| c.id == *to).expect("a copy of the record");
            format!("{n}: hand over from {pod} to {}", to.pod)
        }
        Step::Record { next, .. } => {
            let next = &next.spec;
            let lead = next.copies.iter().find(|c| c.id == next.primary).expect("a primary");
            if next.primary != before.primary {
                return format!("{n}: promote {}", lead.pod);
            }
            if let Some(c) = next.copies.iter().find(|c| before.copies.iter().all(|o| o.id != c.id)) {
                return format!("{n}: list {}", c.pod);
            }
            let changed = |o: &&Copy| next.copies.iter().all(|c| c.id != o.id || c.in_sync != o.in_sync);
            let other = before.copies.iter().find(changed).expect("a change");
            let what = match step {
                Step::Record { then_drop: Some(_), .. } => "remove and drop",
                _ if other.in_sync => "remove",
                _ => "drop",
            };
            format!("{n}: {what} {}", other.pod)
        }
    }
}

/// `factor` copies of each shard, all in sync, on as many nodes as the spec says.
pub(super) fn replicated(spec: &str, factor: usize) -> Observed {
    let mut world = applied(fresh(&format!("{spec}\nreplication: {{factor: {factor}}}")));
    let mut seed = 0;
    settle(&mut world, &mut seed);
    world
}

/// Carries out one round of steps as API server and nodes would: every copy that is listed is in sync a round later.
/// Answers with what was done.
fn round(world: &mut Observed, seed: &mut u128) -> Vec<String> {
    let plan = planned(world);
    let words = plan.work.steps.iter().map(|s| word(world, s)).collect();
    for shard in &mut world.shards {
        let stays = |c: &&mut Copy| !c.in_sync && c.purpose != Some(Purpose::Leaving);
        let behind = shard.spec.copies.iter_mut().filter(stays);
        let alive = behind.filter(|c| !world.standing.get(&c.pod).is_none_or(|s| s.silent()));
        let mut filled = 0;
        alive.for_each(|c| {
            c.in_sync = true;
            filled += 1;
        });
        shard.spec.config_version += filled;
    }
    for step in plan.work.steps {
        let n = step.shard();
        let at = world.shards.iter().position(|s| s.spec.shard == n).expect("a shard");
        let current = &world.shards[at];
        match step {
            // Made from another version: the API server refuses it.
            Step::Record { next, .. } if next.spec.config_version != current.spec.config_version + 1 => {}
            Step::Record { next, then_drop, .. } => {
                let (before, after) = (record(current).expect("ids"), record(&next).expect("ids"));
                assert_eq!(before.accepts(&after, Rules::default()), Ok(()), "{before:?} {after:?}");
                let kept = |c: &Copy| next.spec.copies.iter().any(|o| o.id == c.id);
                assert!(
                    current.spec.copies.iter().all(|c| !c.in_sync || kept(c)),
                    "only what isn't in sync is dropped"
                );
                world.shards[at] = *next;
                if let Some((next, _)) = then_drop.and_then(|id| dropped(&world.shards[at], id)) {
                    world.shards[at] = next;
                }
            }
            Step::Place { pod, shard, list, .. } => {
                *seed += 1;
                let (next, _) = listed(&shard, &id(5000 + *seed), &pod).expect("a copy can be listed");
                if list && next.spec.config_version == current.spec.config_version + 1 {
                    world.shards[at] = next;
                }
            }
            Step::HandOver { to, boot, .. } => {
                let spec = &mut world.shards[at].spec;
                (spec.primary, spec.primary_boot) = (to, boot);
                (spec.term, spec.config_version) = (spec.term + 1, spec.config_version + 1);
            }
        }
    }
    if plan.replicas < world.pods.len() as i32 {
        world.pods.truncate(plan.replicas as usize);
    }
    answers(world);
    words
}

/// Nodes that aren't silent answer what their records say.
pub(super) fn answers(world: &mut Observed) {
    let pods: Vec<String> = world.pods.iter().map(|p| p.name_any()).collect();
    let live = pods.iter().filter(|p| !world.standing.get(*p).is_none_or(|s| s.silent()));
    let mut nodes: BTreeMap<_, _> = live.map(|p| (p.clone(), Ok(node(world, p)))).collect();
    // Shards weigh what they weighed before.
    let before = world.nodes.values().flatten().flat_map(|n| &n.shards);
    let bytes: BTreeMap<u32, u64> = before.map(|s| (s.shard, s.bytes_disk)).collect();
    for shard in nodes.values_mut().flatten().flat_map(|n: &mut NodeStatus| &mut n.shards) {
        shard.bytes_disk = bytes.get(&shard.shard).copied().unwrap_or_default();
    }
    world.nodes = nodes;
}

/// Rounds until nothing is left to do, and all that was done.
pub(super) fn settle(world: &mut Observed, seed: &mut u128) -> Vec<String> {
    let mut done = Vec::new();
    for _ in 0..200 {
        let words = round(world, seed);
        let calm = words.is_empty() && planned(world).work.settled() && steps(world).is_empty();
        done.extend(words);
        if calm {
            return done;
        }
    }
    panic!("it never ends: {:?}", &done[done.len().saturating_sub(20)..]);
}

/// Every shard has `factor` copies in sync, each on another of the first `nodes` pods, as evenly as can be.
pub(super) fn check_even(world: &Observed, factor: usize, nodes: usize) {
    let mut load = vec![0i32; nodes];
    let mut leads = vec![0i32; nodes];
    for shard in &world.shards {
        let spec = &shard.spec;
        let pods: BTreeSet<&str> = spec.copies.iter().map(|c| c.pod.as_str()).collect();
        assert_eq!((pods.len(), spec.copies.len()), (factor, factor), "shard {}", spec.shard);
        assert!(spec.copies.iter().all(|c| c.in_sync));
        for copy in &spec.copies {
            let ordinal: usize = copy.pod.strip_prefix("docs-").expect("ours").parse().expect("a number");
            load[ordinal] += 1;
            leads[ordinal] += i32::from(copy.id == spec.primary);
        }
    }
    let spread = |l: &[i32]| l.iter().max().expect("a node") - l.iter().min().expect("a node");
    assert!(spread(&load) <= 2 && spread(&leads) <= 1, "copies {load:?}, leads {leads:?}");
}

#[test]
fn every_shard_gets_its_copies_and_then_nothing_happens() {
    for (spec, factor, nodes) in
        [("", 2, 3), ("", 3, 3), ("nodes: 5\nshards: 16", 3, 5), ("nodes: 2\nshards: 1", 2, 2)]
    {
        let world = replicated(spec, factor);
        check_even(&world, factor, nodes);
        assert!(planned(&world).is_idle());
    }
}

/// Changes a world of three nodes with two copies of each shard, and expects the first steps.
fn check(edit: impl FnOnce(&mut Observed), expected: &[&str]) {
    let mut world = replicated("shards: 3", 2);
    let layout: Vec<Vec<&str>> =
        world.shards.iter().map(|s| s.spec.copies.iter().map(|c| c.pod.as_str()).collect()).collect();
    assert_eq!(
        layout,
        [["docs-0", "docs-1"], ["docs-1", "docs-2"], ["docs-2", "docs-0"]].map(Vec::from),
        "the world"
    );
    edit(&mut world);
    assert_eq!(steps(&world), expected);
}

fn silence(world: &mut Observed, pod: &str, standing: Standing) {
    world.standing.insert(pod.into(), standing);
    world.nodes.insert(pod.into(), Err("no answer".into()));
}

/// The copy of a shard that a node reports, to be changed.
fn report(
    world: &mut Observed,
    pod: &str,
    shard: u32,
    edit: impl FnOnce(&mut quiver_api::internal::ShardStatus),
) {
    let node = world.nodes.get_mut(pod).and_then(|n| n.as_mut().ok()).expect("it answers");
    edit(node.shards.iter_mut().find(|s| s.shard == shard).expect("a copy"));
}

#[test]
fn a_silent_leader_is_replaced_and_only_a_silent_one() {
    check(|_| {}, &[]);
    check(|w| silence(w, "docs-0", SILENT), &["0: promote docs-1"]);
    check(|w| silence(w, "docs-1", SILENT), &["1: promote docs-2"]);
    // It doesn't answer, but renews its Lease, or nobody knows whether it does.
    check(|w| silence(w, "docs-0", Standing::Alive), &[]);
    check(|w| silence(w, "docs-0", Standing::Late), &[]);
    check(|w| silence(w, "docs-0", Standing::Unknown), &[]);
    check(|w| w.standing.clear(), &[]);
    // Nobody is left to lead.
    check(
        |w| {
            silence(w, "docs-0", SILENT);
            silence(w, "docs-1", SILENT);
            silence(w, "docs-2", SILENT);
        },
        &[],
    );
    // The other one doesn't answer: it isn't promoted blindly.
    check(
        |w| {
            silence(w, "docs-0", SILENT);
            silence(w, "docs-1", Standing::Alive);
        },
        &[],
    );
    // It is not in sync: it lacks acknowledged writes.
    check(
        |w| {
            silence(w, "docs-0", SILENT);
            w.shards[0].spec.copies[1].in_sync = false;
        },
        &[],
    );
    check(
        |w| {
            silence(w, "docs-0", SILENT);
            w.collection.spec.hibernate = true;
        },
        &[],
    );
}

#[test]
fn a_leader_without_sound_data_is_replaced() {
    check(|w| report(w, "docs-0", 0, |s| s.fit = false), &["0: promote docs-1"]);
    check(
        |w| w.nodes.get_mut("docs-0").expect("one").as_mut().expect("ok").shards.clear(),
        &["0: promote docs-1", "2: place docs-0"],
    );
    // The answer is of another collection's node: it says nothing.
    check(
        |w| w.nodes.get_mut("docs-0").expect("one").as_mut().expect("ok").collection_uid = "u-0".into(),
        &[],
    );
}

#[test]
fn the_copy_with_the_longest_log_leads_next() {
    let mut world = replicated("shards: 1", 3);
    silence(&mut world, "docs-0", SILENT);
    report(&mut world, "docs-1", 0, |s| (s.promised, s.seq) = (3, 90));
    report(&mut world, "docs-2", 0, |s| (s.promised, s.seq) = (3, 91));
    assert_eq!(steps(&world), ["0: promote docs-2"]);
    report(&mut world, "docs-1", 0, |s| s.promised = 4);
    assert_eq!(steps(&world), ["0: promote docs-1"]);
}

#[test]
fn a_lost_volume_gets_a_new_copy_in_place_of_the_old_one() {
    let mut world = replicated("shards: 1\nnodes: 2", 2);
    let lost =
        |w: &mut Observed| w.nodes.get_mut("docs-1").expect("one").as_mut().expect("ok").shards.clear();
    lost(&mut world);
    assert_eq!(steps(&world), ["0: place docs-1"]);
    // The node names what it made: the old one is out of sync first, then the new one takes its place.
    let made = |w: &mut Observed| {
        answers(w);
        report(w, "docs-1", 0, |s| (s.copy_id, s.state) = (id(77), CopyState::CatchingUp));
    };
    made(&mut world);
    assert_eq!(steps(&world), ["0: remove docs-1"]);
    world.shards[0].spec.copies[1].in_sync = false;
    assert_eq!(steps(&world), ["0: list docs-1"]);
    // That is what a node says that has looked; it isn't ready before it has another one.
    let mut world = replicated("shards: 1\nnodes: 2", 2);
    world.nodes.get_mut("docs-1").expect("one").as_mut().expect("ok").ready = false;
    let says = |w: &mut Observed, state, version| {
        report(w, "docs-1", 0, |s| (s.state, s.fit, s.config_version) = (state, false, version));
    };
    says(&mut world, CopyState::ConfigLost, 0);
    assert_eq!(steps(&world), ["0: place docs-1"]);
    // A store that was set back is nothing that a new copy cures.
    says(&mut world, CopyState::ConfigLost, 7);
    assert_eq!(steps(&world), [""; 0]);
    says(&mut world, CopyState::Damaged, 7);
    assert_eq!(steps(&world), [""; 0]);
    world.shards[0].spec.copies[1].in_sync = false;
    assert_eq!(steps(&world), ["0: place docs-1"]);
    // A node that isn't ready may not have found its copies yet.
    let mut world = replicated("shards: 1\nnodes: 2", 2);
    lost(&mut world);
    world.nodes.get_mut("docs-1").expect("one").as_mut().expect("ok").ready = false;
    assert_eq!(steps(&world), [""; 0]);
}

#[test]
fn the_number_of_copies_follows_the_factor_both_ways() {
    let mut world = replicated("", 1);
    let mut seed = 900;
    for factor in [3, 2, 1, 2] {
        world.collection.spec.replication.factor = factor;
        settle(&mut world, &mut seed);
        check_even(&world, factor as usize, 3);
    }
}

#[test]
fn fewer_nodes_are_emptied_by_copying_handing_over_and_dropping() {
    for factor in [1, 2] {
        let mut world = replicated("nodes: 4\nshards: 8", factor);
        world.collection.spec.nodes = 2;
        let mut seed = 900;
        let done = settle(&mut world, &mut seed);
        assert_eq!(world.pods.len(), 2, "{done:?}");
        check_even(&world, factor, 2);
        // Each leaving copy in sync is first replaced, and a lead is handed over before its copy goes.
        let of =
            |n: i32| done.iter().filter(|w| w.starts_with(&format!("{n}: "))).cloned().collect::<Vec<_>>();
        let moved = of(3);
        let at = |part: &str| {
            moved.iter().position(|w| w.contains(part)).unwrap_or_else(|| panic!("{part} in {moved:?}"))
        };
        assert!(at("place") < at("hand over from docs-3") && at("hand over") < at("drop docs-3"));
    }
}

#[test]
fn a_copy_that_was_marked_to_go_is_dropped_whatever_happened_since() {
    let marked = |world: &mut Observed| {
        let copies = &mut world.shards[0].spec.copies;
        let copy = Copy { id: id(77), pod: "docs-2".into(), in_sync: false, purpose: Some(Purpose::Leaving) };
        copies.push(copy);
        answers(world);
    };
    check(marked, &["0: drop docs-2"]);
    // Without that, the shard would wait for the copy, which nobody admits, or for the node that is gone.
    let mut world = replicated("shards: 3", 2);
    marked(&mut world);
    silence(&mut world, "docs-1", Standing::Silent(Duration::from_secs(700)));
    assert!(steps(&world).contains(&"0: drop docs-2".to_owned()), "{:?}", steps(&world));
}

#[test]
fn moves_can_be_called_off_at_any_moment() {
    for rounds in 0..12 {
        let mut world = replicated("nodes: 4\nshards: 8", 2);
        world.collection.spec.nodes = 2;
        let mut seed = 900;
        for _ in 0..rounds {
            round(&mut world, &mut seed);
        }
        world.collection.spec.nodes = 4;
        for ordinal in world.pods.len()..4 {
            world.pods.push(pod("docs", ordinal as i32, "rev-1", true));
        }
        answers(&mut world);
        settle(&mut world, &mut seed);
        check_even(&world, 2, 4);
    }
}

#[test]
fn copies_are_made_two_at_a_time_unless_one_is_lacking_that_is_small() {
    let check = |factor: i32, bytes: u64, expected: usize| {
        let mut world = replicated("nodes: 3\nshards: 9", 2);
        world.collection.spec.replication.factor = factor;
        world.collection.spec.nodes = if factor == 2 { 2 } else { 3 };
        for node in world.nodes.values_mut().filter_map(|n| n.as_mut().ok()) {
            node.shards.iter_mut().for_each(|s| s.bytes_disk = bytes);
        }
        let places = steps(&world).iter().filter(|s| s.contains("place")).count();
        assert_eq!(places, expected, "factor {factor}, {bytes} bytes");
    };
    // A pod has to be empty: nothing is lacking.
    check(2, 1 << 30, 2);
    check(2, 1 << 10, 2);
    // Another copy of each is wanted.
    check(3, 1 << 30, 2);
    check(3, 1 << 10, 9);
}

#[test]
fn a_copy_that_is_gone_for_long_is_made_elsewhere() {
    let long = Standing::Silent(Duration::from_secs(601));
    check(|w| silence(w, "docs-2", SILENT), &["2: promote docs-0"]);
    let mut world = replicated("shards: 3", 2);
    silence(&mut world, "docs-1", long);
    // Led elsewhere first, then two copies again, and the one that is gone is out.
    settle(&mut world, &mut 900);
    for shard in &world.shards {
        let pods: BTreeSet<&str> = shard.spec.copies.iter().map(|c| c.pod.as_str()).collect();
        assert_eq!(pods, ["docs-0", "docs-2"].into());
        assert!(shard.spec.copies.iter().all(|c| c.in_sync));
    }
}

#[test]
fn a_restart_waits_for_leads_and_copies() {
    let mut world = replicated("shards: 3", 2);
    let set = world.stateful_set.as_mut().expect("applied");
    set.status.as_mut().expect("applied").update_revision = Some("rev-2".into());
    assert_eq!(planned(&world).restart, None);
    assert_eq!(steps(&world), ["2: hand over from docs-2 to docs-0"]);
    (world.shards[2].spec.primary, world.shards[2].spec.primary_boot) =
        (world.shards[2].spec.copies[1].id.clone(), boot("docs-0"));
    answers(&mut world);
    assert_eq!(planned(&world).restart.as_deref(), Some("docs-2"));
    // A copy that isn't in sync anywhere holds it up, and so does one that nobody can confirm.
    world.shards[1].spec.copies[1].in_sync = false;
    assert_eq!(planned(&world).restart, None);
    world.shards[1].spec.copies[1].in_sync = true;
    report(&mut world, "docs-0", 2, |s| s.fit = false);
    assert_eq!(planned(&world).restart, None);
}

#[test]
fn ids_that_are_none_are_left_alone() {
    check(
        |w| {
            silence(w, "docs-0", SILENT);
            w.shards[0].spec.copies[1].id = "by-hand".into();
        },
        &[],
    );
}

#[test]
fn a_shard_that_lacks_copies_is_degraded_and_one_that_lacks_too_many_takes_no_writes() {
    let condition = |world: &Observed, kind: &str| {
        let plan = planned(world);
        let status = collection_status(world, &Outcome::of(Ok(&plan)));
        let c = status.conditions.into_iter().find(|c| c.type_ == kind).expect("always there");
        (c.status, c.reason, c.message)
    };
    let mut world = replicated("shards: 3", 3);
    assert_eq!(condition(&world, kind::REPLICATED).1, reason::ALL_GOOD);
    world.shards[1].spec.copies.iter_mut().find(|c| c.pod == "docs-2").expect("one").in_sync = false;
    let (status, why, message) = condition(&world, kind::REPLICATED);
    assert_eq!((status.as_str(), why.as_str()), ("False", reason::DEGRADED));
    assert!(
        message.contains("shard 1 has 2 of 3 copies in sync: the copy on docs-2 catches up"),
        "{message}"
    );
    assert_eq!(condition(&world, kind::READY).0, "True");
    world.shards[1].spec.copies.iter_mut().find(|c| c.pod == "docs-0").expect("one").in_sync = false;
    assert_eq!(condition(&world, kind::REPLICATED).1, reason::TOO_FEW_IN_SYNC);
    assert_eq!(condition(&world, kind::READY).1, reason::TOO_FEW_IN_SYNC);
}
