//! One module for each target. Each has `run`, which takes any bytes and panics if a promise is broken.

pub mod archives;
pub mod bodies;
pub mod filters;
pub mod log;
pub mod tokens;
pub mod wire;
