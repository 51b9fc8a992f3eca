"""The engine's kernels, each on every instruction set of this processor, by the engine's own benchmark.

The best set is compared with plain Rust. Case by case it says what a set brings, and where the compiler's own vectors do as well.
"""
import json
import os
import subprocess
from pathlib import Path

from harness.cache import ROOT

COMMAND = ("cargo", "bench", "--locked", "-p", "quiver-engine", "--features", "bench", "--bench", "kernels")
PORTABLE = "portable"


def run(options, report) -> None:
    # A folder of its own: what earlier runs left must not count.
    folder = options.scratch / "criterion"
    quick = ["--quick"] if options.quick else []
    subprocess.run([*COMMAND, "--", "--noplot", *quick], cwd=ROOT, check=True, env={**os.environ, "CRITERION_HOME": str(folder)})
    for case, sets in sorted(measured(folder).items(), key=lambda item: natural(item[0])):
        best = min(sets, key=sets.get)
        rest = (f"{name} {ns:.4g} ns" for name, ns in sorted(sets.items()) if name not in (best, PORTABLE))
        report.line(case, sets[best], sets[PORTABLE], peer=PORTABLE, unit="ns", less=True, note="; ".join([f"best: {best}", *rest]))


def measured(folder: Path) -> dict[str, dict[str, float]]:
    """Case -> instruction set -> nanoseconds of one turn."""
    cases: dict[str, dict[str, float]] = {}
    for file in folder.glob("**/new/estimates.json"):
        names = json.loads(file.with_name("benchmark.json").read_text())
        cases.setdefault(names["group_id"], {})[names["function_id"]] = json.loads(file.read_text())["median"]["point_estimate"]
    if not cases:
        raise RuntimeError(f"the benchmark left no estimates in {folder}")
    return cases


def natural(case: str) -> list[tuple[bool, int, str]]:
    """For an order in which 384 comes before 1536."""
    return [(word.isdigit(), int(word) if word.isdigit() else 0, word) for word in case.replace(",", "").split()]
