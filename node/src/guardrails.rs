//! Red lines: what experts advise against, measured while it happens and said with what to do about it.
//!
//! Nothing is ever refused here. Counting is cheap enough for every request; judging happens when somebody asks.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use parking_lot::Mutex;
use quiver_api::internal::NodeIssue;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::Thresholds;
use crate::{clock, limits::Bytes};

/// Collections and fields that are remembered; more are forgotten, oldest first.
const REMEMBERED_MAX: usize = 1000;

/// One red line that is crossed.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    pub reason: Reason,
    /// Collection, and field where there is one.
    pub collection: Option<String>,
    pub field: Option<String>,
    pub description: String,
    pub solution: Solution,
    /// Unix seconds at which it was first seen.
    pub since_unix: u64,
}

/// Which red line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    UnindexedFilter,
    NoQuantization,
    SingleShard,
    NoSnapshotSchedule,
    TinyWrites,
    EfNeverTuned,
    HighMemory,
    DamagedFiles,
}

impl Reason {
    /// As a condition of the VectorCollection carries it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::UnindexedFilter => "UnindexedFilter",
            Reason::NoQuantization => "NoQuantization",
            Reason::SingleShard => "SingleShard",
            Reason::NoSnapshotSchedule => "NoSnapshotSchedule",
            Reason::TinyWrites => "TinyWrites",
            Reason::EfNeverTuned => "EfNeverTuned",
            Reason::HighMemory => "HighMemory",
            Reason::DamagedFiles => "DamagedFiles",
        }
    }

    /// As ids in `/issues` begin.
    fn code(self) -> &'static str {
        match self {
            Reason::UnindexedFilter => "UNINDEXED_FIELD",
            Reason::NoQuantization => "NO_QUANTIZATION",
            Reason::SingleShard => "SINGLE_SHARD",
            Reason::NoSnapshotSchedule => "NO_SNAPSHOT",
            Reason::TinyWrites => "TINY_WRITES",
            Reason::EfNeverTuned => "EF_NEVER_TUNED",
            Reason::HighMemory => "HIGH_MEMORY",
            Reason::DamagedFiles => "DAMAGED_FILES",
        }
    }
}

/// What to do, in the protocol's three forms.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Solution {
    /// One call would do.
    Immediate(Value),
    /// One of these calls would do.
    ImmediateChoice(Vec<Value>),
    /// Somebody has to think.
    Refactor(String),
}

impl Issue {
    /// As `/issues` shows it.
    pub fn to_json(&self) -> Value {
        let parts = [Some(self.reason.code()), self.collection.as_deref(), self.field.as_deref()];
        let id = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
        let since =
            jiff::Timestamp::from_second(i64::try_from(self.since_unix).unwrap_or(0)).unwrap_or_default();
        json!({
            "id": id,
            "description": self.description,
            "solution": self.solution,
            "timestamp": since.to_string(),
            "related_collection": self.collection,
        })
    }

    /// As the operator gets it.
    pub fn to_node_issue(&self) -> NodeIssue {
        let solution = match &self.solution {
            Solution::Refactor(text) => text.clone(),
            Solution::Immediate(call) => call["message"].as_str().unwrap_or_default().into(),
            Solution::ImmediateChoice(calls) => {
                calls.iter().filter_map(|c| c["message"].as_str()).collect::<Vec<_>>().join(" Or: ")
            }
        };
        NodeIssue { reason: self.reason.as_str().into(), message: self.description.clone(), solution }
    }
}

/// What a collection looks like when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct CollectionFacts {
    pub name: String,
    pub points: u64,
    pub shards: u64,
    /// By name: how many, bytes of one, and whether quantized.
    pub vectors: Vec<VectorFacts>,
    /// Fields that have an index now.
    pub indexed_fields: Vec<String>,
    /// Unix seconds.
    pub created_unix: u64,
    /// Unix seconds of the last snapshot that succeeded.
    pub last_snapshot_unix: Option<u64>,
    /// Set by the operator; `None` on a node of its own, where nobody schedules.
    pub scheduled: Option<bool>,
    /// A sentence for each file that does not hold what was written.
    pub damaged: Vec<String>,
}

/// One named vector of a collection.
#[derive(Clone, Debug, Default)]
pub struct VectorFacts {
    pub name: String,
    pub count: u64,
    pub quantized: bool,
}

/// What was counted for one collection.
#[derive(Debug, Default)]
struct Seen {
    /// Field → (first seen, times, types of index that would serve).
    unindexed: BTreeMap<String, (u64, u64, Vec<&'static str>)>,
    /// Whether each of the last writes had one point.
    writes: VecDeque<bool>,
    single_point_writes: usize,
    searches: u64,
    tuned: bool,
    first_seen: BTreeMap<Reason, u64>,
}

/// Counts what happens and judges it on demand.
#[derive(Debug)]
pub struct Guardrails {
    thresholds: Thresholds,
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Guardrails {
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, seen: Mutex::default() }
    }

    fn with(&self, collection: &str, change: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.lock();
        if let Some(known) = seen.get_mut(collection) {
            return change(known);
        }
        if seen.len() >= REMEMBERED_MAX {
            seen.pop_first();
        }
        change(seen.entry(collection.into()).or_default());
    }

    /// A filter looked at points one by one because `field` has no index; `serves` are the types that would do.
    pub fn unindexed_filter(&self, collection: &str, field: &str, serves: &[&'static str]) {
        let now = clock::unix().as_secs();
        self.with(collection, |seen| {
            if seen.unindexed.len() < REMEMBERED_MAX || seen.unindexed.contains_key(field) {
                let entry = seen.unindexed.entry(field.into()).or_insert_with(|| (now, 0, serves.to_vec()));
                entry.1 += 1;
            }
        });
    }

    /// An upsert of so many points arrived.
    pub fn upsert(&self, collection: &str, points: usize) {
        let window = usize::try_from(self.thresholds.tiny_writes_window).unwrap_or(usize::MAX);
        if window == 0 {
            return;
        }
        self.with(collection, |seen| {
            seen.writes.push_back(points <= 1);
            seen.single_point_writes += usize::from(points <= 1);
            if seen.writes.len() > window {
                seen.single_point_writes -= usize::from(seen.writes.pop_front() == Some(true));
            }
        });
    }

    /// A search ran; `tuned`: the request says hnsw_ef or exact.
    pub fn search(&self, collection: &str, tuned: bool) {
        self.with(collection, |seen| {
            seen.searches += 1;
            seen.tuned |= tuned;
        });
    }

    /// Forgets everything that was counted: `DELETE /issues`.
    pub fn clear(&self) {
        self.seen.lock().clear();
    }

    /// Forgets a collection that is gone.
    pub fn forget(&self, collection: &str) {
        self.seen.lock().remove(collection);
    }

    /// The red lines that are crossed, by collection. `memory`: (used, limit) in bytes.
    pub fn issues(&self, facts: &[CollectionFacts], memory: (u64, u64), now_unix: u64) -> Vec<Issue> {
        let mut issues = Vec::new();
        for collection in facts {
            let mut found = self.judge(collection, now_unix);
            self.with(&collection.name, |seen| {
                seen.first_seen.retain(|reason, _| found.iter().any(|i| i.reason == *reason));
                for issue in &mut found {
                    if issue.since_unix == 0 {
                        issue.since_unix = *seen.first_seen.entry(issue.reason).or_insert(now_unix);
                    }
                }
            });
            issues.append(&mut found);
        }
        issues.extend(self.memory(memory, now_unix));
        issues
    }

    fn judge(&self, c: &CollectionFacts, now_unix: u64) -> Vec<Issue> {
        let mut issues = Vec::new();
        let all_seen = self.seen.lock();
        let seen = all_seen.get(&c.name);
        issues.extend(seen.into_iter().flat_map(|s| self.unindexed(c, s)));
        let mut add = |reason, description, solution: String| {
            issues.push(Issue {
                reason,
                collection: Some(c.name.clone()),
                field: None,
                description,
                solution: Solution::Refactor(solution),
                since_unix: 0,
            });
        };
        let t = &self.thresholds;
        let large = |limit: u64, n: u64| limit > 0 && n > limit;
        if let Some(v) = c.vectors.iter().find(|v| !v.quantized && large(t.unquantized_vectors, v.count)) {
            let (reason, name) = (Reason::NoQuantization, shown(&v.name));
            add(
                reason,
                format!("{name} of `{}` has {} vectors and no quantization", c.name, v.count),
                "Set quantization_config, e.g. {\"scalar\": {\"type\": \"int8\", \"quantile\": 0.99, \"always_ram\": true}}: \
                 a quarter of the memory and faster searches, at almost the same recall"
                    .into(),
            );
        }
        if c.shards == 1 && large(t.single_shard_points, c.points) {
            add(
                Reason::SingleShard,
                format!("`{}` has {} points in one shard", c.name, c.points),
                "Create a collection with more shards (shard_number; `shards` of a VectorCollection) and move the \
                 points there: one shard is written and optimized by one log on one node"
                    .into(),
            );
        }
        if let Some(first) = c.damaged.first() {
            add(
                Reason::DamagedFiles,
                format!("{} files of `{}` do not hold what was written, the first is {first}", c.damaged.len(), c.name),
                "Look at the disk, then restore the collection from its last snapshot. Requests that need the damaged part fail, \
                 all others are answered; nothing is ever answered from it"
                    .into(),
            );
        }
        self.snapshots(c, now_unix, &mut add);
        let Some(seen) = seen else { return issues };
        let window = usize::try_from(t.tiny_writes_window).unwrap_or(usize::MAX);
        if window > 0 && seen.writes.len() >= window && seen.single_point_writes * 2 > window {
            add(
                Reason::TinyWrites,
                format!(
                    "{} of the last {window} upserts of `{}` had one point",
                    seen.single_point_writes, c.name
                ),
                "Send 100 to 1000 points in one upsert: every request waits for the disk once".into(),
            );
        }
        let most = c.vectors.iter().map(|v| v.count).max().unwrap_or(0);
        if !seen.tuned && large(t.untuned_searches, seen.searches) && large(t.untuned_vectors, most) {
            add(
                Reason::EfNeverTuned,
                format!("{} searches of `{}` ran, none with params.hnsw_ef", seen.searches, c.name),
                "Measure recall against params.exact = true on your own queries and set params.hnsw_ef (64 to 256): \
                 the default is a guess"
                    .into(),
            );
        }
        issues
    }

    fn unindexed(&self, c: &CollectionFacts, seen: &Seen) -> Vec<Issue> {
        let at_least = self.thresholds.unindexed_filter_points;
        if at_least == 0 || c.points < at_least {
            return Vec::new();
        }
        let fields = seen.unindexed.iter().filter(|(field, _)| !c.indexed_fields.contains(field));
        let one = |(field, (since, times, serves)): (&String, &(u64, u64, Vec<&'static str>))| {
            let calls: Vec<Value> = serves.iter().map(|kind| create_index(&c.name, field, kind)).collect();
            let mut calls = calls;
            let solution = match calls.len() {
                0 => Solution::Refactor(format!("Create a payload index on `{field}`")),
                1 => Solution::Immediate(calls.remove(0)),
                _ => Solution::ImmediateChoice(calls),
            };
            Issue {
                reason: Reason::UnindexedFilter,
                collection: Some(c.name.clone()),
                field: Some(field.clone()),
                description: format!(
                    "{times} requests filtered `{}` by `{field}`, which has no payload index: every point had to be looked at",
                    c.name
                ),
                solution,
                since_unix: *since,
            }
        };
        fields.map(one).collect()
    }

    fn snapshots(&self, c: &CollectionFacts, now_unix: u64, add: &mut impl FnMut(Reason, String, String)) {
        let hours = self.thresholds.snapshot_age_hours;
        if hours == 0 || c.points == 0 {
            return;
        }
        if c.scheduled == Some(false) {
            return add(
                Reason::NoSnapshotSchedule,
                format!("no snapshots of `{}` are scheduled", c.name),
                "Set spec.snapshots.destination and spec.snapshots.schedule of the VectorCollection".into(),
            );
        }
        let last = c.last_snapshot_unix.unwrap_or(c.created_unix);
        if now_unix.saturating_sub(last) <= hours * 3600 {
            return;
        }
        let since = if c.last_snapshot_unix.is_some() { "the last snapshot" } else { "it was created" };
        let ago = now_unix.saturating_sub(last) / 3600;
        let solution = match c.scheduled {
            Some(_) => "See `kubectl get vsnap` for what the last ones failed with".to_string(),
            None => format!(
                "Schedule POST /collections/{}/snapshots, and copy the file away from this machine",
                c.name
            ),
        };
        add(Reason::NoSnapshotSchedule, format!("`{}`: {ago} hours since {since}", c.name), solution);
    }

    fn memory(&self, (used, limit): (u64, u64), now_unix: u64) -> Option<Issue> {
        let percent = (used * 100).checked_div(limit)?;
        if self.thresholds.memory_percent == 0 || percent < self.thresholds.memory_percent {
            return None;
        }
        Some(Issue {
            reason: Reason::HighMemory,
            collection: None,
            field: None,
            description: format!("the node uses {} of {} memory", Bytes(used), Bytes(limit)),
            solution: Solution::Refactor(
                "Keep vectors on disk (on_disk: true), quantize them (quantization_config), or give the node more \
                 memory; large requests are refused from 90 % on"
                    .into(),
            ),
            since_unix: now_unix,
        })
    }
}

fn shown(vector: &str) -> String {
    if vector.is_empty() { "The vector".into() } else { format!("The vector `{vector}`") }
}

/// The call that makes an index, as the protocol shows actions.
fn create_index(collection: &str, field: &str, kind: &str) -> Value {
    json!({
        "message": format!("Create a {kind} index on `{field}`: PUT /collections/{collection}/index"),
        "action": {
            "method": "PUT",
            "uri": format!("/collections/{collection}/index"),
            "headers": {"content-type": "application/json"},
            "body": {"field_name": field, "field_schema": kind},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn docs() -> CollectionFacts {
        CollectionFacts {
            name: "docs".into(),
            points: 10,
            shards: 1,
            vectors: vec![VectorFacts { name: String::new(), count: 10, quantized: false }],
            created_unix: NOW,
            ..CollectionFacts::default()
        }
    }

    fn check(rails: &Guardrails, facts: CollectionFacts, expected: &[Reason]) -> Vec<Issue> {
        let issues = rails.issues(&[facts], (0, 1 << 30), NOW);
        assert_eq!(issues.iter().map(|i| i.reason).collect::<Vec<_>>(), expected, "{issues:#?}");
        issues
    }

    fn rails() -> Guardrails {
        Guardrails::new(Thresholds::default())
    }

    #[test]
    fn damaged_files_are_reported_for_as_long_as_they_are_damaged() {
        let damaged = vec!["segments/1/payload: block 3 does not match its checksum".to_owned()];
        let issues = check(&rails(), CollectionFacts { damaged, ..docs() }, &[Reason::DamagedFiles]);
        assert_eq!(issues[0].to_json()["id"], "DAMAGED_FILES/docs");
        assert!(issues[0].description.contains("segments/1/payload"));
        check(&rails(), docs(), &[]);
    }

    #[test]
    fn a_filter_without_an_index_is_reported_until_there_is_one() {
        let rails = rails();
        check(&rails, docs(), &[]);
        rails.unindexed_filter("docs", "city", &["keyword", "text"]);
        rails.unindexed_filter("docs", "city", &["keyword", "text"]);
        let issues = check(&rails, docs(), &[Reason::UnindexedFilter]);
        let json = issues[0].to_json();
        assert_eq!(json["id"], "UNINDEXED_FIELD/docs/city");
        assert_eq!(json["related_collection"], "docs");
        assert_eq!(json["solution"]["immediate_choice"][0]["action"]["body"]["field_schema"], "keyword");
        assert!(
            json["description"].as_str().expect("text").starts_with("2 requests filtered `docs` by `city`")
        );
        check(&rails, CollectionFacts { indexed_fields: vec!["city".into()], ..docs() }, &[]);
        rails.clear();
        check(&rails, docs(), &[]);
    }

    #[test]
    fn vectors_without_quantization_are_reported_above_the_limit() {
        let with = |count, quantized| CollectionFacts {
            vectors: vec![VectorFacts { name: "v".into(), count, quantized }],
            ..docs()
        };
        check(&rails(), with(1_000_000, false), &[]);
        check(&rails(), with(1_000_001, false), &[Reason::NoQuantization]);
        check(&rails(), with(1_000_001, true), &[]);
    }

    #[test]
    fn one_shard_for_a_huge_collection_is_reported() {
        check(&rails(), CollectionFacts { points: 10_000_001, ..docs() }, &[Reason::SingleShard]);
        check(&rails(), CollectionFacts { points: 10_000_001, shards: 2, ..docs() }, &[]);
    }

    #[test]
    fn missing_and_old_snapshots_are_reported() {
        let hours_ago = |h: u64| Some(NOW - h * 3600);
        check(
            &rails(),
            CollectionFacts { created_unix: NOW - 27 * 3600, ..docs() },
            &[Reason::NoSnapshotSchedule],
        );
        check(
            &rails(),
            CollectionFacts { created_unix: 0, last_snapshot_unix: hours_ago(25), ..docs() },
            &[],
        );
        check(
            &rails(),
            CollectionFacts { last_snapshot_unix: hours_ago(27), ..docs() },
            &[Reason::NoSnapshotSchedule],
        );
        check(&rails(), CollectionFacts { scheduled: Some(false), ..docs() }, &[Reason::NoSnapshotSchedule]);
        check(&rails(), CollectionFacts { scheduled: Some(false), points: 0, ..docs() }, &[]);
    }

    #[test]
    fn many_writes_of_one_point_are_reported() {
        let rails = rails();
        for _ in 0..500 {
            rails.upsert("docs", 1);
            rails.upsert("docs", 100);
        }
        check(&rails, docs(), &[]);
        rails.upsert("docs", 1);
        rails.upsert("docs", 1);
        check(&rails, docs(), &[Reason::TinyWrites]);
        for _ in 0..1000 {
            rails.upsert("docs", 2);
        }
        check(&rails, docs(), &[]);
    }

    #[test]
    fn searches_that_never_set_ef_are_reported() {
        let large = || CollectionFacts {
            vectors: vec![VectorFacts { name: String::new(), count: 100_001, quantized: false }],
            ..docs()
        };
        let rails = rails();
        for _ in 0..1001 {
            rails.search("docs", false);
        }
        check(&rails, docs(), &[]);
        check(&rails, large(), &[Reason::EfNeverTuned]);
        rails.search("docs", true);
        check(&rails, large(), &[]);
    }

    #[test]
    fn high_memory_is_reported() {
        let issues = rails().issues(&[], (900 << 20, 1 << 30), NOW);
        assert_eq!(issues[0].description, "the node uses 900.0 MiB of 1.0 GiB memory");
        assert_eq!(issues[0].to_node_issue().reason, "HighMemory");
    }

    #[test]
    fn every_line_can_be_moved_or_switched_off() {
        let off = Guardrails::new(Thresholds { unindexed_filter_points: 0, ..Thresholds::default() });
        off.unindexed_filter("docs", "city", &["keyword"]);
        check(&off, docs(), &[]);
        let low = Guardrails::new(Thresholds { unquantized_vectors: 5, ..Thresholds::default() });
        check(&low, docs(), &[Reason::NoQuantization]);
    }
}
