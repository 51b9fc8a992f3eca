//! A node as one of the pods of a VectorCollection.
//!
//! Who holds and leads a shard is written in records that this node reads and, for one change only, writes: it
//! takes the lead of its own copies when it starts. Everything else is the operator's decision.
//!
//! Reading order: [`record`] (what is known) → [`lead`] (what this node makes of it) → [`peer`] (how it reaches the
//! others) → [`internal`] (how others and the operator reach it).

pub mod allowed;
pub mod copy;
pub mod internal;
pub mod kube_records;
pub mod lead;
pub mod local_records;
pub mod managed;
pub mod peer;
pub mod record;
pub mod schema;
pub mod tls;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use quiver_api::internal::HashRange;
use quiver_engine::shard::Shard;

/// Where a shard can be reached now.
#[derive(Clone)]
pub enum Place {
    /// On this node, leading.
    Local(Arc<Shard>),
    /// On another node.
    Remote {
        pod: String,
        /// `host:port` of its internal port.
        address: String,
    },
    /// Nowhere; a sentence that says why.
    Missing(String),
}

/// A shard, the hashes that it owns, and where it is.
#[derive(Clone)]
pub struct ShardPlace {
    pub shard: u32,
    pub range: HashRange,
    pub place: Place,
}
