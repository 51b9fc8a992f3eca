//! The multivectors of one name: several rows for each point, one behind the other.
//!
//! [`MultiColumn`] holds those of a chunk in memory. [`SegmentMulti`] is those of a sealed segment: the rows of all points
//! as raw vectors, `.multi`, which says where those of each point begin, and above the indexing threshold a graph of the
//! points by MaxSim. Without one all points that pass are compared (`shard/multi.rs`).

mod column;
mod sealed;
mod search;
#[cfg(test)]
mod tests;

pub use column::MultiColumn;
pub use sealed::{MultiWriter, SegmentMulti};
pub use search::Asked;
