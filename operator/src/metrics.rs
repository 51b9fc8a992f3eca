//! What the operator counts, for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use kube::ResourceExt;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use quiver_crds::condition::kind;

use crate::observe::Observed;
use crate::status;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    namespace: String,
    collection: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionOf {
    namespace: String,
    collection: String,
    condition: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SnapshotResult {
    namespace: String,
    collection: String,
    result: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// All of them.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Kind, Counter>,
    failures: Family<Failure, Counter>,
    duration: Family<Kind, Histogram>,
    leader: Gauge,
    shards: Family<Of, Gauge>,
    available: Family<Of, Gauge>,
    conditions: Family<ConditionOf, Gauge>,
    snapshots: Family<SnapshotResult, Counter>,
    snapshot_success: Family<Of, Seconds>,
    scheduled: Family<Of, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = || Histogram::new(exponential_buckets(0.01, 2.5, 10));
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("quiver_operator")),
            reconciles: Family::default(),
            failures: Family::default(),
            duration: Family::new_with_constructor(buckets as fn() -> Histogram),
            leader: Gauge::default(),
            shards: Family::default(),
            available: Family::default(),
            conditions: Family::default(),
            snapshots: Family::default(),
            snapshot_success: Family::default(),
            scheduled: Family::default(),
        };
        let mut r = metrics.registry.lock();
        r.register("reconciles", "Reconciles begun", metrics.reconciles.clone());
        r.register("reconcile_failures", "Reconciles that failed, by reason", metrics.failures.clone());
        r.register("reconcile_duration_seconds", "Time of a reconcile", metrics.duration.clone());
        r.register("leader", "1 while this process leads", metrics.leader.clone());
        r.register("shards", "Shards of a collection", metrics.shards.clone());
        r.register("shards_available", "Shards that serve", metrics.available.clone());
        r.register("condition", "1 if a condition of a collection is true", metrics.conditions.clone());
        r.register("snapshots", "Snapshots finished, by result", metrics.snapshots.clone());
        r.register(
            "snapshot_last_success_timestamp_seconds",
            "When the newest complete snapshot was completed",
            metrics.snapshot_success.clone(),
        );
        r.register("snapshot_scheduled", "1 if a schedule is in force", metrics.scheduled.clone());
        drop(r);
        metrics
    }
}

impl Metrics {
    /// Measures a reconcile until the guard is dropped.
    pub fn reconcile(&self, kind: &'static str) -> Measured {
        self.reconciles.get_or_create(&Kind { kind }).inc();
        Measured { began: crate::clock::instant(), into: self.duration.get_or_create_owned(&Kind { kind }) }
    }

    pub fn failed(&self, kind: &'static str, reason: &'static str) {
        self.failures.get_or_create(&Failure { kind, reason }).inc();
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub fn snapshot(&self, namespace: &str, collection: &str, good: bool) {
        let result = if good { "complete" } else { "failed" };
        let labels = SnapshotResult { namespace: namespace.into(), collection: collection.into(), result };
        self.snapshots.get_or_create(&labels).inc();
    }

    /// Gauges of one collection.
    pub fn observed(&self, observed: &Observed) {
        let of = Of {
            namespace: observed.collection.namespace().unwrap_or_default(),
            collection: observed.name(),
        };
        let views = status::shards(observed);
        let available = views.iter().filter(|v| v.reason.is_empty()).count();
        self.shards.get_or_create(&of).set(observed.collection.spec.shards.into());
        self.available.get_or_create(&of).set(available as i64);
        let schedule = observed.collection.spec.snapshots.as_ref().and_then(|s| s.schedule.as_ref());
        self.scheduled.get_or_create(&of).set(i64::from(schedule.is_some_and(|s| !s.suspend)));
        if let Some(last) = status::last_snapshot(observed) {
            self.snapshot_success.get_or_create(&of).set(last.completed_at.0.as_second() as f64);
        }
        for condition in observed.collection.status.iter().flat_map(|s| &s.conditions) {
            let labels = ConditionOf {
                namespace: of.namespace.clone(),
                collection: of.collection.clone(),
                condition: condition.type_.clone(),
            };
            self.conditions.get_or_create(&labels).set(i64::from(condition.status == "True"));
        }
    }

    /// A collection that is gone has no gauges.
    pub fn forget(&self, namespace: &str, collection: &str) {
        let of = Of { namespace: namespace.into(), collection: collection.into() };
        self.shards.remove(&of);
        self.available.remove(&of);
        self.scheduled.remove(&of);
        self.snapshot_success.remove(&of);
        let kinds = [
            kind::READY,
            kind::AVAILABLE,
            kind::PROGRESSING,
            kind::REPLICATED,
            kind::SCHEMA_APPLIED,
            kind::STORAGE_RESIZED,
            kind::SNAPSHOTS_HEALTHY,
            kind::PRODUCTION_READY,
            kind::PAUSED,
        ];
        for kind in kinds {
            self.conditions.remove(&ConditionOf {
                namespace: namespace.into(),
                collection: collection.into(),
                condition: kind.into(),
            });
        }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock()).expect("writing into a string can't fail");
        out
    }
}

/// Observes its own lifetime.
pub struct Measured {
    began: Instant,
    into: Histogram,
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.into.observe(self.began.elapsed().as_secs_f64());
    }
}
