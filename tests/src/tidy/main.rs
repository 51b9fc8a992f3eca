//! The rules of the house that no compiler checks: who may depend on whom, how long a file and a function may be, what
//! may not be written. Each finding names the file and the line.

#![allow(clippy::disallowed_methods)]

mod dependencies;
mod generated;
mod kernels;
mod lines;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a command prints, which must succeed.
fn output(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let done = Command::new(program).args(args).current_dir(root()).output()?;
    ensure!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

/// Every text file that git knows or would add: path from the root, content.
fn files() -> anyhow::Result<Vec<(String, String)>> {
    let list = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"])?;
    let mut found = Vec::new();
    for path in list.lines() {
        let full = root().join(path);
        // A file may be listed and deleted, or be a link; bytes that are no text have no lines to check.
        if !full.is_file() {
            continue;
        }
        if let Ok(text) = String::from_utf8(std::fs::read(&full).with_context(|| path.to_owned())?) {
            found.push((path.to_owned(), text));
        }
    }
    ensure!(found.len() > 20, "git lists only {} files", found.len());
    Ok(found)
}

/// Fails with all findings at once.
fn report(findings: Vec<String>) -> anyhow::Result<()> {
    ensure!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    Ok(())
}
