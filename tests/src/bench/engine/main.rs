//! The engine in one process, told by lines of JSON what to do; `tests/bench` asks and compares.
//!
//! Every line of stdin is one command (`{"do": "build", …}`), every line of stdout its answer; an error is
//! `{"error": …}`. Times are those of this process: a search runs on the thread that reads the commands.

// A benchmark looks at clocks.
#![allow(clippy::disallowed_methods)]

mod commands;
mod measure;
mod npy;

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let mut shards = commands::Shards::new()?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = serde_json::from_str::<Value>(&line)
            .context("a command is one JSON object")
            .and_then(|command| shards.run(&command))
            .unwrap_or_else(|e| json!({"error": format!("{e:#}")}));
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
