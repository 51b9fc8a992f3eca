//! What the compiler made of the loops that are compiled for each instruction set.

use crate::{output, report};

/// An instruction that stands in a program as a function of its own is called somewhere: from code that isn't compiled for the
/// set, such as a closure that was not inlined into its loop. The call takes many times as long as the instruction.
#[test]
#[cfg_attr(debug_assertions, ignore = "only optimised programs have their instructions inlined")]
fn no_instruction_of_a_kernel_is_called() -> anyhow::Result<()> {
    let symbols = output("nm", &["--demangle", env!("CARGO_BIN_EXE_engine-bench")])?;
    anyhow::ensure!(symbols.contains("quiver_engine::hnsw::"), "the program has no symbols");
    let called = symbols.lines().filter(|line| line.contains("core_arch"));
    // The standard library asks once which sets there are.
    report(called.filter(|line| !line.contains("_xgetbv")).map(str::to_owned).collect())
}
