//! Segments: mutable ones in memory, sealed ones mapped from files.

pub mod deleted;

pub use deleted::Deleted;
