//! A shard: one log, one set of segments.

pub mod manifest;
