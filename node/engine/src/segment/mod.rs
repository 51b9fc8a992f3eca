//! Segments: mutable ones in memory, sealed ones mapped from files.

pub mod deleted;
pub mod vectors;

pub use deleted::Deleted;
