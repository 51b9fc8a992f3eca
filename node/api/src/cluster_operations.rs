//! What may be asked of the places of a collection's shards. A node reads it to refuse what makes no sense, and moves nothing itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::shard_key::{CreateShardKey, DropShardKey, ShardKey};

/// One operation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "data did not match any variant of untagged enum ClusterOperations")]
pub enum ClusterOperation {
    MoveShard { move_shard: MoveShard },
    ReplicateShard { replicate_shard: MoveShard },
    AbortTransfer { abort_transfer: AbortTransfer },
    DropReplica { drop_replica: Replica },
    CreateShardingKey { create_sharding_key: CreateShardKey },
    DropShardingKey { drop_sharding_key: DropShardKey },
    RestartTransfer { restart_transfer: RestartTransfer },
    StartResharding { start_resharding: StartResharding },
    AbortResharding { abort_resharding: AbortResharding },
    ReplicatePoints { replicate_points: ReplicatePoints },
}

/// How a shard is sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferMethod {
    StreamRecords,
    Snapshot,
    WalDelta,
    ReshardingStreamRecords,
}

/// A shard, from where and to where.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct MoveShard {
    pub shard_id: u32,
    pub to_peer_id: u64,
    pub from_peer_id: u64,
    pub method: Option<TransferMethod>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct AbortTransfer {
    pub shard_id: u32,
    pub to_peer_id: u64,
    pub from_peer_id: u64,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct RestartTransfer {
    pub shard_id: u32,
    pub from_peer_id: u64,
    pub to_peer_id: u64,
    pub method: TransferMethod,
}

/// A copy of a shard.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Replica {
    pub shard_id: u32,
    pub peer_id: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Up,
    Down,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct StartResharding {
    pub direction: Direction,
    pub peer_id: Option<u64>,
    pub shard_key: Option<ShardKey>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct AbortResharding {}

/// Points to copy from one key's shards to another's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReplicatePoints {
    pub filter: Option<Filter>,
    pub from_shard_key: ShardKey,
    pub to_shard_key: ShardKey,
}
