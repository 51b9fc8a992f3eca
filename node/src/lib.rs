//! The storage node as a library: what `main` starts, and what tests start in one process.

#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
