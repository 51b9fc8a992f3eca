//! Wire types of the REST protocol and of the traffic between operator and nodes: serde and validation, no logic.

#![forbid(unsafe_code)]

pub mod aliases;
pub mod cluster_operations;
pub mod collections;
pub mod document;
pub mod facet;
pub mod fast;
pub mod filter;
pub mod geo;
pub mod internal;
pub mod point;
pub mod points;
pub mod print;
pub mod quantization;
pub mod query;
pub mod quotas;
mod schema;
pub mod shard_call;
pub mod shard_key;
pub mod sparse;
pub mod strict_mode;
pub mod text_index;
pub mod validate;
mod vector_checks;
