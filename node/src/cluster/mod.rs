//! A node as one of the pods of a VectorCollection.
//!
//! Who holds and leads a shard is written in records that this node reads, and changes as the replication protocol
//! says (`crate::replica`). Where copies are placed, and who leads when a node is gone, is the operator's decision.
//!
//! Reading order: [`record`] (what is known) → [`lead`] (what this node makes of it) → `attend` (what is done for each
//! copy) → `transport` and `mail` (how copies reach each other) → [`peer`] (how requests reach other nodes) →
//! [`internal`] (how others and the operator reach this one).

pub mod allowed;
mod apply;
mod attend;
pub mod copy;
mod files;
mod heartbeat;
pub mod internal;
pub mod kube_records;
pub mod lead;
mod leave;
pub mod local_records;
mod mail;
pub mod managed;
pub mod peer;
pub mod record;
pub mod schema;
mod split;
mod status;
pub mod tls;
mod transport;

#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use quiver_api::internal::HashRange;
use quiver_engine::shard::Shard;

use crate::replica::Fresh;

/// Where a shard can be reached now.
#[derive(Clone)]
pub enum Place {
    /// On this node, leading; ordinary reads are as young as promised while it is fresh.
    Local(Arc<Shard>, Fresh),
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
    /// The copy that this node has of it, whether it leads or follows.
    pub copy: Option<Arc<Shard>>,
}
