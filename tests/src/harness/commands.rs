//! A program that is told by lines of JSON what to do.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Answers each line of stdin, which is one command, by a line on stdout; an error is `{"error": …}`.
pub fn answer_commands(mut run: impl FnMut(&Value) -> Result<Value>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = serde_json::from_str::<Value>(&line)
            .context("a command is one JSON object")
            .and_then(|command| run(&command))
            .unwrap_or_else(|e| json!({"error": format!("{e:#}")}));
        serde_json::to_writer(&mut out, &answer)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
