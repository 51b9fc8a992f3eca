//! Load over REST, told by lines of JSON what to send; `tests/bench` asks and compares.
//!
//! Every line of stdin is one command (`{"do": "query", …}`), every line of stdout its answer; an error is
//! `{"error": …}`. Works against any server of the protocol. Requests are made before the clock starts, so that what is
//! measured is the server, and each connection is a thread that waits for one answer before it sends the next request.

// A benchmark looks at clocks.
#![allow(clippy::disallowed_methods)]

mod body;
mod commands;
mod http;
#[path = "../engine/npy.rs"]
mod npy;
mod run;

use anyhow::Result;
use system_tests::harness::answer_commands;

fn main() -> Result<()> {
    answer_commands(commands::run)
}
