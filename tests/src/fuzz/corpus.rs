//! Every input that fuzzing is begun with, and every one that once broke a promise, keeps it: `node/fuzz/corpus`, without a nightly compiler.

// Not the engine: files are read as any program reads them.
#![allow(clippy::disallowed_methods)]

#[path = "../../../node/fuzz/src/targets/mod.rs"]
mod targets;

use std::fs;
use std::path::Path;

/// Runs the inputs of one target, in the order of their names.
fn check(target: &str, run: fn(&[u8])) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/fuzz/corpus").join(target);
    let mut inputs = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    inputs.sort_by_key(|entry| entry.file_name());
    assert!(inputs.len() >= 10, "{}: {} inputs", folder.display(), inputs.len());
    for input in inputs {
        println!("{}", input.path().display());
        run(&fs::read(input.path())?);
    }
    Ok(())
}

#[test]
fn bodies_are_read_or_refused() -> anyhow::Result<()> {
    check("bodies", targets::bodies::run)
}

#[test]
fn filters_give_what_their_definition_gives() -> anyhow::Result<()> {
    check("filters", targets::filters::run)
}

#[test]
fn records_of_the_log_are_read_or_refused() -> anyhow::Result<()> {
    check("log", targets::log::run)
}

#[test]
fn filters_as_clients_write_them_are_read_and_give_what_their_definition_gives() -> anyhow::Result<()> {
    check("wire", targets::wire::run)
}

#[test]
fn archives_are_unpacked_as_they_say_or_refused() -> anyhow::Result<()> {
    check("archives", targets::archives::run)
}

#[test]
fn tokens_allow_what_they_say_or_nothing() -> anyhow::Result<()> {
    check("tokens", targets::tokens::run)
}
