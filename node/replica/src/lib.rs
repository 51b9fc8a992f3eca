//! The replication protocol of one shard as a pure state machine: events go in, actions come out.
//!
//! There is no IO, clock, thread or Kubernetes in it. Time comes in as a number, what has to be done goes out as a value,
//! so that a node, a simulation and a model checker run the same code. docs/replication.md tells the protocol.

mod copy;
#[cfg(test)]
mod copy_tests;
#[cfg(any(test, feature = "mutants"))]
mod explore;
mod follower;
mod handover;
mod heard;
pub mod lease;
pub mod log;
pub mod message;
pub mod plan;
mod primary;
pub mod record;
mod rules;

pub use copy::{Action, Copy, Denied, Event, Refused, Role, Settings, Stored, Unfit};
pub use follower::Follower;
pub use handover::HandOver;
pub use heard::Heard;
pub use primary::{Peer, Pending, Primary};
pub use rules::{Rule, Rules};

/// Number of an operation in a shard's log: 1 for the first, without gaps; 0 is the place before it.
pub type Seq = u64;
/// Number of a reign: one process of one copy leads in a term. From 1; 0 is no term.
pub type Term = u64;
/// Milliseconds of a clock that only runs forward and never stops; only differences count.
pub type Time = u64;
