//! The storage node as a library: what `main` starts, and what tests start in one process.

#![forbid(unsafe_code)]

pub mod auth;
pub mod clock;
pub mod config;
pub mod limits;
pub mod pool;
