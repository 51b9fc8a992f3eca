//! The storage engine of Quiver: bytes and CPU.
//!
//! A synchronous library. It has no async, no HTTP, no Kubernetes, no clock and no source of
//! randomness of its own: time limits reach it as a [`Cancel`] flag, ids and seeds as arguments.
//! All files go through [`file::Disk`].
//!
//! Reading order: [`shard`] (one log, one set of segments) → [`segment`] → [`hnsw`], [`filter`].

pub mod bitset;
pub mod cancel;
pub mod config;
pub mod distance;
pub mod error;
pub mod file;
pub mod filter;
pub mod hnsw;
pub mod json_path;
pub mod operation;
pub mod operation_codec;
pub mod payload;
pub mod payload_edit;
pub mod payload_index;
pub mod point_id;
pub mod quantization;
pub mod query;
pub mod segment;
pub mod shard;
pub mod text;
pub mod vector;
pub mod wal;

pub use cancel::Cancel;
pub use error::{Error, Result};
pub use payload::RawPayload;
pub use point_id::PointId;
pub use vector::{MultiVector, NamedVectors, SparseVector, Vector};
