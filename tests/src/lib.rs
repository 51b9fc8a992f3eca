//! What the Rust system tests share. The tiers themselves are started by `tests/run`; those whose natural tool is
//! Python stand beside this file.

#![forbid(unsafe_code)]
// Tests look at clocks and files from outside; the rule is for the product's own code.
#![allow(clippy::disallowed_methods)]

pub mod harness;
