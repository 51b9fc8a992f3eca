//! From a collection as a person writes it, through the real validate, plan and build, to what would be done.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ContainerStatus;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use proptest::prelude::*;
use quiver_api::internal::{HashRange, ShardManifest, SnapshotManifest};
use quiver_crds::collection_status::VectorCollectionStatus;
use quiver_crds::condition::{kind, reason};
use quiver_crds::s3::S3Location;
use quiver_crds::shard::Copy;

use crate::fixtures::{applied, built, fresh, old_volume, planned, pod, refused, scheduled};
use crate::observe::{Observed, Source};
use crate::status::{Outcome, collection_status};

const SCHEDULE: &str = "snapshots:\n  destination: {s3: {bucket: backups, credentials: {type: Secret, secretRef: {name: \
                        s3}}}}\n  schedule: {cron: '0 * * * *'}\n  retention: {keepLast: 2}";

fn placed(observed: &Observed) -> BTreeMap<i32, String> {
    planned(observed).create_shards.iter().map(|s| (s.spec.shard, s.spec.copies[0].pod.clone())).collect()
}

/// The condition that a world gets.
fn condition(observed: &Observed, kind: &str) -> (String, String, String) {
    let plan = planned(observed);
    let outcome = Outcome::of(Ok(&plan));
    let status = collection_status(observed, &outcome);
    let found =
        status.conditions.into_iter().find(|c| c.type_ == kind).expect("every condition is always there");
    (found.status, found.reason, found.message)
}

/// Expects status and reason, and a part of the message.
fn check(observed: &Observed, kind: &str, status: &str, reason: &str, part: &str) {
    let (s, r, message) = condition(observed, kind);
    assert_eq!((s.as_str(), r.as_str()), (status, reason), "{kind}: {message}");
    assert!(message.contains(part), "{kind} says `{message}`, not `{part}`");
}

#[test]
fn a_new_collection_gets_every_shard_once_and_a_second_plan_is_idle() {
    let world = fresh("");
    let plan = planned(&world);
    assert_eq!(plan.replicas, 3);
    let pods: Vec<_> = placed(&world).into_values().collect();
    assert_eq!(pods, ["docs-0", "docs-1", "docs-2", "docs-0", "docs-1", "docs-2"]);
    for shard in &plan.create_shards {
        let s = &shard.spec;
        assert_eq!(
            (s.term, s.config_version, s.primary_boot.as_str()),
            (1, 1, ""),
            "free to start empty, once"
        );
        assert!(s.copies.len() == 1 && s.copies[0].in_sync && s.primary == s.copies[0].id);
        assert_eq!((s.collection_uid.as_str(), shard.owner_references()[0].uid.as_str()), ("u-1", "u-1"));
    }
    let ids: std::collections::BTreeSet<_> = plan.create_shards.iter().map(|s| &s.spec.primary).collect();
    assert_eq!(ids.len(), 6);
    let world = applied(world);
    assert!(planned(&world).is_idle());
    check(&world, kind::READY, "True", reason::ALL_GOOD, "");
    check(&world, kind::PROGRESSING, "False", reason::STABLE, "");
    let status = world.collection.status.clone().expect("applied");
    assert_eq!(
        (status.shard_summary.as_str(), status.node_summary.as_str(), status.points),
        ("6/6", "3/3", 117_000)
    );
    let next = planned(&world);
    let again = Outcome::of(Ok(&next));
    let mut later = world;
    later.now = "2026-03-05T18:00:00Z".parse().expect("a timestamp");
    assert_eq!(collection_status(&later, &again), status, "an unchanged world has an unchanged status");
}

#[test]
fn a_lost_record_is_never_made_anew() {
    let mut world = applied(fresh(""));
    world.shards.remove(4);
    assert!(planned(&world).create_shards.is_empty());
    check(&world, kind::PROGRESSING, "False", reason::CONFIG_LOST, "docs-4 is gone though shard 4 has data");
    check(&world, kind::READY, "False", reason::CONFIG_LOST, "put it back");
    // Neither when the status is lost too, for a node still has the data.
    world.collection.status = None;
    assert!(planned(&world).create_shards.is_empty());
}

#[test]
fn a_genesis_that_was_cut_short_goes_on_as_it_began() {
    let mut world = fresh("");
    let whole = placed(&world);
    world.shards = planned(&world).create_shards.into_iter().take(2).collect();
    let rest = placed(&world);
    assert_eq!(rest.len(), 4);
    assert!(rest.iter().all(|(shard, pod)| whole[shard] == *pod));
}

#[test]
fn pods_with_shards_are_not_scaled_away() {
    let mut world = applied(fresh(""));
    world.collection.spec.nodes = 2;
    assert_eq!(planned(&world).replicas, 3);
    check(&world, kind::PROGRESSING, "True", reason::MOVING_SHARDS, "moving 2 copies off docs-2");
    check(&world, kind::READY, "True", reason::ALL_GOOD, "");
    world.collection.spec.nodes = 5;
    assert_eq!(planned(&world).replicas, 5);
    check(&world, kind::PROGRESSING, "True", reason::SCALING, "3 pods exist and 5 are wanted");
}

#[test]
fn hibernation_keeps_everything_but_pods() {
    let mut world = applied(fresh(""));
    world.collection.spec.hibernate = true;
    let plan = planned(&world);
    assert_eq!(plan.replicas, 0);
    assert!(plan.is_idle());
    check(&world, kind::READY, "False", reason::HIBERNATING, "the volumes and shard records are kept");
    let set = built(&world).stateful_set.spec.expect("a spec");
    let policy = set.persistent_volume_claim_retention_policy.expect("a policy");
    assert_eq!(policy.when_scaled.as_deref(), Some("Retain"));
}

#[test]
fn a_rollout_restarts_one_pod_when_all_others_are_ready() {
    let mut world = applied(fresh(""));
    let set = world.stateful_set.as_mut().expect("applied");
    set.status.as_mut().expect("applied").update_revision = Some("rev-2".into());
    assert_eq!(planned(&world).restart.as_deref(), Some("docs-2"));
    world.pods[2] = pod("docs", 2, "rev-2", false);
    assert_eq!(planned(&world).restart, None);
    check(&world, kind::PROGRESSING, "True", reason::ROLLOUT_WAITS, "docs-2 must be ready before docs-1");
    world.pods[2] = pod("docs", 2, "rev-2", true);
    assert_eq!(planned(&world).restart.as_deref(), Some("docs-1"));
    // A broken pod of the old template is replaced first: the new one may be its cure.
    world.pods[0] = pod("docs", 0, "rev-1", false);
    assert_eq!(planned(&world).restart.as_deref(), Some("docs-0"));
    // Nothing is decided on a view that is behind.
    world.stateful_set.as_mut().expect("applied").metadata.generation = Some(2);
    assert_eq!(planned(&world).restart, None);
}

#[test]
fn volumes_grow_and_the_template_of_claims_stays() {
    let mut world = applied(fresh("storage: {size: 10Gi}"));
    world.collection.spec.storage.size = "20Gi".into();
    let grow = planned(&world).grow;
    assert_eq!(grow.len(), 3);
    assert_eq!(grow[0], ("data-docs-0".to_owned(), "20Gi".to_owned()));
    let set = built(&world).stateful_set;
    let template = &set.spec.expect("a spec").volume_claim_templates.expect("a template")[0];
    assert_eq!(crate::build::stateful_set::requested(template).expect("a request").0, "10Gi");
    world.collection.spec.storage.size = "10240Mi".into();
    assert!(planned(&world).grow.is_empty(), "the same in another unit");
}

#[test]
fn volumes_of_a_predecessor_are_never_taken_over() {
    let mut world = fresh("");
    world.volumes = vec![old_volume("data-docs-0"), old_volume("data-docs-1")];
    assert!(refused(&world).message.contains("kubectl delete pvc data-docs-0 data-docs-1"));
}

#[test]
fn what_the_api_server_can_not_check_is_said_in_a_sentence() {
    let mut world = fresh(SCHEDULE);
    world.missing_secrets = vec!["s3".into()];
    let why = refused(&world);
    assert_eq!(why.reason, reason::SECRET_MISSING);
    assert!(why.message.contains("create the Secret s3 in namespace search"));
    let world = fresh(&SCHEDULE.replace("0 * * * *", "0 25 * * *"));
    assert!(refused(&world).message.contains("`0 25 * * *` is not a schedule"));
    let world = fresh(&SCHEDULE.replace("'0 * * * *'", "'0 * * * *', timeZone: Mars/Base"));
    assert!(refused(&world).message.contains("`Mars/Base` is not a time zone"));
}

#[test]
fn pods_meet_the_restricted_standard_and_get_what_they_need() {
    let world = fresh(&format!("{SCHEDULE}\nsettings: [{{name: QUIVER__SERVICE__MAX_WORKERS, value: '2'}}]"));
    let set = built(&world).stateful_set.spec.expect("a spec");
    assert_eq!(set.update_strategy.expect("a strategy").type_.as_deref(), Some("OnDelete"));
    assert_eq!(set.pod_management_policy.as_deref(), Some("Parallel"));
    let pod = set.template.spec.expect("a pod");
    let security = pod.security_context.expect("one");
    assert_eq!(
        (security.run_as_non_root, security.seccomp_profile.expect("one").type_.as_str()),
        (Some(true), "RuntimeDefault")
    );
    let container = &pod.containers[0];
    let own = container.security_context.as_ref().expect("one");
    assert_eq!((own.allow_privilege_escalation, own.read_only_root_filesystem), (Some(false), Some(true)));
    assert_eq!(own.capabilities.as_ref().and_then(|c| c.drop.clone()), Some(vec!["ALL".to_owned()]));
    assert_eq!(container.image.as_deref(), Some("registry:5000/quiver-node:1.2.3"));
    let env = container.env.as_ref().expect("variables");
    let value = |name: &str| env.iter().find(|e| e.name == name).unwrap_or_else(|| panic!("{name} is set"));
    assert_eq!(value("QUIVER__CLUSTER__COLLECTION_UID").value.as_deref(), Some("u-1"));
    assert_eq!(value("QUIVER__SERVICE__MAX_WORKERS").value.as_deref(), Some("2"));
    let key = value("AWS_SECRET_ACCESS_KEY").value_from.as_ref().and_then(|v| v.secret_key_ref.clone());
    assert_eq!(key.map(|k| (k.name, k.key)), Some(("s3".into(), "secret-access-key".into())));
    let keys: Vec<String> = pod
        .volumes
        .expect("volumes")
        .into_iter()
        .filter_map(|v| v.secret)
        .flat_map(|s| s.items.unwrap_or_default())
        .map(|i| i.key)
        .collect();
    assert_eq!(keys, ["ca.crt", "tls.crt", "tls.key"], "no key of the authority or of the operator");
}

#[test]
fn deletion_policy_decides_over_volumes() {
    for (policy, kept) in [("Retain", "Retain"), ("Delete", "Delete")] {
        let set = built(&fresh(&format!("deletionPolicy: {policy}"))).stateful_set.spec.expect("a spec");
        let retention = set.persistent_volume_claim_retention_policy.expect("a policy");
        assert_eq!(retention.when_deleted.as_deref(), Some(kept));
    }
}

/// The name of the snapshot that is due.
fn due(world: &Observed) -> Option<String> {
    planned(world).take_snapshot.map(|s| s.name_any())
}

#[test]
fn a_scheduled_snapshot_is_made_once() {
    let mut world = applied(fresh(SCHEDULE));
    // 2026-03-05T12:00:00Z in minutes.
    let name = "docs-29545200";
    assert_eq!(due(&world).as_deref(), Some(name));
    let taken = planned(&world).take_snapshot.expect("due");
    assert!(taken.owner_references().is_empty(), "a backup outlives its collection");
    world.snapshots = vec![scheduled(name, "Complete", "2026-03-05T12:00:30Z")];
    assert_eq!(due(&world), None);
    // Deleted by a person: not made again.
    let next = planned(&world);
    let outcome = Outcome::of(Ok(&next));
    world.collection.status = Some(collection_status(&world, &outcome));
    world.snapshots.clear();
    assert_eq!(due(&world), None);
}

#[test]
fn a_schedule_waits_for_the_last_one_and_skips_what_is_too_late() {
    let mut world = applied(fresh(SCHEDULE));
    world.snapshots = vec![scheduled("docs-29545140", "Uploading", "2026-03-05T11:00:00Z")];
    assert_eq!(due(&world), None, "Forbid");
    world.snapshots.clear();
    world.now = "2026-03-05T12:59:59Z".parse().expect("a timestamp");
    assert!(due(&world).is_some());
    let spec = &mut world.collection.spec;
    let schedule = spec.snapshots.as_mut().and_then(|s| s.schedule.as_mut()).expect("one");
    schedule.starting_deadline_seconds = 600;
    assert_eq!(due(&world), None, "the starting deadline is over");
    world.now = "2026-03-05T12:05:00Z".parse().expect("a timestamp");
    assert!(due(&world).is_some());
    world.shards[0].spec.primary_boot.clear();
    assert_eq!(due(&world), None, "a shard that nobody led has nothing to save");
}

#[test]
fn starts_are_spread_and_every_one_of_them_comes() {
    let mut world = applied(fresh(SCHEDULE));
    let schedule = |cron: &str, world: &mut Observed| {
        let snapshots = world.collection.spec.snapshots.as_mut().expect("snapshots");
        let schedule = snapshots.schedule.as_mut().expect("a schedule");
        (schedule.cron, schedule.jitter_seconds) = (cron.into(), 86_400);
    };
    // More than the time between two starts would put every start off for ever.
    schedule("*/10 * * * *", &mut world);
    let mut taken = 0;
    for minute in 0..60 {
        world.now = format!("2026-03-05T12:{minute:02}:59Z").parse().expect("a timestamp");
        if let Some(snapshot) = planned(&world).take_snapshot {
            let done = world.now.to_string();
            world.snapshots.push(scheduled(&snapshot.name_any(), "Complete", &done));
            taken += 1;
        }
    }
    assert_eq!(taken, 6);
}

#[test]
fn retention_removes_scheduled_snapshots_and_health_tells_of_them() {
    let mut world = applied(fresh(SCHEDULE));
    check(
        &world,
        kind::SNAPSHOTS_HEALTHY,
        "False",
        reason::SNAPSHOT_TOO_OLD,
        "no snapshot succeeded for 108 hours",
    );
    world.snapshots = (0..4)
        .map(|i| {
            scheduled(
                &format!("docs-{}", 29_545_200 - i * 60),
                "Complete",
                &format!("2026-03-05T{:02}:00:09Z", 12 - i),
            )
        })
        .collect();
    world.now = "2026-03-05T12:30:00Z".parse().expect("a timestamp");
    assert_eq!(planned(&world).forget_snapshots, ["docs-29545080", "docs-29545020"]);
    check(&world, kind::SNAPSHOTS_HEALTHY, "True", reason::ALL_GOOD, "docs-29545200");
    check(&world, kind::PRODUCTION_READY, "True", reason::ALL_GOOD, "");
    world.snapshots.push(scheduled("docs-29545260", "Failed", "2026-03-05T12:10:00Z"));
    check(&world, kind::SNAPSHOTS_HEALTHY, "False", reason::SNAPSHOT_FAILED, "the bucket is gone");
    check(&applied(fresh("")), kind::PRODUCTION_READY, "False", reason::RED_LINES, "NoSnapshotSchedule");
}

fn manifest(shards: u32, size: usize) -> Source {
    let part = |shard| ShardManifest {
        shard,
        range: HashRange::part(shard, shards),
        term: 2,
        seq: 9,
        points: 1,
        engine_version: "1".into(),
        files: Vec::new(),
        uploaded_bytes: 0,
        reused_bytes: 0,
    };
    let manifest = SnapshotManifest {
        format_version: 1,
        name: "docs-1".into(),
        collection: "docs".into(),
        collection_uid: "u-0".into(),
        created_at: String::new(),
        schema: serde_json::json!({"vectors": {"size": size, "distance": "Cosine"}}),
        payload_indexes: Vec::new(),
        aliases: Vec::new(),
        shards: (0..shards).map(part).collect(),
    };
    let location = S3Location {
        bucket: "backups".into(),
        prefix: String::new(),
        region: String::new(),
        endpoint: String::new(),
        force_path_style: false,
    };
    Source::Manifest { location, key: "u-0/snapshots/docs-1.json".into(), manifest: Box::new(manifest) }
}

#[test]
fn a_snapshot_becomes_a_collection_on_any_number_of_nodes() {
    let mut world = fresh("nodes: 2");
    world.source = manifest(6, 384);
    let shards = planned(&world).create_shards;
    assert_eq!(shards.len(), 6);
    for shard in &shards {
        let range = HashRange::part(shard.spec.shard.unsigned_abs(), 6);
        assert_eq!(shard.spec.range.bounds(), Some((range.first, range.last)));
        assert_eq!(
            shard.spec.restore.as_ref().map(|r| r.manifest_key.as_str()),
            Some("u-0/snapshots/docs-1.json")
        );
    }
    world.source = manifest(4, 384);
    assert!(planned(&world).create_shards.is_empty());
    check(&world, kind::READY, "False", reason::BOOTSTRAP_FAILED, "create it with shards: 4");
    world.source = manifest(6, 768);
    assert!(planned(&world).create_shards.is_empty());
    check(&world, kind::READY, "False", reason::BOOTSTRAP_FAILED, "of size 768 and distance Cosine");
    world.source = Source::Waits("the VectorSnapshot x is not complete yet".into());
    assert!(planned(&world).create_shards.is_empty());
    check(&world, kind::PROGRESSING, "True", reason::BOOTSTRAP_WAITS, "x is not complete yet");
}

#[test]
fn what_is_wrong_is_named() {
    let mut world = applied(fresh(""));
    world.nodes.insert("docs-1".into(), Err("the node docs-1: connection refused".into()));
    check(
        &world,
        kind::AVAILABLE,
        "False",
        reason::SHARDS_UNAVAILABLE,
        "shard 1 on docs-1: the node docs-1: connection refused",
    );
    let status: VectorCollectionStatus = {
        let plan = planned(&world);
        collection_status(&world, &Outcome::of(Ok(&plan)))
    };
    assert_eq!(status.shards.available, 4);
    assert_eq!(status.unhealthy_shards.iter().map(|s| s.shard).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(status.unhealthy_shards[0].reason, "NodeUnreachable");
}

#[test]
fn a_pod_that_ends_again_and_again_says_why() {
    let mut world = applied(fresh(""));
    world.pods[1] = pod("docs", 1, "rev-1", false);
    world.nodes.remove("docs-1");
    let container: ContainerStatus = serde_json::from_value(serde_json::json!({
        "name": "node", "image": "i", "imageID": "i", "ready": false, "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}},
        "lastState": {"terminated": {"exitCode": 1,
            "message": "INFO starting\nError: reading the settings\n\nCaused by:\n    unknown key QUIVER__STORAGE__FOO\n"}},
    }))
    .expect("a status");
    let status = world.pods[1].status.get_or_insert_default();
    status.container_statuses = Some(vec![container]);
    let why =
        "docs-1: CrashLoopBackOff, Error: reading the settings Caused by: unknown key QUIVER__STORAGE__FOO";
    check(&world, kind::READY, "False", reason::NODES_STARTING, why);
}

proptest! {
    #[test]
    fn shards_are_spread_evenly(shards in 1i32..257, nodes in 1i32..40) {
        let world = fresh(&format!("shards: {shards}\nnodes: {nodes}"));
        let placed = placed(&world);
        prop_assert_eq!(placed.len(), shards as usize);
        let load = |n: i32| placed.values().filter(|p| **p == format!("docs-{n}")).count();
        let loads: Vec<usize> = (0..nodes).map(load).collect();
        let (least, most) = (loads.iter().min().expect("a pod"), loads.iter().max().expect("a pod"));
        prop_assert!(most - least <= 1, "{:?}", loads);
    }

    #[test]
    fn ranges_cover_every_hash_once(shards in 1i32..257) {
        let plan = planned(&fresh(&format!("shards: {shards}")));
        let mut next = Some(0u64);
        for shard in &plan.create_shards {
            let (first, last) = shard.spec.range.bounds().expect("hexadecimal");
            prop_assert_eq!(next, Some(first));
            next = last.checked_add(1);
        }
        prop_assert_eq!(next, None);
    }
}

#[test]
fn no_node_may_be_evicted_while_shards_lack_copies() {
    let check = |spec: &str, in_sync: usize, expected: i32| {
        let mut world = applied(fresh(spec));
        for shard in &mut world.shards {
            let copy = shard.spec.copies[0].clone();
            shard.spec.copies = (0..2).map(|i| Copy { in_sync: i < in_sync, ..copy.clone() }).collect();
        }
        let budget = built(&world).disruption_budget.and_then(|b| b.spec?.max_unavailable);
        assert_eq!(budget, Some(IntOrString::Int(expected)), "{spec}, {in_sync} in sync");
    };
    check("replication: {factor: 2}", 2, 1);
    check("replication: {factor: 2}", 1, 0);
    // With one copy every eviction takes shards away anyway, and nobody would ever be allowed to leave.
    check("replication: {factor: 1}", 1, 1);
    check("replication: {factor: 2}\ndisruption: {maxUnavailableNodes: 2}", 2, 2);
}
