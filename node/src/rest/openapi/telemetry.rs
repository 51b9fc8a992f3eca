//! What `/telemetry` and `/cluster/telemetry` tell, as the contract describes it.
#![allow(dead_code)] // Nothing is ever made of these types but schemas.

use std::collections::BTreeMap;

use quiver_api::collections::{Distance, Memory, MultiVectorConfig};
use quiver_api::quantization::QuantizationConfig;
use quiver_api::quotas::QuotaConfig;
use quiver_api::shard_key::{ReplicaState, ShardKey};
use quiver_api::sparse::{Datatype, Modifier};
use quiver_api::strict_mode::StrictMode;
use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::reports::*;

#[derive(JsonSchema)]
pub struct TelemetryData {
    pub id: String,
    pub app: Option<AppBuildTelemetry>,
    pub collections: CollectionsTelemetry,
    pub cluster: Option<ClusterTelemetry>,
    pub requests: Option<RequestsTelemetry>,
    pub memory: Option<MemoryTelemetry>,
    pub hardware: Option<HardwareTelemetry>,
    pub search_pool: Option<SearchThreadPoolTelemetry>,
    pub quota: Option<QuotaTelemetry>,
}

#[derive(JsonSchema)]
pub struct AppBuildTelemetry {
    pub name: String,
    pub version: String,
    pub features: Option<AppFeaturesTelemetry>,
    pub runtime_features: Option<FeatureFlags>,
    pub low_memory_mode: Option<LowMemoryMode>,
    pub hnsw_global_config: Option<HnswGlobalConfig>,
    pub system: Option<RunningEnvironmentTelemetry>,
    pub jwt_rbac: Option<bool>,
    pub hide_jwt_dashboard: Option<bool>,
    pub audit: Option<AuditTelemetry>,
    pub startup: Timestamp,
}

#[derive(JsonSchema)]
pub struct AppFeaturesTelemetry {
    pub debug: bool,
    pub service_debug_feature: bool,
    pub recovery_mode: bool,
    pub gpu: bool,
    pub rocksdb: bool,
    pub staging: bool,
}

#[derive(JsonSchema)]
pub struct FeatureFlags {
    pub all: Option<bool>,
    pub incremental_hnsw_building: Option<bool>,
    pub appendable_quantization: Option<bool>,
    pub single_file_mmap_vector_storage: Option<bool>,
    pub async_payload_storage: Option<bool>,
    pub write_segment_manifest: Option<bool>,
    pub append_only_mutations: Option<bool>,
    pub compact_bitmask: Option<bool>,
    pub serverless_compatible: Option<bool>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LowMemoryMode {
    Disabled,
    NoResident,
    NoPopulate,
}

#[derive(JsonSchema)]
pub struct HnswGlobalConfig {
    pub healing_threshold: Option<f64>,
}

#[derive(JsonSchema)]
pub struct RunningEnvironmentTelemetry {
    pub distribution: Option<String>,
    pub distribution_version: Option<String>,
    pub is_docker: bool,
    pub cores: Option<usize>,
    pub cpu_cores_used: Option<f32>,
    pub ram_size: Option<usize>,
    pub disk_size: Option<usize>,
    pub cpu_flags: String,
    pub cpu_endian: Option<CpuEndian>,
    pub gpu_devices: Option<Vec<GpuDeviceTelemetry>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CpuEndian {
    Little,
    Big,
    Other,
}

#[derive(JsonSchema)]
pub struct GpuDeviceTelemetry {
    pub name: String,
}

#[derive(JsonSchema)]
pub struct AuditTelemetry {
    pub dir: String,
    pub rotation: String,
    pub max_log_files: usize,
    pub trust_forwarded_headers: bool,
    pub log_api: bool,
    pub dir_size_bytes: Option<usize>,
}

#[derive(JsonSchema)]
pub struct CollectionsTelemetry {
    pub number_of_collections: usize,
    pub max_collections: Option<usize>,
    pub collections: Option<Vec<CollectionTelemetryEnum>>,
    pub snapshots: Option<Vec<CollectionSnapshotTelemetry>>,
}

#[derive(JsonSchema)]
#[serde(untagged)]
pub enum CollectionTelemetryEnum {
    Full(Box<CollectionTelemetry>),
    Aggregated(Box<CollectionsAggregatedTelemetry>),
}

#[derive(JsonSchema)]
pub struct CollectionTelemetry {
    pub id: String,
    pub init_time_ms: Option<u64>,
    pub config: Option<CollectionConfigTelemetry>,
    pub shards: Option<Vec<ReplicaSetTelemetry>>,
    pub transfers: Option<Vec<ShardTransferInfo>>,
    pub resharding: Option<Vec<ReshardingInfo>>,
    pub shard_clean_tasks: Option<BTreeMap<String, ShardCleanStatusTelemetry>>,
}

#[derive(JsonSchema)]
pub struct CollectionConfigTelemetry {
    pub params: CollectionParams,
    pub hnsw_config: HnswConfig,
    pub optimizer_config: OptimizersConfig,
    pub wal_config: WalConfig,
    pub quantization_config: Option<QuantizationConfig>,
    pub strict_mode_config: Option<StrictMode>,
    pub uuid: Option<Uuid>,
    pub metadata: Option<Map<String, Value>>,
}

#[derive(JsonSchema)]
pub struct ReplicaSetTelemetry {
    pub id: u32,
    pub key: Option<ShardKey>,
    pub local: Option<LocalShardTelemetry>,
    pub remote: Vec<RemoteShardTelemetry>,
    pub replicate_states: BTreeMap<String, ReplicaState>,
    pub partial_snapshot: Option<PartialSnapshotTelemetry>,
}

#[derive(JsonSchema)]
pub struct LocalShardTelemetry {
    pub variant_name: Option<String>,
    pub status: Option<ShardStatus>,
    pub total_optimized_points: usize,
    pub vectors_size_bytes: Option<usize>,
    pub payloads_size_bytes: Option<usize>,
    pub num_points: Option<usize>,
    pub num_vectors: Option<usize>,
    pub num_vectors_by_name: Option<BTreeMap<String, usize>>,
    pub segments: Option<Vec<SegmentTelemetry>>,
    pub optimizations: Option<OptimizerTelemetry>,
    pub async_scorer: Option<bool>,
    pub indexed_only_excluded_vectors: Option<BTreeMap<String, usize>>,
    pub update_queue: Option<ShardUpdateQueueInfo>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShardStatus {
    Green,
    Yellow,
    Grey,
    Red,
}

#[derive(JsonSchema)]
pub struct SegmentTelemetry {
    pub info: SegmentInfo,
    pub config: SegmentConfig,
    pub vector_index_searches: Vec<VectorIndexSearchesTelemetry>,
    pub payload_field_indices: Vec<PayloadIndexTelemetry>,
}

#[derive(JsonSchema)]
pub struct SegmentInfo {
    pub uuid: Uuid,
    pub segment_type: SegmentType,
    pub num_vectors: usize,
    pub num_points: usize,
    pub num_deferred_points: Option<usize>,
    pub num_deleted_deferred_points: Option<usize>,
    pub num_indexed_vectors: usize,
    pub num_deleted_vectors: usize,
    pub vectors_size_bytes: usize,
    pub payloads_size_bytes: usize,
    pub ram_usage_bytes: usize,
    pub disk_usage_bytes: usize,
    pub is_appendable: bool,
    pub index_schema: BTreeMap<String, PayloadIndexInfo>,
    pub vector_data: BTreeMap<String, VectorDataInfo>,
    pub payload_storage_io_backend: Option<IoBackend>,
    pub deferred_internal_id: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SegmentType {
    Plain,
    Indexed,
    Special,
}

#[derive(JsonSchema)]
pub struct VectorDataInfo {
    pub num_vectors: usize,
    pub num_indexed_vectors: usize,
    pub num_deleted_vectors: usize,
    pub io_backend: Option<IoBackend>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IoBackend {
    Mmap,
    IoUring,
}

#[derive(JsonSchema)]
pub struct SegmentConfig {
    pub vector_data: Option<BTreeMap<String, VectorDataConfig>>,
    pub sparse_vector_data: Option<BTreeMap<String, SparseVectorDataConfig>>,
    pub payload_storage_type: PayloadStorageType,
}

#[derive(JsonSchema)]
pub struct VectorDataConfig {
    pub size: usize,
    pub distance: Distance,
    pub storage_type: VectorStorageType,
    pub index: Indexes,
    pub quantization_config: Option<QuantizationConfig>,
    pub multivector_config: Option<MultiVectorConfig>,
    pub datatype: Option<Datatype>,
}

#[derive(JsonSchema)]
pub enum VectorStorageType {
    Memory,
    Mmap,
    ChunkedMmap,
    InRamChunkedMmap,
    InRamMmap,
    Empty,
}

#[derive(JsonSchema)]
#[serde(tag = "type", content = "options", rename_all = "snake_case")]
pub enum Indexes {
    Plain(Map<String, Value>),
    Hnsw(HnswConfig),
}

#[derive(JsonSchema)]
pub struct SparseVectorDataConfig {
    pub index: SparseIndexConfig,
    pub storage_type: Option<SparseVectorStorageType>,
    pub modifier: Option<Modifier>,
}

#[derive(JsonSchema)]
pub struct SparseIndexConfig {
    pub full_scan_threshold: Option<usize>,
    pub index_type: SparseIndexType,
    pub datatype: Option<Datatype>,
    pub memory: Option<Memory>,
}

#[derive(JsonSchema)]
pub enum SparseIndexType {
    MutableRam,
    ImmutableRam,
    Mmap,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SparseVectorStorageType {
    Mmap,
    Empty,
}

#[derive(JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PayloadStorageType {
    Mmap,
    InRamMmap,
}

#[derive(JsonSchema)]
pub struct VectorIndexSearchesTelemetry {
    pub index_name: Option<String>,
    pub unfiltered_plain: OperationDurationStatistics,
    pub unfiltered_hnsw: OperationDurationStatistics,
    pub unfiltered_sparse: OperationDurationStatistics,
    pub filtered_plain: OperationDurationStatistics,
    pub filtered_small_cardinality: OperationDurationStatistics,
    pub filtered_large_cardinality: OperationDurationStatistics,
    pub filtered_exact: OperationDurationStatistics,
    pub filtered_sparse: OperationDurationStatistics,
    pub unfiltered_exact: OperationDurationStatistics,
}

#[derive(JsonSchema)]
pub struct OperationDurationStatistics {
    pub count: usize,
    pub fail_count: Option<usize>,
    pub avg_duration_micros: Option<f32>,
    pub min_duration_micros: Option<f32>,
    pub max_duration_micros: Option<f32>,
    pub total_duration_micros: Option<u64>,
    pub last_responded: Option<Timestamp>,
}

#[derive(JsonSchema)]
pub struct PayloadIndexTelemetry {
    pub field_name: Option<String>,
    pub index_type: String,
    pub points_values_count: usize,
    pub points_count: usize,
    pub histogram_bucket_size: Option<usize>,
}

#[derive(JsonSchema)]
pub struct OptimizerTelemetry {
    pub status: OptimizersStatus,
    pub optimizations: OperationDurationStatistics,
    pub log: Option<Vec<TrackerTelemetry>>,
}

#[derive(JsonSchema)]
pub struct TrackerTelemetry {
    pub name: String,
    pub uuid: Uuid,
    pub segment_ids: Vec<usize>,
    pub segment_uuids: Vec<Uuid>,
    pub status: TrackerStatus,
    pub start_at: Timestamp,
    pub end_at: Option<Timestamp>,
}

#[derive(JsonSchema)]
pub struct ShardUpdateQueueInfo {
    pub length: usize,
    pub op_num: Option<usize>,
    pub deferred_points: Option<usize>,
}

#[derive(JsonSchema)]
pub struct RemoteShardTelemetry {
    pub shard_id: u32,
    pub peer_id: u64,
    pub searches: Option<OperationDurationStatistics>,
    pub updates: Option<OperationDurationStatistics>,
}

#[derive(JsonSchema)]
pub struct PartialSnapshotTelemetry {
    pub ongoing_create_snapshot_requests: usize,
    pub is_recovering: bool,
    pub recovery_timestamp: u64,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShardCleanStatusTelemetry {
    Started,
    Done,
    Cancelled,
    Progress(ShardCleanStatusProgressTelemetry),
    Failed(ShardCleanStatusFailedTelemetry),
}

#[derive(JsonSchema)]
pub struct ShardCleanStatusProgressTelemetry {
    pub deleted_points: usize,
}

#[derive(JsonSchema)]
pub struct ShardCleanStatusFailedTelemetry {
    pub reason: String,
}

#[derive(JsonSchema)]
pub struct CollectionsAggregatedTelemetry {
    pub vectors: usize,
    pub optimizers_status: OptimizersStatus,
    pub params: CollectionParams,
}

#[derive(JsonSchema)]
pub struct CollectionSnapshotTelemetry {
    pub id: String,
    pub running_snapshots: Option<usize>,
    pub running_snapshot_recovery: Option<usize>,
    pub total_snapshot_creations: Option<usize>,
}

#[derive(JsonSchema)]
pub struct ClusterTelemetry {
    pub enabled: bool,
    pub status: Option<ClusterStatusTelemetry>,
    pub config: Option<ClusterConfigTelemetry>,
    pub peers: Option<BTreeMap<String, PeerInfo>>,
    pub peer_metadata: Option<BTreeMap<String, PeerMetadata>>,
    pub metadata: Option<Map<String, Value>>,
    pub resharding_enabled: Option<bool>,
}

#[derive(JsonSchema)]
pub struct ClusterStatusTelemetry {
    pub number_of_peers: usize,
    pub term: u64,
    pub commit: u64,
    pub pending_operations: usize,
    pub role: Option<StateRole>,
    pub is_voter: bool,
    pub peer_id: Option<u64>,
    pub consensus_thread_status: ConsensusThreadStatus,
}

#[derive(JsonSchema)]
pub struct ClusterConfigTelemetry {
    pub grpc_timeout_ms: u64,
    pub p2p: P2pConfigTelemetry,
    pub consensus: ConsensusConfigTelemetry,
}

#[derive(JsonSchema)]
pub struct P2pConfigTelemetry {
    pub connection_pool_size: usize,
}

#[derive(JsonSchema)]
pub struct ConsensusConfigTelemetry {
    pub max_message_queue_size: usize,
    pub tick_period_ms: u64,
    pub bootstrap_timeout_sec: u64,
}

#[derive(JsonSchema)]
pub struct PeerMetadata {
    pub version: String,
}

#[derive(JsonSchema)]
pub struct RequestsTelemetry {
    pub rest: ResponsesTelemetry,
    pub grpc: ResponsesTelemetry,
}

/// By endpoint and status.
type Responses = BTreeMap<String, BTreeMap<String, OperationDurationStatistics>>;

#[derive(JsonSchema)]
pub struct ResponsesTelemetry {
    pub responses: Responses,
    pub per_collection_responses: Option<BTreeMap<String, Responses>>,
}

#[derive(JsonSchema)]
pub struct MemoryTelemetry {
    pub active_bytes: usize,
    pub allocated_bytes: usize,
    pub metadata_bytes: usize,
    pub resident_bytes: usize,
    pub retained_bytes: usize,
}

#[derive(JsonSchema)]
pub struct HardwareTelemetry {
    pub collection_data: BTreeMap<String, HardwareUsage>,
}

#[derive(JsonSchema)]
pub struct HardwareUsage {
    pub cpu: usize,
    pub payload_io_read: usize,
    pub payload_io_write: usize,
    pub payload_index_io_read: usize,
    pub payload_index_io_write: usize,
    pub vector_io_read: usize,
    pub vector_io_write: usize,
}

#[derive(JsonSchema)]
pub struct SearchThreadPoolTelemetry {
    pub mode: String,
    pub high_cpu_threads: usize,
    pub high_io_threads: usize,
}

#[derive(JsonSchema)]
pub struct QuotaTelemetry {
    pub config: QuotaConfig,
    pub exceeded: QuotaExceeded,
}

#[derive(JsonSchema)]
pub struct QuotaExceeded {
    pub resident_memory: Option<bool>,
    pub disk_usage: Option<bool>,
}

#[derive(JsonSchema)]
pub struct DistributedTelemetryData {
    pub collections: BTreeMap<String, DistributedCollectionTelemetry>,
    pub cluster: Option<DistributedClusterTelemetry>,
}

#[derive(JsonSchema)]
pub struct DistributedCollectionTelemetry {
    pub id: String,
    pub shards: Option<Vec<DistributedShardTelemetry>>,
    pub reshardings: Option<Vec<ReshardingInfo>>,
    pub shard_transfers: Option<Vec<ShardTransferInfo>>,
}

#[derive(JsonSchema)]
pub struct DistributedShardTelemetry {
    pub id: u32,
    pub key: Option<ShardKey>,
    pub replicas: Vec<DistributedReplicaTelemetry>,
}

#[derive(JsonSchema)]
pub struct DistributedReplicaTelemetry {
    pub peer_id: u64,
    pub state: ReplicaState,
    pub status: Option<ShardStatus>,
    pub total_optimized_points: Option<usize>,
    pub vectors_size_bytes: Option<usize>,
    pub payloads_size_bytes: Option<usize>,
    pub num_points: Option<usize>,
    pub num_vectors: Option<usize>,
    pub num_vectors_by_name: Option<BTreeMap<String, usize>>,
    pub shard_cleaning_status: Option<ShardCleanStatusTelemetry>,
    pub partial_snapshot: Option<PartialSnapshotTelemetry>,
}

#[derive(JsonSchema)]
pub struct DistributedClusterTelemetry {
    pub enabled: bool,
    pub number_of_peers: Option<u64>,
    pub peers: BTreeMap<String, DistributedPeerInfo>,
}

#[derive(JsonSchema)]
pub struct DistributedPeerInfo {
    pub uri: String,
    pub responsive: bool,
    pub details: Option<DistributedPeerDetails>,
}

#[derive(JsonSchema)]
pub struct DistributedPeerDetails {
    pub version: String,
    pub role: Option<StateRole>,
    pub is_voter: bool,
    pub term: u64,
    pub commit: u64,
    pub num_pending_operations: u64,
    pub consensus_thread_status: ConsensusThreadStatus,
}
