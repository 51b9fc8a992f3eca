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

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = serde_json::from_str::<Value>(&line)
            .context("a command is one JSON object")
            .and_then(|command| commands::run(&command))
            .unwrap_or_else(|e| json!({"error": format!("{e:#}")}));
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
