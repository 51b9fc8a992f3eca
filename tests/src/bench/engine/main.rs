//! The engine in one process, told by lines of JSON what to do; `tests/bench` asks and compares.
//!
//! Every line of stdin is one command (`{"do": "build", …}`), every line of stdout its answer; an error is
//! `{"error": …}`. Times are those of this process: a search runs on the thread that reads the commands.

// A benchmark looks at clocks.
#![allow(clippy::disallowed_methods)]

mod commands;
mod measure;
mod npy;

use anyhow::Result;
use system_tests::harness::answer_commands;

fn main() -> Result<()> {
    let mut shards = commands::Shards::new()?;
    answer_commands(|command| shards.run(command))
}
