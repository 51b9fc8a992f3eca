//! What the operator counts, in Prometheus' text format.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use quiver_crds::{VectorCollection, VectorCollectionStatus};

/// Label of what is counted for each kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfKind {
    pub kind: &'static str,
}

/// Labels of what is measured for each collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfCollection {
    pub namespace: String,
    pub collection: String,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    pub reconciles: Family<OfKind, Counter>,
    pub failures: Family<OfKind, Counter>,
    pub seconds: Family<OfKind, Histogram>,
    pub leader: Gauge,
    shards: Family<OfCollection, Gauge>,
    shards_available: Family<OfCollection, Gauge>,
    ready: Family<OfCollection, Gauge>,
    last_snapshot: Family<OfCollection, Gauge>,
    pub snapshots_failed: Family<OfCollection, Counter>,
    created: Family<OfCollection, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            reconciles: Family::default(),
            failures: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 14))),
            leader: Gauge::default(),
            shards: Family::default(),
            shards_available: Family::default(),
            ready: Family::default(),
            last_snapshot: Family::default(),
            snapshots_failed: Family::default(),
            created: Family::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register(
            "quiver_operator_reconciles",
            "Reconciles that ended, well or not",
            self.reconciles.clone(),
        );
        r.register("quiver_operator_reconcile_failures", "Reconciles that failed", self.failures.clone());
        r.register_with_unit(
            "quiver_operator_reconcile",
            "How long one takes",
            Unit::Seconds,
            self.seconds.clone(),
        );
        r.register("quiver_operator_leader", "1 if this process leads", self.leader.clone());
        r.register("quiver_collection_shards", "Shards of a VectorCollection", self.shards.clone());
        r.register(
            "quiver_collection_shards_available",
            "Shards that take reads and writes",
            self.shards_available.clone(),
        );
        r.register("quiver_collection_ready", "1 if the condition Ready is True", self.ready.clone());
        r.register(
            "quiver_collection_last_snapshot_timestamp_seconds",
            "When the last snapshot was complete; 0 before the first",
            self.last_snapshot.clone(),
        );
        r.register(
            "quiver_snapshots_failed",
            "VectorSnapshots that failed for good",
            self.snapshots_failed.clone(),
        );
        r.register(
            "quiver_collection_snapshot_schedule",
            "1 if snapshots are scheduled and not suspended",
            self.created.clone(),
        );
        self
    }

    /// Notes what came of a reconcile.
    pub fn reconciled(&self, kind: &'static str, took: Duration, failed: bool) {
        let of = OfKind { kind };
        self.reconciles.get_or_create(&of).inc();
        self.seconds.get_or_create(&of).observe(took.as_secs_f64());
        if failed {
            self.failures.get_or_create(&of).inc();
        }
    }

    /// Notes the state of a collection.
    pub fn observe(&self, collection: &VectorCollection, status: &VectorCollectionStatus, _now: Timestamp) {
        let of = of(&collection.namespace().unwrap_or_default(), &collection.name_any());
        let ready = status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let schedule = collection.spec.snapshots.as_ref().and_then(|s| s.schedule.as_ref());
        self.shards.get_or_create(&of).set(status.shards.total.into());
        self.shards_available.get_or_create(&of).set(status.shards.available.into());
        self.ready.get_or_create(&of).set(ready.into());
        self.created.get_or_create(&of).set(schedule.is_some_and(|s| !s.suspend).into());
        let last = status.last_snapshot.as_ref().map_or(0, |l| l.completed_at.0.as_second());
        self.last_snapshot.get_or_create(&of).set(last);
    }

    /// Forgets a collection that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let of = of(namespace, name);
        for family in [&self.shards, &self.shards_available, &self.ready, &self.last_snapshot, &self.created]
        {
            family.remove(&of);
        }
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string never fails");
        out
    }
}

/// Labels of a collection.
pub fn of(namespace: &str, name: &str) -> OfCollection {
    OfCollection { namespace: namespace.into(), collection: name.into() }
}
