//! Segments: the mutable part in memory, sealed segments mapped from files.

pub mod builder;
mod columns;
pub mod deleted;
mod filter_cache;
mod ids;
pub mod multi;
pub mod mutable;
mod passing;
pub mod sealed;
pub mod sparse;
mod tenants;
pub mod vectors;

pub use deleted::Deleted;
pub use passing::Passing;
