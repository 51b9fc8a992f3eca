//! A collection: its configuration, the way from a request to its shards, and the merging of what they answer.

pub mod aliases;
pub mod backup;
pub mod convert;
pub mod document;
pub mod execute;
pub mod facet;
pub mod field_index;
pub mod info;
pub mod name;
pub mod optimizations;
pub mod optimizer;
pub mod quantization;
pub mod query;
pub mod read;
pub mod registry;
pub mod route;
pub mod scrub;
pub mod shard_backup;
pub mod shard_keys;
pub mod sparse;
pub mod startup;
pub mod storage_backup;
pub mod strict;
mod telemetry;
pub mod update;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use quiver_api::collections::CreateCollection;
use quiver_api::point::ScoredPoint;
use quiver_api::shard_call::{ShardAnswer, ShardCall, ShardRead, ShardSearch};
use quiver_api::shard_key::ShardKey;
use quiver_engine::shard::{GraphThreads, Hashes, Shard};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::route::HashRange;
use crate::error::{ApiError, Result};
use crate::node::Node;
use crate::pool::Deadline;
use crate::replica::Fresh;
use crate::stale;

/// How soon a shard is asked again that is being split.
const MOVED_WAIT: Duration = Duration::from_millis(50);
/// How long a call waits for somebody to lead its shard, and how often it looks: a planned hand-over takes less than a second.
const LED_WAIT: Duration = Duration::from_secs(2);
const LED_LOOK: Duration = Duration::from_millis(5);

/// A call to the node that holds a shard.
pub type Remote =
    Arc<dyn Fn(u32, ShardCall, Deadline) -> BoxFuture<'static, Result<ShardAnswer>> + Send + Sync>;

/// Where a shard is served.
#[derive(Clone)]
pub enum Place {
    Local(Arc<Shard>),
    Remote {
        pod: String,
        call: Remote,
    },
    /// Nowhere now, and why.
    Missing(String),
}

/// One shard of a collection.
#[derive(Clone)]
pub struct Route {
    pub shard: u32,
    pub range: HashRange,
    /// If the collection is sharded by keys.
    pub key: Option<ShardKey>,
    pub place: Place,
    /// Of a copy that leads here beside others: while it is, ordinary reads are as young as promised.
    pub fresh: Option<Fresh>,
    /// A copy of it on this node that follows another node's: it is optimized and scrubbed here.
    pub copy: Option<Arc<Shard>>,
}

/// A collection as it is written to `collection.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Definition {
    pub name: String,
    /// Of the collection, not of its name: a new collection with an old name is another one.
    pub uid: uuid::Uuid,
    /// Uid of the collection whose place this one took; should a start find both, that one is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<uuid::Uuid>,
    pub created_unix: u64,
    /// Copies that this node holds, by shard: their ids live beside the data.
    pub copies: std::collections::BTreeMap<u32, uuid::Uuid>,
    /// Shards whose copy came from a snapshot of the shard: its folder is named for the copy too.
    #[serde(default, skip_serializing_if = "std::collections::BTreeSet::is_empty")]
    pub recovered: std::collections::BTreeSet<u32>,
    /// As the client created and changed it, for the shards and to be shown.
    pub settings: CreateCollection,
}

/// A collection.
pub struct Collection {
    pub node: Arc<Node>,
    /// Folder of the collection.
    pub dir: PathBuf,
    pub definition: ArcSwap<Definition>,
    /// All shards, in the order of their ranges; together they cover every hash.
    pub routes: ArcSwap<Vec<Route>>,
    /// Held by whoever changes the definition.
    pub changing: tokio::sync::Mutex<()>,
    /// What the optimizer found at each local shard.
    pub optimized: Mutex<std::collections::BTreeMap<u32, optimizer::Looked>>,
    /// What is left of its rate limits.
    pub rates: Arc<strict::Rates>,
    /// Threads that build graphs for its shards now.
    pub graph_threads: GraphThreads,
}

impl Collection {
    /// Its name.
    pub fn name(&self) -> String {
        self.definition.load().name.clone()
    }

    /// Shards that this node holds, whether they lead here or not.
    pub fn local_shards(&self) -> Vec<(u32, Arc<Shard>)> {
        let local = |r: &Route| match (&r.place, &r.copy) {
            (Place::Local(shard), _) | (_, Some(shard)) => Some((r.shard, shard.clone())),
            _ => None,
        };
        self.routes.load().iter().filter_map(local).collect()
    }

    /// Calls one shard, wherever it is.
    pub async fn call(&self, route: &Route, call: ShardCall, deadline: Deadline) -> Result<ShardAnswer> {
        let answer = match &route.place {
            Place::Local(shard) => {
                let ordinary = matches!(call, ShardCall::Read(_)) && !deadline.is_strong();
                if ordinary && route.fresh.as_ref().is_some_and(|fresh| !fresh.is_now()) {
                    stale::mark();
                }
                call_local(&self.node, shard.clone(), route.range.asked(), call, deadline).await?
            }
            Place::Remote { call: remote, .. } => remote(route.shard, call, deadline).await?,
            Place::Missing(why) => {
                let served = self.served_soon(route, deadline).await?;
                let Some(now) = served else {
                    return Err(ApiError::unavailable(format!(
                        "shard {} of collection `{}` is not served: {why}",
                        route.shard,
                        self.name()
                    )));
                };
                return Box::pin(self.call(&now, call, deadline)).await;
            }
        };
        Ok(match &route.key {
            None => answer,
            Some(key) => shard_keys::stamp(answer, key),
        })
    }

    /// The way to a shard that nobody served a moment ago, once there is one.
    async fn served_soon(&self, route: &Route, deadline: Deadline) -> Result<Option<Route>> {
        let patience = Deadline::after(LED_WAIT.min(deadline.left()));
        while patience.left() > LED_LOOK {
            tokio::time::sleep(LED_LOOK).await;
            let routes = self.routes.load();
            let Some(now) = routes.iter().find(|r| r.range == route.range && r.key == route.key) else {
                let text = format!("the shards of collection `{}` are other ones now", self.name());
                return Err(ApiError { moved: true, ..ApiError::unavailable(text) });
            };
            if !matches!(now.place, Place::Missing(_)) {
                return Ok(Some(now.clone()));
            }
        }
        Ok(None)
    }

    /// The same read on every shard; the first error is everybody's, so that no answer is silently smaller.
    pub async fn read_all(&self, read: &ShardRead, deadline: Deadline) -> Result<Vec<ShardAnswer>> {
        loop {
            let routes = self.routes.load_full();
            let calls = routes.iter().map(|r| self.call(r, ShardCall::Read(read.clone()), deadline));
            match futures::future::try_join_all(calls).await {
                Err(e) if e.moved => self.wait_for_routes(e, deadline).await?,
                answers => return answers,
            }
        }
    }

    /// Waits a moment for other routes, while a shard is split; the error is the answer once there is no time left.
    async fn wait_for_routes(&self, why: ApiError, deadline: Deadline) -> Result<()> {
        if deadline.left() <= MOVED_WAIT {
            return Err(why);
        }
        tokio::time::sleep(MOVED_WAIT).await;
        Ok(())
    }
}

/// Runs a call on a shard of this node that was sent for these hashes, if that was said.
pub async fn call_local(
    node: &Arc<Node>,
    shard: Arc<Shard>,
    asked: Option<Hashes>,
    call: ShardCall,
    deadline: Deadline,
) -> Result<ShardAnswer> {
    let Some(hashes) = asked.filter(|_| matches!(call, ShardCall::Read(_))) else {
        return run_local(node, shard, asked, call, deadline).await;
    };
    // What it owns only ever gets less: if it is the same before and after, it was all the time.
    shard.check_owns(hashes)?;
    let answer = run_local(node, shard.clone(), asked, call, deadline).await?;
    shard.check_owns(hashes)?;
    Ok(answer)
}

async fn run_local(
    node: &Arc<Node>,
    shard: Arc<Shard>,
    asked: Option<Hashes>,
    call: ShardCall,
    deadline: Deadline,
) -> Result<ShardAnswer> {
    match call {
        ShardCall::Read(_) if deadline.is_strong() && shard.is_replicated() => {
            let confirming = shard.clone();
            let confirm = move |_: &_| confirming.confirm_lead();
            node.pools.search.run("Read", deadline, confirm).await??;
            Box::pin(run_local(node, shard, asked, call, deadline.strongly(false))).await
        }
        ShardCall::Read(ShardRead::SearchBatch(all)) => {
            let (answers, unindexed) = search_local(node, shard, all, deadline).await?;
            Ok(ShardAnswer::FoundBatch { answers, unindexed })
        }
        ShardCall::Read(read) => {
            let (name, pool) = (operation_name(&read), &node.pools.search);
            match execute::is_short(&shard, &read) {
                true => pool.inline(name, deadline, |cancel| execute::read(&shard, read, cancel))?,
                false => pool.run(name, deadline, move |cancel| execute::read(&shard, read, cancel)).await?,
            }
        }
        ShardCall::Write(write) => {
            let operation = execute::operation(write)?;
            let (done, applied) = oneshot::channel();
            let must_drain = shard.enqueue_for(
                asked,
                operation,
                Box::new(move |result| {
                    // The waiting side may have given up; the write stands all the same.
                    let _ = done.send(result);
                }),
            );
            if must_drain {
                node.pools.update.spawn(move || shard.drain());
            }
            match tokio::time::timeout(deadline.left(), applied).await {
                Ok(Ok(result)) => Ok(ShardAnswer::Written { seq: result?.seq }),
                Ok(Err(_)) => Err(ApiError::internal("the write was given up; its outcome is unknown")),
                Err(_) => Err(deadline.error("Update").into()),
            }
        }
    }
}

/// Searches of one shard: short ones here and now, longer ones spread over the threads of the pool.
async fn search_local(
    node: &Arc<Node>,
    shard: Arc<Shard>,
    all: Vec<ShardSearch>,
    deadline: Deadline,
) -> Result<(Vec<Vec<ScoredPoint>>, Vec<String>)> {
    let (pool, view) = (&node.pools.search, shard.view());
    let searches = all.into_iter().map(|s| execute::Search::new(s, &view)).collect::<Result<Vec<_>>>()?;
    let cost: u64 = searches.iter().map(|s| s.nanoseconds(&view)).fold(0, u64::saturating_add);
    if cost <= execute::SHORT_NANOSECONDS {
        return pool.inline("Search", deadline, |cancel| execute::search_all(&view, searches, cancel))?;
    }
    // Parts of about the same length, in order.
    let (mut left, mut parts, width) = (searches, Vec::new(), pool.width());
    for i in 0..width {
        let rest = left.split_off(left.len().div_ceil(width - i));
        let part = std::mem::replace(&mut left, rest);
        if !part.is_empty() {
            let view = view.clone();
            let work = move |cancel: &_| execute::search_all(&view, part, cancel);
            parts.push(pool.run("Search", deadline, work));
        }
    }
    let (mut answers, mut unindexed) = (Vec::new(), Vec::new());
    for part in futures::future::try_join_all(parts).await? {
        let (mut found, mut keys) = part?;
        answers.append(&mut found);
        unindexed.append(&mut keys);
    }
    Ok((answers, unindexed))
}

/// The protocol's word for a read, as time-outs name it.
fn operation_name(read: &ShardRead) -> &'static str {
    match read {
        ShardRead::Search(_) | ShardRead::SearchBatch(_) => "Search",
        ShardRead::Retrieve { .. } => "Retrieve",
        ShardRead::Scroll { .. } | ShardRead::Ordered { .. } | ShardRead::Sample { .. } => "Scroll",
        ShardRead::Count { .. } => "Count",
        ShardRead::Facet { .. } => "Facet",
        ShardRead::SparseCounts(_) => "Search",
        ShardRead::Info => "Info",
    }
}

/// An answer of another kind than the call has: a peer of another version, or a defect.
pub(crate) fn unexpected(answer: &ShardAnswer) -> ApiError {
    ApiError::internal(format!("a shard gave an answer of another kind: {}", kind(answer)))
}

fn kind(answer: &ShardAnswer) -> &'static str {
    match answer {
        ShardAnswer::Written { .. } => "written",
        ShardAnswer::Found { .. } => "found",
        ShardAnswer::FoundBatch { .. } => "found_batch",
        ShardAnswer::Records { .. } => "records",
        ShardAnswer::Counted { .. } => "counted",
        ShardAnswer::Facets { .. } => "facets",
        ShardAnswer::SparseCounts(_) => "sparse_counts",
        ShardAnswer::Info(_) => "info",
    }
}
