//! Reports on collections, shards and the cluster, as the contract describes them. They are put together where they are asked for; here
//! are their forms.
#![allow(dead_code)] // Nothing is ever made of these types but schemas.

use std::collections::BTreeMap;

use quiver_api::cluster_operations::TransferMethod;
use quiver_api::collections::{
    FieldParams, FieldType, Memory, PayloadStorage, ShardingMethod, VectorsConfig,
};
use quiver_api::quantization::QuantizationConfig;
use quiver_api::shard_key::{ReplicaState, ShardKey};
use quiver_api::sparse::SparseVectorParams;
use quiver_api::strict_mode::StrictMode;
use schemars::JsonSchema;
use serde_json::{Map, Value};

/// RFC 3339.
#[derive(JsonSchema)]
#[schemars(inline, extend("format" = "date-time"))]
pub struct Timestamp(String);

#[derive(JsonSchema)]
#[schemars(inline, extend("format" = "uuid"))]
pub struct Uuid(String);

#[derive(JsonSchema)]
pub struct CollectionInfo {
    pub status: CollectionStatus,
    pub optimizer_status: OptimizersStatus,
    pub warnings: Option<Vec<CollectionWarning>>,
    pub indexed_vectors_count: Option<usize>,
    pub points_count: Option<usize>,
    pub segments_count: usize,
    pub config: CollectionConfig,
    pub payload_schema: BTreeMap<String, PayloadIndexInfo>,
    pub update_queue: Option<UpdateQueueInfo>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CollectionStatus {
    Green,
    Yellow,
    Grey,
    Red,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizersStatus {
    Ok,
    Error(String),
}

#[derive(JsonSchema)]
pub struct CollectionWarning {
    pub message: String,
}

#[derive(JsonSchema)]
pub struct CollectionConfig {
    pub params: CollectionParams,
    pub hnsw_config: HnswConfig,
    pub optimizer_config: OptimizersConfig,
    pub wal_config: Option<WalConfig>,
    pub quantization_config: Option<QuantizationConfig>,
    pub strict_mode_config: Option<StrictMode>,
    pub metadata: Option<Map<String, Value>>,
}

#[derive(JsonSchema)]
pub struct CollectionParams {
    pub vectors: Option<VectorsConfig>,
    pub shard_number: Option<u32>,
    pub sharding_method: Option<ShardingMethod>,
    pub replication_factor: Option<u32>,
    pub write_consistency_factor: Option<u32>,
    pub read_fan_out_factor: Option<u32>,
    pub read_fan_out_delay_ms: Option<u64>,
    pub on_disk_payload: Option<bool>,
    pub payload: Option<PayloadStorage>,
    pub sparse_vectors: Option<BTreeMap<String, SparseVectorParams>>,
}

#[derive(JsonSchema)]
pub struct HnswConfig {
    pub m: usize,
    pub ef_construct: usize,
    pub full_scan_threshold: usize,
    pub max_indexing_threads: Option<usize>,
    pub on_disk: Option<bool>,
    pub memory: Option<Memory>,
    pub payload_m: Option<usize>,
    pub inline_storage: Option<bool>,
}

#[derive(JsonSchema)]
pub struct OptimizersConfig {
    pub deleted_threshold: Option<f64>,
    pub vacuum_min_vector_number: Option<usize>,
    pub default_segment_number: usize,
    pub max_segment_size: Option<usize>,
    pub memmap_threshold: Option<usize>,
    pub indexing_threshold: Option<usize>,
    pub flush_interval_sec: u64,
    pub max_optimization_threads: Option<usize>,
    pub prevent_unoptimized: Option<bool>,
}

#[derive(JsonSchema)]
pub struct WalConfig {
    pub wal_capacity_mb: usize,
    pub wal_segments_ahead: usize,
    pub wal_retain_closed: Option<usize>,
}

#[derive(JsonSchema)]
pub struct PayloadIndexInfo {
    pub data_type: FieldType,
    pub params: Option<FieldParams>,
    pub points: usize,
}

#[derive(JsonSchema)]
pub struct UpdateQueueInfo {
    pub length: usize,
    pub deferred_points: Option<usize>,
}

#[derive(JsonSchema)]
pub struct CollectionClusterInfo {
    pub peer_id: u64,
    pub shard_count: usize,
    pub local_shards: Vec<LocalShardInfo>,
    pub remote_shards: Vec<RemoteShardInfo>,
    pub shard_transfers: Vec<ShardTransferInfo>,
    pub resharding_operations: Option<Vec<ReshardingInfo>>,
}

#[derive(JsonSchema)]
pub struct LocalShardInfo {
    pub shard_id: u32,
    pub shard_key: Option<ShardKey>,
    pub points_count: usize,
    pub state: ReplicaState,
}

#[derive(JsonSchema)]
pub struct RemoteShardInfo {
    pub shard_id: u32,
    pub shard_key: Option<ShardKey>,
    pub peer_id: u64,
    pub state: ReplicaState,
}

#[derive(JsonSchema)]
pub struct ShardTransferInfo {
    pub shard_id: u32,
    pub to_shard_id: Option<u32>,
    pub from: u64,
    pub to: u64,
    pub sync: bool,
    pub method: Option<TransferMethod>,
    pub comment: Option<String>,
}

#[derive(JsonSchema)]
pub struct ReshardingInfo {
    pub direction: ReshardingDirection,
    pub shard_id: u32,
    pub peer_id: u64,
    pub shard_key: Option<ShardKey>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReshardingDirection {
    Up,
    Down,
}

#[derive(JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ClusterStatus {
    Disabled,
    Enabled {
        peer_id: u64,
        peers: BTreeMap<String, PeerInfo>,
        raft_info: RaftInfo,
        consensus_thread_status: ConsensusThreadStatus,
        message_send_failures: BTreeMap<String, MessageSendErrors>,
    },
}

#[derive(JsonSchema)]
pub struct PeerInfo {
    pub uri: String,
}

#[derive(JsonSchema)]
pub struct RaftInfo {
    pub term: u64,
    pub commit: u64,
    pub pending_operations: usize,
    pub leader: Option<u64>,
    pub role: Option<StateRole>,
    pub is_voter: bool,
}

#[derive(JsonSchema)]
pub enum StateRole {
    Follower,
    Candidate,
    Leader,
    PreCandidate,
}

#[derive(JsonSchema)]
#[serde(tag = "consensus_thread_status", rename_all = "snake_case")]
pub enum ConsensusThreadStatus {
    Working { last_update: Timestamp },
    Stopped,
    StoppedWithErr { err: String },
}

#[derive(JsonSchema)]
pub struct MessageSendErrors {
    pub count: usize,
    pub latest_error: Option<String>,
    pub latest_error_timestamp: Option<Timestamp>,
}

#[derive(JsonSchema)]
pub struct OptimizationsResponse {
    pub summary: OptimizationsSummary,
    pub running: Vec<Optimization>,
    pub queued: Option<Vec<PendingOptimization>>,
    pub completed: Option<Vec<Optimization>>,
    pub idle_segments: Option<Vec<OptimizationSegmentInfo>>,
}

#[derive(JsonSchema)]
pub struct OptimizationsSummary {
    pub queued_optimizations: usize,
    pub queued_segments: usize,
    pub queued_points: usize,
    pub idle_segments: usize,
}

#[derive(JsonSchema)]
pub struct Optimization {
    pub uuid: Uuid,
    pub optimizer: String,
    pub status: TrackerStatus,
    pub segments: Vec<OptimizationSegmentInfo>,
    pub progress: ProgressTree,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackerStatus {
    Optimizing,
    Done,
    Cancelled(String),
    Error(String),
}

#[derive(JsonSchema)]
pub struct OptimizationSegmentInfo {
    pub uuid: Uuid,
    pub points_count: usize,
}

#[derive(JsonSchema)]
pub struct ProgressTree {
    pub name: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub duration_sec: Option<f64>,
    pub done: Option<u64>,
    pub total: Option<u64>,
    pub children: Option<Vec<ProgressTree>>,
}

#[derive(JsonSchema)]
pub struct PendingOptimization {
    pub optimizer: String,
    pub segments: Vec<OptimizationSegmentInfo>,
}

#[derive(JsonSchema)]
pub struct ShardKeysResponse {
    pub shard_keys: Option<Vec<ShardKeyDescription>>,
}

#[derive(JsonSchema)]
pub struct ShardKeyDescription {
    pub key: ShardKey,
}

#[derive(JsonSchema)]
pub struct IssuesReport {
    pub issues: Vec<Issue>,
}

#[derive(JsonSchema)]
pub struct Issue {
    pub id: String,
    pub description: String,
    pub solution: Map<String, Value>,
    pub timestamp: Timestamp,
    pub related_collection: Option<String>,
}
