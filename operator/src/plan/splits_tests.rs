//! More shards: what is done next, given what records and nodes say.

use quiver_api::internal::{CopyState, SplitStatus};
use quiver_crds::VectorShard;

use super::copies::Step;
use super::splits::{covered, is_part};
use crate::fixtures::{applied, fresh, id, node, planned};
use crate::liveness::Standing;
use crate::observe::Observed;
use crate::status::shard_status;

/// Two shards with two copies each on two nodes, all in sync, and the spec wants four.
fn growing() -> Observed {
    let mut world = applied(fresh("shards: 2\nnodes: 2\nreplication: {factor: 2}"));
    for shard in &mut world.shards {
        let other = if shard.spec.copies[0].pod == "docs-0" { "docs-1" } else { "docs-0" };
        let mut copy = shard.spec.copies[0].clone();
        (copy.id, copy.pod) = (id(900 + u128::from(shard.spec.shard.unsigned_abs())), other.into());
        shard.spec.copies.push(copy);
    }
    world.collection.spec.shards = 4;
    world.collection.metadata.generation = Some(2);
    answers(&mut world);
    world
}

/// Nodes report what records say of them.
fn answers(world: &mut Observed) {
    let names: Vec<String> = world.nodes.keys().cloned().collect();
    for name in names {
        let mut answer = node(world, &name);
        answer.splits = true;
        world.nodes.insert(name, Ok(answer));
    }
}

/// The first shard's split was asked for.
fn begun() -> Observed {
    let mut world = growing();
    let plan = planned(&world);
    let [Step::Record { next, .. }] = plan.work.steps.as_slice() else { panic!("{:?}", plan.work) };
    world.shards[0] = (**next).clone();
    answers(&mut world);
    world
}

/// A copy of the first shard says how far it is.
fn reports(world: &mut Observed, pod: &str, split: Option<SplitStatus>) {
    let node = world.nodes.get_mut(pod).and_then(|n| n.as_mut().ok()).expect("it answers");
    let report = node.shards.iter_mut().find(|s| s.shard == 0).expect("it has a copy");
    report.split = split;
}

fn split(seq: u64, copy: Option<u128>) -> Option<SplitStatus> {
    Some(SplitStatus { seq, term: 2, copy_id: copy.map(id) })
}

/// What is planned: splits that are asked for, as `parent → child`, and records that are made with the pods of their copies.
fn check(edit: impl FnOnce(&mut Observed), start: fn() -> Observed, expected: &[&str]) {
    let mut world = start();
    edit(&mut world);
    let plan = planned(&world);
    let asked = plan.work.steps.iter().filter_map(|s| match s {
        Step::Record { next, .. } => {
            next.spec.split.as_ref().map(|split| format!("{} → {}", next.spec.shard, split.child))
        }
        _ => None,
    });
    let pods = |s: &VectorShard| s.spec.copies.iter().map(|c| c.pod.clone()).collect::<Vec<_>>().join(" ");
    let made = plan.create_shards.iter().map(|s| format!("{} on {}", s.spec.shard, pods(s)));
    let found: Vec<String> = asked.chain(made).collect();
    assert_eq!(found, expected, "{:?}", plan.progress);
}

#[test]
fn a_split_begins_when_nothing_else_is_going_on() {
    check(|_| {}, growing, &["0 → 2"]);
    check(|w| w.collection.spec.shards = 2, growing, &[]);
    let late = |w: &mut Observed| _ = w.standing.insert("docs-1".into(), Standing::Late);
    check(late, growing, &["0 → 2"]);
    check(|w| w.shards[1].spec.copies[1].in_sync = false, growing, &[]);
    check(
        |w| w.nodes.get_mut("docs-1").and_then(|n| n.as_mut().ok()).expect("it answers").splits = false,
        growing,
        &[],
    );
    check(|w| w.collection.spec.hibernate = true, growing, &[]);
    check(|w| drop(w.nodes.insert("docs-1".into(), Err("no answer".into()))), growing, &[]);
}

#[test]
fn the_new_shard_has_the_copies_that_were_made_of_those_in_sync() {
    check(|_| {}, begun, &[]);
    check(|w| reports(w, "docs-0", split(7, Some(70))), begun, &[]);
    let both = |w: &mut Observed| {
        reports(w, "docs-0", split(7, Some(70)));
        reports(w, "docs-1", split(7, Some(71)));
    };
    check(both, begun, &["2 on docs-0 docs-1"]);
    // One that isn't in sync counts for nothing, and one that is silent isn't waited for.
    let alone = |w: &mut Observed| {
        reports(w, "docs-0", split(7, Some(70)));
        w.shards[0].spec.copies.iter_mut().filter(|c| c.pod == "docs-1").for_each(|c| c.in_sync = false);
    };
    check(alone, begun, &["2 on docs-0"]);
    let silent = |w: &mut Observed| {
        reports(w, "docs-0", split(7, Some(70)));
        w.standing.insert("docs-1".into(), Standing::Silent(std::time::Duration::from_secs(11)));
    };
    check(silent, begun, &["2 on docs-0"]);
    // Of another entry of the log: not what the leader means.
    let other = |w: &mut Observed| {
        reports(w, "docs-0", split(7, Some(70)));
        reports(w, "docs-1", split(5, Some(71)));
    };
    check(other, begun, &[]);
}

#[test]
fn the_new_record_is_led_above_every_term_of_the_log() {
    let mut world = begun();
    reports(&mut world, "docs-0", split(7, Some(70)));
    reports(&mut world, "docs-1", split(7, Some(71)));
    let made = planned(&world).create_shards.remove(0).spec;
    let parent = world.shards[0].spec.clone();
    assert_eq!(made.term, parent.term + 1);
    assert!(!made.primary_boot.is_empty(), "nobody may start it without data");
    let lead = parent.copies.iter().find(|c| c.id == parent.primary).expect("a leader");
    assert_eq!(made.copies.iter().find(|c| c.id == made.primary).map(|c| &c.pod), Some(&lead.pod));
    assert_eq!(Some(made.range), parent.split.map(|s| s.give));
}

#[test]
fn one_shard_is_split_at_a_time_until_there_are_enough() {
    let mut world = growing();
    let mut order = Vec::new();
    for round in 0..4u128 {
        let plan = planned(&world);
        let Some(Step::Record { next, .. }) = plan.work.steps.first() else { break };
        let at = world.shards.iter().position(|s| s.spec.shard == next.spec.shard).expect("it is there");
        world.shards[at] = (**next).clone();
        answers(&mut world);
        let split = next.spec.split.clone().expect("a split");
        for (pod, n) in [("docs-0", 100 + round), ("docs-1", 200 + round)] {
            let node = world.nodes.get_mut(pod).and_then(|n| n.as_mut().ok()).expect("it answers");
            let of = node.shards.iter_mut().find(|s| i32::try_from(s.shard) == Ok(next.spec.shard));
            of.expect("a copy").split = Some(SplitStatus { seq: 7, term: 2, copy_id: Some(id(n)) });
        }
        let mut made = planned(&world).create_shards;
        order.push(format!("{} → {}", next.spec.shard, split.child));
        world.shards.append(&mut made);
        assert!(covered(&world.shards), "the old shard answers until it has given the part up");
        assert!(is_part(world.shards.last().expect("made"), &world.shards));
        answers(&mut world);
        assert!(planned(&world).create_shards.is_empty() && planned(&world).work.steps.is_empty());
        let parent = &mut world.shards[at].spec;
        (parent.range, parent.split) = (split.keep, None);
        parent.config_version += 1;
        assert!(covered(&world.shards));
        answers(&mut world);
    }
    assert_eq!(order, ["0 → 2", "1 → 3"]);
    assert!(planned(&world).is_idle());
}

#[test]
fn a_record_that_is_gone_is_no_shard_to_be_split_off() {
    let mut world = growing();
    world.shards.remove(1);
    let plan = planned(&world);
    assert!(plan.create_shards.is_empty() && plan.work.steps.is_empty());
    assert_eq!(plan.progress.reason, quiver_crds::condition::reason::CONFIG_LOST);
}

#[test]
fn a_shard_says_what_it_gives() {
    let world = begun();
    let views = crate::status::shards(&world);
    assert_eq!(views[0].copy.map(|c| c.state), Some(CopyState::Leading));
    let status = shard_status(&world, &views[0]);
    assert_eq!(status.state, "Splitting");
    assert_eq!(status.message, "gives the hashes from 4000000000000000 on to shard 2");
}
