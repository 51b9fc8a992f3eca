//! Writes: each goes to the shards that own its points.

use std::time::Duration;

use quiver_api::point::{PointId, Vector, Vectors};
use quiver_api::points::{Selector, UpdateResult, UpdateStatus};
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardWrite, Target};
use quiver_engine::Error as EngineError;

use super::route::{HashRange, group};
use super::{Collection, Place, Route, convert, document, sparse, unexpected};
use crate::error::{ApiError, Result};
use crate::pool::Deadline;

/// How often a writer that waits for its points to be shown looks at the shards.
const SHOWN_EVERY: Duration = Duration::from_millis(20);

/// What a write without a point is told.
pub const NOTHING: &str = "Empty update request";

/// Ids or a filter, one of them given; `missing` is the text if neither is.
pub fn target(select: Selector, missing: &str) -> Result<Target> {
    match (select.points, select.filter) {
        (Some(ids), _) if ids.is_empty() => Err(ApiError::bad_request(NOTHING)),
        (Some(ids), _) => Ok(Target::Ids(ids)),
        (None, Some(filter)) => Ok(Target::Filter(filter)),
        (None, None) => Err(ApiError::bad_request(missing)),
    }
}

impl Collection {
    /// Runs a write on every shard that it concerns. The first error is the answer; other shards may have
    /// taken their part, as an error of a write always means.
    pub async fn update(&self, write: ShardWrite, wait: bool, deadline: Deadline) -> Result<UpdateResult> {
        let write = match document::has_documents(&write) {
            true => {
                let work = move |_: &_| document::embed_write(write);
                self.node.pools.update.run("Update", deadline, work).await??
            }
            false => write,
        };
        self.check_vectors(&write)?;
        let routes = self.routes.load_full();
        let parts = split_by_key(&routes, write)?;
        let calls = parts.into_iter().map(|(i, w)| self.write_to(&routes[i], w, deadline));
        let answers = futures::future::join_all(calls).await;
        let mut operation_id = 0;
        for answer in answers {
            operation_id = operation_id.max(answer?);
        }
        // A write is acknowledged when it is durable, and it is applied right after; so both are true here.
        let status = match wait {
            false => UpdateStatus::Acknowledged,
            true if self.all_shown(deadline).await => UpdateStatus::Completed,
            true => UpdateStatus::WaitTimeout,
        };
        Ok(UpdateResult { operation_id, status })
    }

    /// Writes to one shard, or to those that have its points by then: what a shard didn't take because it is split has not
    /// begun, so it is sent again. Gives the highest number that the operation got.
    async fn write_to(&self, route: &Route, write: ShardWrite, deadline: Deadline) -> Result<u64> {
        let may_move = match &route.place {
            Place::Local(shard) => shard.is_replicated(),
            _ => true,
        };
        let (range, mut now) = (route.range, route.clone());
        let mut write = write;
        loop {
            let again = may_move.then(|| write.clone());
            let refused = match self.call(&now, ShardCall::Write(write), deadline).await {
                Ok(ShardAnswer::Written { seq }) => return Ok(seq),
                Ok(other) => return Err(unexpected(&other)),
                Err(e) => e,
            };
            let Some(kept) = again.filter(|_| refused.moved) else { return Err(refused) };
            write = kept;
            self.wait_for_routes(refused, deadline).await?;
            let routes = self.routes.load_full();
            let mut parts: Vec<Route> = routes.iter().filter(|r| range.holds(r.range)).cloned().collect();
            match parts.as_slice() {
                [] => return Err(ApiError::unavailable("the shards' ranges are not known completely yet")),
                [_] => now = parts.remove(0),
                _ => {
                    let writes = split(&parts, write)?.into_iter();
                    let calls = writes.map(|(i, w)| Box::pin(self.write_to(&parts[i], w, deadline)));
                    let numbers = futures::future::join_all(calls).await;
                    return numbers.into_iter().try_fold(0, |highest, n| Ok(n?.max(highest)));
                }
            }
        }
    }

    /// Whether no point of a shard of this node is hidden, once that is so or the time is over: with `prevent_unoptimized` the
    /// optimizer shows what was written last.
    async fn all_shown(&self, deadline: Deadline) -> bool {
        let mut look = tokio::time::interval(SHOWN_EVERY);
        while self.local_shards().iter().any(|(_, shard)| shard.deferred() > 0) {
            if deadline.left().is_zero() {
                return false;
            }
            look.tick().await;
        }
        true
    }

    /// Finds vectors that a shard would refuse before any shard has taken its part of the points.
    fn check_vectors(&self, write: &ShardWrite) -> Result<()> {
        let definition = self.definition.load();
        let check = |name: &str, vector: &Vector| {
            match sparse::configured(&definition.settings, name) {
                Some(configured) => configured.check(vector),
                // In a node set another node may have added it just now: the shards know better.
                None if !self.node.settings.cluster.enabled => {
                    Err(EngineError::VectorName(name.to_owned()).into())
                }
                None => Ok(()),
            }
        };
        let check_all = |vectors: &Vectors| match vectors {
            Vectors::Unnamed(vector) => check("", vector),
            Vectors::Named(map) => map.iter().try_for_each(|(name, vector)| check(name, vector)),
        };
        match write {
            ShardWrite::Upsert { points, .. } => points.iter().try_for_each(|p| check_all(&p.vector)),
            ShardWrite::UpdateVectors { points, .. } => points.iter().try_for_each(|p| check_all(&p.vector)),
            _ => Ok(()),
        }
    }
}

/// Shards of one key share the points among them; each key that is named gets all of them.
fn split_by_key(routes: &[Route], write: ShardWrite) -> Result<Vec<(usize, ShardWrite)>> {
    if routes.iter().all(|r| r.key == routes[0].key) {
        return if routes.is_empty() { Ok(Vec::new()) } else { split(routes, write) };
    }
    let (mut parts, mut done) = (Vec::new(), Vec::new());
    for route in routes.iter().filter(|r| r.key.is_some()) {
        if done.contains(&&route.key) {
            continue;
        }
        done.push(&route.key);
        let (places, of_key): (Vec<usize>, Vec<Route>) =
            routes.iter().cloned().enumerate().filter(|(_, r)| r.key == route.key).unzip();
        let split = split(&of_key, write.clone())?;
        parts.extend(split.into_iter().map(|(i, write)| (places[i], write)));
    }
    Ok(parts)
}

fn split(routes: &[Route], write: ShardWrite) -> Result<Vec<(usize, ShardWrite)>> {
    use ShardWrite as W;
    let by_target = |target: Target, make: &dyn Fn(Target) -> W| split_target(routes, target, make);
    match write {
        W::Upsert { points, mode, condition } => split_by(
            routes,
            points,
            |p| p.id,
            |points| W::Upsert { points, mode, condition: condition.clone() },
        ),
        W::UpdateVectors { points, condition } => split_by(
            routes,
            points,
            |p| p.id,
            |points| W::UpdateVectors { points, condition: condition.clone() },
        ),
        W::Delete(target) => by_target(target, &W::Delete),
        W::ClearPayload(target) => by_target(target, &W::ClearPayload),
        W::DeleteVectors { target, names } => {
            by_target(target, &|target| W::DeleteVectors { target, names: names.clone() })
        }
        W::SetPayload { target, payload, key } => {
            by_target(target, &|target| W::SetPayload { target, payload: payload.clone(), key: key.clone() })
        }
        W::OverwritePayload { target, payload } => {
            by_target(target, &|target| W::OverwritePayload { target, payload: payload.clone() })
        }
        W::DeletePayload { target, keys } => {
            by_target(target, &|target| W::DeletePayload { target, keys: keys.clone() })
        }
        every @ (W::CreateIndex { .. }
        | W::DropIndex { .. }
        | W::CreateVector { .. }
        | W::CreateSparseVector { .. }
        | W::DropVector { .. }) => Ok((0..routes.len()).map(|i| (i, every.clone())).collect()),
    }
}

fn split_target(
    routes: &[Route],
    target: Target,
    make: &dyn Fn(Target) -> ShardWrite,
) -> Result<Vec<(usize, ShardWrite)>> {
    match target {
        Target::Ids(ids) => split_by(routes, ids, |id| *id, |ids| make(Target::Ids(ids))),
        filter => Ok((0..routes.len()).map(|i| (i, make(filter.clone()))).collect()),
    }
}

fn split_by<T>(
    routes: &[Route],
    items: Vec<T>,
    id: impl Fn(&T) -> PointId,
    make: impl Fn(Vec<T>) -> ShardWrite,
) -> Result<Vec<(usize, ShardWrite)>> {
    let ranges: Vec<HashRange> = routes.iter().map(|r| r.range).collect();
    let (groups, homeless) = group(&ranges, items, |item| convert::point_id(id(item)));
    if let Some(item) = homeless.first() {
        return Err(ApiError::unavailable(format!(
            "no shard owns point {}: the shards' ranges are not known completely yet",
            id(item)
        )));
    }
    let parts = groups.into_iter().enumerate().filter(|(_, items)| !items.is_empty());
    Ok(parts.map(|(i, items)| (i, make(items))).collect())
}
