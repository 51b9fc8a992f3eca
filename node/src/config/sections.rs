//! The sections and keys of the settings, with their defaults.

use std::path::PathBuf;

use quiver_engine::config::{HnswConfig, OptimizerConfig};
use serde::{Deserialize, Serialize};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A level (`INFO`) or directives (`info,quiver_node=debug`).
    pub log_level: String,
    /// `text` or `json`.
    pub log_format: LogFormat,
    pub service: Service,
    pub storage: Storage,
    pub cluster: Cluster,
    pub tls: Tls,
    pub guardrails: Thresholds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_level: "INFO".into(),
            log_format: LogFormat::Text,
            service: Service::default(),
            storage: Storage::default(),
            cluster: Cluster::default(),
            tls: Tls::default(),
            guardrails: Thresholds::default(),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; never to be logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The public port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    pub host: String,
    pub http_port: u16,
    /// Largest body of a request, in megabytes. Uploads of snapshots have a limit of their own.
    pub max_request_size_mb: usize,
    /// Threads that serve connections; 0: one for each core.
    pub max_workers: usize,
    pub max_connections: usize,
    /// Seconds that a request may take unless it says `?timeout=`, and that its body may take to arrive.
    pub request_timeout_sec: u64,
    /// Longest time until the head of a request has to be complete.
    pub header_timeout_sec: u64,
    /// How long running requests may go on after a signal to stop.
    pub shutdown_timeout_sec: u64,
    pub enable_cors: bool,
    pub enable_tls: bool,
    pub verify_https_client_certificate: bool,
    pub api_key: Option<Secret>,
    pub alt_api_key: Option<Secret>,
    pub read_only_api_key: Option<Secret>,
    /// Whether tokens count that are signed with `api_key` or `alt_api_key`.
    pub jwt_rbac: bool,
    /// A search that takes longer is logged.
    pub slow_query_secs: f64,
    pub hardware_reporting: bool,
    pub metrics_prefix: Option<String>,
    /// Whether `PUT /collections/{name}/snapshots/recover` may fetch from http and https addresses.
    pub enable_snapshot_url_recovery: bool,
    /// Hosts that recovery may fetch from; private addresses only if their host is named here.
    pub snapshot_url_hosts: Vec<String>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            http_port: 6333,
            max_request_size_mb: 32,
            max_workers: 0,
            max_connections: 10_000,
            request_timeout_sec: 60,
            header_timeout_sec: 10,
            shutdown_timeout_sec: 20,
            enable_cors: true,
            enable_tls: false,
            verify_https_client_certificate: false,
            api_key: None,
            alt_api_key: None,
            read_only_api_key: None,
            jwt_rbac: false,
            slow_query_secs: 1.2,
            hardware_reporting: false,
            metrics_prefix: None,
            enable_snapshot_url_recovery: false,
            snapshot_url_hosts: Vec::new(),
        }
    }
}

/// Where data is, and defaults of new collections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    pub storage_path: PathBuf,
    /// `snapshots` inside the storage path unless set.
    pub snapshots_path: Option<PathBuf>,
    pub on_disk_payload: bool,
    pub max_collections: Option<usize>,
    /// Megabytes of memory that the node may use; unset: what the container or the machine has.
    pub memory_limit_mb: Option<u64>,
    pub performance: Performance,
    pub optimizers: Optimizers,
    pub hnsw_index: HnswIndex,
    pub wal: Wal,
    pub collection: CollectionDefaults,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            storage_path: "./quiver-data".into(),
            snapshots_path: None,
            on_disk_payload: true,
            max_collections: None,
            memory_limit_mb: None,
            performance: Performance::default(),
            optimizers: Optimizers::default(),
            hnsw_index: HnswIndex::default(),
            wal: Wal::default(),
            collection: CollectionDefaults::default(),
        }
    }
}

impl Storage {
    /// Where REST snapshots are kept.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.snapshots_path.clone().unwrap_or_else(|| self.storage_path.join("snapshots"))
    }
}

/// Threads and queues. 0 means: as many as the machine has cores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Performance {
    pub max_search_threads: usize,
    /// Threads that apply writes; they wait for the disk most of the time, and in a cluster for other copies: eight times as
    /// many there.
    pub max_update_threads: usize,
    /// Threads that build and merge segments. Negative: all cores but so many.
    pub optimizer_cpu_budget: i64,
    /// Requests that may wait for a thread before others are refused with 503.
    pub search_queue_size: usize,
    pub update_queue_size: usize,
}

impl Default for Performance {
    fn default() -> Self {
        Self {
            max_search_threads: 0,
            max_update_threads: 0,
            optimizer_cpu_budget: 0,
            search_queue_size: 4096,
            update_queue_size: 4096,
        }
    }
}

/// Defaults of `optimizers_config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimizers {
    pub deleted_threshold: f64,
    pub vacuum_min_vector_number: usize,
    pub default_segment_number: usize,
    pub max_segment_size_kb: Option<usize>,
    pub memmap_threshold_kb: Option<usize>,
    pub indexing_threshold_kb: usize,
    pub flush_interval_sec: u64,
    pub max_optimization_threads: Option<usize>,
}

impl Default for Optimizers {
    fn default() -> Self {
        let d = OptimizerConfig::default();
        Self {
            deleted_threshold: d.deleted_threshold,
            vacuum_min_vector_number: d.vacuum_min_vector_number,
            default_segment_number: d.default_segment_number,
            max_segment_size_kb: d.max_segment_size_kb,
            memmap_threshold_kb: d.memmap_threshold_kb,
            indexing_threshold_kb: d.indexing_threshold_kb,
            flush_interval_sec: d.flush_interval_sec,
            max_optimization_threads: d.max_optimization_threads,
        }
    }
}

impl Optimizers {
    /// As the engine takes it.
    pub fn engine(&self) -> OptimizerConfig {
        OptimizerConfig {
            deleted_threshold: self.deleted_threshold,
            vacuum_min_vector_number: self.vacuum_min_vector_number,
            default_segment_number: self.default_segment_number,
            max_segment_size_kb: self.max_segment_size_kb,
            memmap_threshold_kb: self.memmap_threshold_kb,
            indexing_threshold_kb: self.indexing_threshold_kb,
            flush_interval_sec: self.flush_interval_sec,
            max_optimization_threads: self.max_optimization_threads,
            prevent_unoptimized: false,
        }
    }
}

/// Defaults of `hnsw_config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HnswIndex {
    pub m: usize,
    pub ef_construct: usize,
    pub full_scan_threshold_kb: usize,
    pub max_indexing_threads: usize,
    pub on_disk: bool,
    pub payload_m: Option<usize>,
}

impl Default for HnswIndex {
    fn default() -> Self {
        let d = HnswConfig::default();
        Self {
            m: d.m,
            ef_construct: d.ef_construct,
            full_scan_threshold_kb: d.full_scan_threshold_kb,
            max_indexing_threads: d.max_indexing_threads,
            on_disk: d.on_disk,
            payload_m: d.payload_m,
        }
    }
}

impl HnswIndex {
    /// As the engine takes it.
    pub fn engine(&self) -> HnswConfig {
        HnswConfig {
            m: self.m,
            ef_construct: self.ef_construct,
            full_scan_threshold_kb: self.full_scan_threshold_kb,
            max_indexing_threads: self.max_indexing_threads,
            on_disk: self.on_disk,
            payload_m: self.payload_m,
            inline_storage: None,
        }
    }
}

/// The log of each shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wal {
    /// Size at which a log file is closed and the next one begun.
    pub wal_capacity_mb: usize,
}

impl Default for Wal {
    fn default() -> Self {
        Self { wal_capacity_mb: 32 }
    }
}

/// What a new collection gets if the request doesn't say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectionDefaults {
    /// Shards of a new collection; unset: 1.
    pub shard_number: Option<u32>,
    pub vectors: VectorDefaults,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VectorDefaults {
    pub on_disk: Option<bool>,
}

/// Set by the operator: the node is one of the pods of a VectorCollection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    pub enabled: bool,
    /// Name of the VectorCollection.
    pub collection: String,
    pub collection_uid: String,
    pub pod: String,
    pub namespace: String,
    /// Headless Service of the node set.
    pub service: String,
    pub p2p_host: String,
    pub p2p_port: u16,
    /// Folder with ca.crt, tls.crt, tls.key of the internal port.
    pub tls_dir: PathBuf,
    /// Instead of Kubernetes: a file with the shard records, for trying a node set on one machine.
    pub records_file: Option<PathBuf>,
    /// Longest time that a call to another node may take beyond the request's own limit.
    pub call_timeout_ms: u64,
    pub connection_timeout_ms: u64,
    /// What this node fetches of other copies' files in a second, at most; 0: as much as goes.
    pub copy_mib_per_second: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            enabled: false,
            collection: String::new(),
            collection_uid: String::new(),
            pod: String::new(),
            namespace: String::new(),
            service: String::new(),
            p2p_host: "0.0.0.0".into(),
            p2p_port: 6335,
            tls_dir: PathBuf::new(),
            records_file: None,
            call_timeout_ms: 60_000,
            connection_timeout_ms: 3_000,
            copy_mib_per_second: 0,
        }
    }
}

/// Certificate of the public port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca_cert: Option<PathBuf>,
    /// Seconds between two looks at the files.
    pub cert_ttl: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self { cert: PathBuf::new(), key: PathBuf::new(), ca_cert: None, cert_ttl: 60 }
    }
}

/// From where on `/issues` reports what experts call a red line; 0 switches one off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// A filter on a field without an index, in a collection with at least so many points.
    pub unindexed_filter_points: u64,
    /// Vectors without quantization.
    pub unquantized_vectors: u64,
    /// Points in a collection with one shard.
    pub single_shard_points: u64,
    /// Hours since the last snapshot.
    pub snapshot_age_hours: u64,
    /// Writes that are looked at; more than half with one point each is reported.
    pub tiny_writes_window: u64,
    /// Searches after which somebody should have set hnsw_ef once.
    pub untuned_searches: u64,
    /// Vectors from which on hnsw_ef matters.
    pub untuned_vectors: u64,
    /// Share of the memory limit, in percent.
    pub memory_percent: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            unindexed_filter_points: 1,
            unquantized_vectors: 1_000_000,
            single_shard_points: 10_000_000,
            snapshot_age_hours: 26,
            tiny_writes_window: 1000,
            untuned_searches: 1000,
            untuned_vectors: 100_000,
            memory_percent: 85,
        }
    }
}
