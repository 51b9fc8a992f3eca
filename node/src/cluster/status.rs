//! What this node says of its copies.

use quiver_api::internal::{CopyState, ShardStatus, SplitStatus};
use quiver_engine::shard::ShardStatus as Work;

use super::lead::{Cluster, Copy};

impl Cluster {
    /// Every copy on this node: those that records list, and those that wait to be listed.
    pub fn statuses(&self) -> Vec<ShardStatus> {
        let copies = self.copies.lock().clone();
        let placed = self.placed.lock().clone();
        let forks = self.forks.lock().clone();
        let waiting = placed.into_iter().map(|(shard, copy)| ShardStatus {
            shard,
            copy_id: copy.id,
            state: CopyState::CatchingUp,
            message: Some("it was made and waits to be listed".into()),
            fit: true,
            ..ShardStatus::default()
        });
        let listed = copies.into_iter().map(|(shard, copy)| {
            let frozen = copy.shard.as_ref().and_then(|s| s.bounds().frozen);
            let split = frozen.map(|frozen| {
                let made = forks.get(&shard).filter(|f| f.at == (frozen.seq, frozen.term));
                SplitStatus { seq: frozen.seq, term: frozen.term, copy_id: made.map(|f| f.id.clone()) }
            });
            ShardStatus { split, ..status(shard, copy) }
        });
        listed.chain(waiting).collect()
    }
}

fn status(shard: u32, copy: Copy) -> ShardStatus {
    let stats = copy.shard.as_ref().map(|s| s.stats()).unwrap_or_default();
    let durable = copy.shard.as_ref().map_or(0, |s| s.log_tail().last);
    let state = copy.state();
    let fit = copy.standing.is_some()
        && !matches!(state, CopyState::Damaged | CopyState::Failed | CopyState::ConfigLost);
    ShardStatus {
        shard,
        state,
        message: copy.says().or(stats.optimizer_error),
        term: copy.standing.map_or(0, |s| i64::try_from(s.term).unwrap_or(i64::MAX)),
        config_version: copy.standing.map_or(0, |s| i64::try_from(s.config_version).unwrap_or(i64::MAX)),
        seq: durable,
        points: stats.points,
        indexed_vectors: stats.indexed_vectors,
        segments: u32::try_from(stats.segments).unwrap_or(u32::MAX),
        bytes_disk: stats.bytes_disk,
        optimizing: stats.status == Work::Yellow,
        promised: copy.standing.map_or(0, |s| s.term),
        fit,
        copy_id: copy.id,
        split: None,
    }
}
