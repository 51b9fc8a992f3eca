//! What the optimizer does, did and would do next, as the protocol reports it; of the shards that this node holds.

use std::collections::VecDeque;

use jiff::Timestamp;
use quiver_engine::shard::{Outlook, SegmentPoints, Step};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Collection;
use super::optimizer::Looked;
use crate::error::Result;
use crate::pool::Deadline;

/// Steps that are remembered of each shard.
const REMEMBERED: usize = 64;

/// A step that is over.
#[derive(Clone, Debug)]
pub struct Done {
    pub step: Step,
    pub begun: Timestamp,
    pub ended: Timestamp,
    pub error: Option<String>,
}

/// Keeps a step, and forgets the oldest if there are many.
pub fn remember(done: &mut VecDeque<Done>, one: Done) {
    if done.len() >= REMEMBERED {
        done.pop_front();
    }
    done.push_back(one);
}

/// What a report shows beside the summary.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Names of parts, with commas between them.
    pub with: &'a str,
    pub completed: usize,
}

impl Collection {
    /// The `result` of GET `C/optimizations`.
    pub async fn optimizations(&self, shown: Shown<'_>, deadline: Deadline) -> Result<Value> {
        let shards = self.local_shards();
        let look = move |_: &_| shards.into_iter().map(|(id, shard)| (id, shard.outlook())).collect();
        let outlooks: Vec<(u32, Outlook)> =
            self.node.pools.search.run("Optimizations", deadline, look).await?;
        let optimized = self.optimized.lock();
        let looked = |id: u32| optimized.get(&id).cloned().unwrap_or_default();
        Ok(report(outlooks.into_iter().map(|(id, outlook)| (id, outlook, looked(id))), shown))
    }
}

fn report(shards: impl Iterator<Item = (u32, Outlook, Looked)>, shown: Shown<'_>) -> Value {
    let (mut running, mut queued, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    let (mut completed, mut points, mut segments): (Vec<(u32, Done)>, u64, usize) = (Vec::new(), 0, 0);
    for (id, outlook, looked) in shards {
        idle.extend(outlook.idle.iter().map(|s| segment(id, s)));
        completed.extend(looked.done.iter().map(|done| (id, done.clone())));
        match (outlook.next, looked.begun) {
            (Some(step), Some(begun)) => running.push(json!({
                "uuid": uuid_of(id, u64::MAX),
                "optimizer": step.kind,
                "status": "optimizing",
                "segments": step.segments.iter().map(|s| segment(id, s)).collect::<Vec<_>>(),
                "progress": {"name": step.kind, "started_at": begun.to_string()},
            })),
            (Some(step), None) => {
                points += step.segments.iter().map(|s| s.points).sum::<u64>();
                segments += step.segments.len();
                let taken: Vec<Value> = step.segments.iter().map(|s| segment(id, s)).collect();
                queued.push(json!({"optimizer": step.kind, "segments": taken}));
            }
            (None, _) => {}
        }
    }
    let mut result = json!({
        "summary": {
            "queued_optimizations": queued.len(),
            "queued_segments": segments,
            "queued_points": points,
            "idle_segments": idle.len(),
        },
        "running": running,
    });
    let wants = |part: &str| shown.with.split(',').any(|name| name.trim() == part);
    if wants("queued") {
        result["queued"] = queued.into();
    }
    if wants("completed") {
        completed.sort_by_key(|(_, done)| std::cmp::Reverse(done.ended));
        completed.truncate(shown.completed);
        result["completed"] = completed.iter().map(|(id, done)| of_done(*id, done)).collect();
    }
    if wants("idle_segments") {
        result["idle_segments"] = idle.into();
    }
    result
}

fn of_done(shard: u32, done: &Done) -> Value {
    let status = match &done.error {
        None => json!("done"),
        Some(error) => json!({ "error": error }),
    };
    let seconds = done.ended.duration_since(done.begun).as_secs_f64().max(0.0);
    json!({
        "uuid": Uuid::from_u64_pair(u64::from(shard), done.ended.as_microsecond().unsigned_abs()),
        "optimizer": done.step.kind,
        "status": status,
        "segments": done.step.segments.iter().map(|s| segment(shard, s)).collect::<Vec<_>>(),
        "progress": {
            "name": done.step.kind,
            "started_at": done.begun.to_string(),
            "finished_at": done.ended.to_string(),
            "duration_sec": seconds,
        },
    })
}

fn segment(shard: u32, s: &SegmentPoints) -> Value {
    json!({"uuid": uuid_of(shard, s.id), "points_count": s.points})
}

/// Segments have numbers here; the protocol wants an id of this form, always the same for the same segment.
pub(super) fn uuid_of(shard: u32, segment: u64) -> Uuid {
    Uuid::from_u64_pair(u64::from(shard), segment)
}
