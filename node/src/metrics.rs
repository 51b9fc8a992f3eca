//! Numbers for Prometheus, under the names that dashboards for the protocol know.
//!
//! Requests are counted as they end; everything else is asked for when somebody scrapes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::clock;
use crate::limits;

/// Upper bounds of the histogram, in seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, f64::INFINITY];

/// How requests of one route ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestStat {
    pub count: u64,
    pub sum_seconds: f64,
    pub min_seconds: f64,
    pub max_seconds: f64,
    /// When the last one was answered.
    pub last: Option<Timestamp>,
    buckets: [u64; BUCKETS.len()],
}

impl RequestStat {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.min_seconds = if self.count == 0 { seconds } else { self.min_seconds.min(seconds) };
        self.max_seconds = self.max_seconds.max(seconds);
        self.count += 1;
        self.last = Some(clock::timestamp());
        self.sum_seconds += seconds;
        let at = BUCKETS.iter().position(|b| seconds <= *b).unwrap_or(BUCKETS.len() - 1);
        self.buckets[at] += 1;
    }

    /// Mean, in seconds.
    pub fn avg_seconds(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_seconds / self.count as f64 }
    }
}

/// Method, route and status of requests.
pub type RequestKey = (Cow<'static, str>, Cow<'static, str>, u16);

/// All requests since the start.
#[derive(Debug, Default)]
pub struct Requests(Mutex<BTreeMap<RequestKey, RequestStat>>);

impl Requests {
    /// Counts one. Routes whose names are part of the program are counted without a copy of them.
    pub fn add(
        &self,
        method: impl Into<Cow<'static, str>>,
        endpoint: impl Into<Cow<'static, str>>,
        status: u16,
        took: Duration,
    ) {
        let key = (method.into(), endpoint.into(), status);
        self.0.lock().entry(key).or_default().add(took);
    }

    /// A copy, sorted by route.
    pub fn all(&self) -> BTreeMap<RequestKey, RequestStat> {
        self.0.lock().clone()
    }
}

/// The layer that counts. Routes that don't exist are not counted: their number has no bound.
pub async fn count_requests(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else {
        return next.run(request).await;
    };
    let method = request.method().clone();
    let begun = clock::now();
    let response = next.run(request).await;
    let took = clock::now().saturating_duration_since(begun);
    requests.add(method.to_string(), endpoint(path.as_str()), response.status().as_u16(), took);
    response
}

/// The route as the protocol writes it.
fn endpoint(matched: &str) -> String {
    const NAMES: [(&str, &str); 6] = [
        ("{name}", "{collection_name}"),
        ("{field}", "{field_name}"),
        ("{vector}", "{vector_name}"),
        ("{snapshot}", "{snapshot_name}"),
        ("{shard}", "{shard_id}"),
        ("{peer}", "{peer_id}"),
    ];
    NAMES.iter().fold(matched.to_owned(), |path, (ours, theirs)| path.replace(ours, theirs))
}

/// Snapshots of one collection since the start, and those under way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SnapshotCount {
    pub created: u64,
    pub creating: u64,
    pub recovering: u64,
}

/// Snapshots by collection.
#[derive(Debug, Default)]
pub struct Snapshots(Mutex<BTreeMap<String, SnapshotCount>>);

/// Something under way; it is over when this is dropped.
pub struct Running {
    all: Arc<Snapshots>,
    collection: String,
    which: fn(&mut SnapshotCount) -> &mut u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        // A collection that was removed meanwhile is forgotten already.
        let Some(count) = all.get_mut(&self.collection) else { return };
        let running = (self.which)(count);
        *running = running.saturating_sub(1);
        if *count == SnapshotCount::default() {
            // Names of recoveries that failed come from clients, and may be any number.
            all.remove(&self.collection);
        }
    }
}

impl Snapshots {
    pub fn of(&self, collection: &str) -> SnapshotCount {
        self.0.lock().get(collection).copied().unwrap_or_default()
    }

    pub fn creating(self: &Arc<Self>, collection: &str) -> Running {
        self.begin(collection, |count| &mut count.creating)
    }

    pub fn recovering(self: &Arc<Self>, collection: &str) -> Running {
        self.begin(collection, |count| &mut count.recovering)
    }

    fn begin(self: &Arc<Self>, collection: &str, which: fn(&mut SnapshotCount) -> &mut u64) -> Running {
        *which(self.0.lock().entry(collection.to_owned()).or_default()) += 1;
        Running { all: self.clone(), collection: collection.to_owned(), which }
    }

    pub fn created(&self, collection: &str) {
        self.0.lock().entry(collection.to_owned()).or_default().created += 1;
    }

    pub fn forget(&self, collection: &str) {
        self.0.lock().remove(collection);
    }
}

/// What there is to say of one collection.
#[derive(Clone, Debug, Default)]
pub struct CollectionNumbers {
    pub name: String,
    pub points: u64,
    /// By name of the vector.
    pub vectors: Vec<(String, u64)>,
    /// Vectors that `indexed_only` leaves out.
    pub unindexed: Vec<(String, u64)>,
    pub running_optimizations: u64,
    pub update_queue_length: u64,
    pub deferred_points: u64,
    pub shards: u64,
    pub bytes_disk: u64,
    pub bytes_ram: u64,
    pub damaged_files: u64,
    pub snapshots: SnapshotCount,
}

/// What there is to say when somebody scrapes.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    pub collections: Vec<CollectionNumbers>,
    pub cluster_enabled: bool,
    pub peers: u64,
    pub memory_limit_bytes: u64,
    pub memory_used_bytes: u64,
    pub disk_free_bytes: u64,
    pub disk_total_bytes: u64,
    pub ready: bool,
    /// Open guardrails by reason.
    pub issues: BTreeMap<String, u64>,
    /// Answers since the start that may be older than promised, and say so.
    pub stale: u64,
    /// Requests refused since the start: for want of a key or token that counts, for want of a right.
    pub refused: [u64; 2],
}

type Labels = Vec<(String, String)>;

#[derive(Debug)]
struct Answer {
    scrape: Scrape,
    requests: BTreeMap<RequestKey, RequestStat>,
}

/// The text of `GET /metrics`.
pub fn encode(prefix: Option<&str>, scrape: Scrape, requests: &Requests) -> String {
    let mut registry = match prefix {
        // The library puts an underscore after a prefix; the protocol's setting brings its own.
        Some(prefix) if !prefix.is_empty() => Registry::with_prefix(prefix.trim_end_matches('_')),
        _ => Registry::default(),
    };
    registry.register_collector(Box::new(Answer { scrape, requests: requests.all() }));
    let mut out = String::new();
    if text::encode(&mut out, &registry).is_err() {
        let _ = writeln!(out, "# the numbers could not be printed");
    }
    with_whole_names(&out)
}

/// Says of counters what they are by the names that their values have: the library leaves out the `_total`, as a later format of the
/// text does, and readers of this one would know them by no type.
fn with_whole_names(text: &str) -> String {
    let counter = |line: &str| {
        let name = line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?;
        (!name.ends_with("_total")).then(|| name.to_owned())
    };
    let counters: Vec<String> = text.lines().filter_map(counter).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let described = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        let split = described.and_then(|rest| rest.split_once(' '));
        match split.filter(|(name, _)| counters.iter().any(|c| c == name)) {
            Some((name, rest)) => {
                let _ = writeln!(out, "{}{name}_total {rest}", &line[.."# HELP ".len()]);
            }
            None => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

impl Collector for Answer {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        self.node(&mut encoder)?;
        self.collections(&mut encoder)?;
        self.process(&mut encoder)?;
        self.responses(&mut encoder)
    }
}

fn const_gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// One gauge without labels.
fn single(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: u64) -> std::fmt::Result {
    const_gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// One gauge with a value for each set of labels.
fn labelled(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Labels, u64)>,
) -> std::fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        const_gauge(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect()
}

impl Answer {
    fn node(&self, e: &mut DescriptorEncoder) -> std::fmt::Result {
        let s = &self.scrape;
        let app = labels(&[("name", "qdrant"), ("version", crate::PROTOCOL_VERSION)]);
        labelled(e, "app_info", "information about qdrant server", [(app, 1)])?;
        let engine = labels(&[("version", crate::VERSION)]);
        labelled(e, "quiver_info", "version of the node", [(engine, 1)])?;
        single(e, "app_status_recovery_mode", "whether recovery mode is on", 0)?;
        single(e, "quiver_ready", "whether /readyz answers 200", u64::from(s.ready))?;
        single(e, "cluster_enabled", "whether the node is one of several", u64::from(s.cluster_enabled))?;
        if s.cluster_enabled {
            single(e, "cluster_peers_total", "nodes that have a shard", s.peers)?;
        }
        single(e, "quiver_memory_limit_bytes", "memory that the node may use", s.memory_limit_bytes)?;
        single(e, "quiver_memory_used_bytes", "memory that can't be taken back", s.memory_used_bytes)?;
        single(e, "quiver_disk_free_bytes", "free space of the data volume", s.disk_free_bytes)?;
        single(e, "quiver_disk_total_bytes", "size of the data volume", s.disk_total_bytes)?;
        let issues = s.issues.iter().map(|(reason, n)| (labels(&[("reason", reason)]), *n));
        let refused = ["credentials", "rights"].iter().zip(s.refused);
        let refused = refused.map(|(reason, n)| (labels(&[("reason", reason)]), n));
        labelled(e, "quiver_auth_refused_total", "requests that keys, tokens or rights forbade", refused)?;
        single(e, "quiver_stale_answers_total", "answers that may be older than promised", s.stale)?;
        labelled(e, "quiver_issues", "red lines that are crossed, see /issues", issues)
    }

    fn collections(&self, e: &mut DescriptorEncoder) -> std::fmt::Result {
        let all = &self.scrape.collections;
        single(e, "collections_total", "number of collections", all.len() as u64)?;
        let vectors = all.iter().flat_map(|c| &c.vectors).map(|(_, n)| n).sum();
        single(e, "collections_vector_total", "total number of vectors in all collections", vectors)?;
        let by_vector = |pick: fn(&CollectionNumbers) -> &Vec<(String, u64)>, key: &'static str| {
            all.iter().flat_map(move |c| {
                pick(c).iter().map(move |(v, n)| (labels(&[(key, &c.name), ("vector", v)]), *n))
            })
        };
        labelled(e, "collection_vectors", "vectors by name", by_vector(|c| &c.vectors, "collection"))?;
        labelled(
            e,
            "collection_indexed_only_excluded_points",
            "vectors that indexed_only leaves out",
            by_vector(|c| &c.unindexed, "id"),
        )?;
        let each = |pick: fn(&CollectionNumbers) -> u64| {
            all.iter().map(move |c| (labels(&[("id", &c.name)]), pick(c))).collect::<Vec<_>>()
        };
        labelled(e, "collection_points", "points in a collection", each(|c| c.points))?;
        labelled(e, "collection_active_replicas_min", "active replicas of the worst shard", each(|_| 1))?;
        labelled(e, "collection_active_replicas_max", "active replicas of the best shard", each(|_| 1))?;
        labelled(e, "collection_dead_replicas", "dead replicas", each(|_| 0))?;
        labelled(
            e,
            "collection_running_optimizations",
            "running optimizations",
            each(|c| c.running_optimizations),
        )?;
        labelled(e, "collection_update_queue_length", "waiting writes", each(|c| c.update_queue_length))?;
        labelled(e, "quiver_collection_shards", "shards on this node", each(|c| c.shards))?;
        labelled(e, "quiver_collection_disk_bytes", "bytes in files", each(|c| c.bytes_disk))?;
        labelled(e, "quiver_collection_ram_bytes", "bytes in memory", each(|c| c.bytes_ram))?;
        labelled(
            e,
            "quiver_collection_damaged_files",
            "files that do not hold what was written, see /issues",
            each(|c| c.damaged_files),
        )?;
        labelled(
            e,
            "collection_update_queue_deferred_points",
            "points that are not visible before they are indexed",
            each(|c| c.deferred_points),
        )?;
        labelled(e, "collection_shard_transfer_incoming", "shards being received", each(|_| 0))?;
        labelled(e, "collection_shard_transfer_outgoing", "shards being sent", each(|_| 0))?;
        let creating = each(|c| c.snapshots.creating);
        labelled(e, "snapshot_creation_running", "snapshots being made", creating)?;
        let recovering = each(|c| c.snapshots.recovering);
        labelled(e, "snapshot_recovery_running", "snapshots being recovered", recovering)?;
        let mut created =
            e.encode_descriptor("snapshot_created", "snapshots since the start", None, MetricType::Counter)?;
        for (labels, count) in each(|c| c.snapshots.created) {
            created.encode_family(&labels)?.encode_counter::<NoExemplar, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn process(&self, e: &mut DescriptorEncoder) -> std::fmt::Result {
        let status = limits::read("/proc/self/status");
        let number = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
        };
        single(e, "memory_resident_bytes", "resident memory", number("VmRSS:") << 10)?;
        single(e, "process_threads", "threads", number("Threads:"))?;
        let maps = limits::read("/proc/self/maps").lines().count() as u64;
        single(e, "process_open_mmaps", "mapped regions", maps)?;
        let max_maps = limits::read("/proc/sys/vm/max_map_count").trim().parse().unwrap_or(0);
        single(e, "system_max_mmaps", "mapped regions that a process may have", max_maps)?;
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, |d| d.count() as u64);
        single(e, "process_open_fds", "open files", open)?;
        let limits = limits::read("/proc/self/limits");
        let max = limits.lines().find_map(|l| l.strip_prefix("Max open files"));
        let max = max.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0);
        single(e, "process_max_fds", "files that may be open", max)?;
        // The numbers after the name, which is in brackets and may hold anything.
        let stat = limits::read("/proc/self/stat");
        let numbers: Vec<&str> =
            stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_whitespace().collect();
        for (name, help, at) in [
            ("process_minor_page_faults", "page faults without a read from disk", 7),
            ("process_major_page_faults", "page faults with a read from disk", 9),
        ] {
            let count: u64 = numbers.get(at).and_then(|n| n.parse().ok()).unwrap_or(0);
            let mut counter = e.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode_counter::<NoExemplar, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn responses(&self, e: &mut DescriptorEncoder) -> std::fmt::Result {
        let key = |(method, endpoint, status): &RequestKey| {
            labels(&[("method", method), ("endpoint", endpoint), ("status", &status.to_string())])
        };
        let mut total =
            e.encode_descriptor("rest_responses", "answered requests", None, MetricType::Counter)?;
        for (k, stat) in &self.requests {
            total.encode_family(&key(k))?.encode_counter::<NoExemplar, _, u64>(&stat.count, None)?;
        }
        let ok = || self.requests.iter().filter(|((_, _, status), _)| *status == 200);
        for (name, help, pick) in [
            (
                "rest_responses_avg_duration_seconds",
                "mean time of an answer",
                RequestStat::avg_seconds as fn(&_) -> f64,
            ),
            ("rest_responses_min_duration_seconds", "shortest time of an answer", |s: &RequestStat| {
                s.min_seconds
            }),
            ("rest_responses_max_duration_seconds", "longest time of an answer", |s: &RequestStat| {
                s.max_seconds
            }),
        ] {
            let mut family = e.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (k, stat) in ok() {
                family.encode_family(&key(k))?.encode_gauge(&pick(stat))?;
            }
        }
        let name = "rest_responses_duration_seconds";
        let mut family = e.encode_descriptor(name, "times of answers", None, MetricType::Histogram)?;
        for (k, stat) in ok() {
            let buckets: Vec<(f64, u64)> = BUCKETS.iter().copied().zip(stat.buckets).collect();
            let labels = key(k);
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoExemplar>(stat.sum_seconds, stat.count, &buckets, None)?;
        }
        Ok(())
    }
}

type NoExemplar = [(&'static str, &'static str); 0];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scrape: Scrape, requests: &Requests, prefix: Option<&str>, expected: &[&str]) {
        let text = encode(prefix, scrape, requests);
        for line in expected {
            assert!(text.lines().any(|l| l == *line), "`{line}` is missing in\n{text}");
        }
    }

    #[test]
    fn names_are_those_of_the_protocol() {
        let requests = Requests::default();
        requests.add("GET", "/collections", 200, Duration::from_millis(3));
        requests.add("GET", "/collections", 200, Duration::from_millis(5));
        requests.add("GET", "/collections", 404, Duration::from_millis(5));
        let docs = CollectionNumbers {
            name: "docs".into(),
            points: 7,
            vectors: vec![(String::new(), 7)],
            snapshots: SnapshotCount { created: 3, creating: 1, recovering: 0 },
            ..CollectionNumbers::default()
        };
        let scrape = Scrape { collections: vec![docs], ..Scrape::default() };
        check(
            scrape.clone(),
            &requests,
            None,
            &[
                "app_info{name=\"qdrant\",version=\"1.19.0\"} 1",
                "collections_total 1",
                "collections_vector_total 7",
                "collection_points{id=\"docs\"} 7",
                "collection_vectors{collection=\"docs\",vector=\"\"} 7",
                "cluster_enabled 0",
                "snapshot_created_total{id=\"docs\"} 3",
                "snapshot_creation_running{id=\"docs\"} 1",
                "snapshot_recovery_running{id=\"docs\"} 0",
                "collection_shard_transfer_incoming{id=\"docs\"} 0",
                "# TYPE process_major_page_faults_total counter",
                "rest_responses_total{method=\"GET\",endpoint=\"/collections\",status=\"200\"} 2",
                "rest_responses_total{method=\"GET\",endpoint=\"/collections\",status=\"404\"} 1",
                "rest_responses_avg_duration_seconds{method=\"GET\",endpoint=\"/collections\",status=\"200\"} 0.004",
                "rest_responses_duration_seconds_bucket{le=\"0.005\",method=\"GET\",endpoint=\"/collections\",status=\"200\"} 2",
                "rest_responses_duration_seconds_bucket{le=\"+Inf\",method=\"GET\",endpoint=\"/collections\",status=\"200\"} 2",
            ],
        );
        check(scrape, &requests, Some("my_"), &["my_collections_total 1"]);
    }

    #[test]
    fn snapshots_are_counted_while_they_run_and_afterwards() {
        let all = Arc::new(Snapshots::default());
        let (one, two) = (all.creating("docs"), all.recovering("docs"));
        all.created("docs");
        assert_eq!(all.of("docs"), SnapshotCount { created: 1, creating: 1, recovering: 1 });
        drop(one);
        assert_eq!(all.of("docs"), SnapshotCount { created: 1, creating: 0, recovering: 1 });
        all.forget("docs");
        drop(two);
        assert_eq!(all.of("docs"), SnapshotCount::default());
    }

    #[test]
    fn routes_are_named_as_the_protocol_names_them() {
        assert_eq!(endpoint("/collections/{name}/points"), "/collections/{collection_name}/points");
        assert_eq!(
            endpoint("/collections/{name}/shards/{shard}/snapshots/{snapshot}"),
            "/collections/{collection_name}/shards/{shard_id}/snapshots/{snapshot_name}"
        );
    }
}
