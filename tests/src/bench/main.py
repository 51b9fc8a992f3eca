"""Runs the suites that were asked for and keeps what they report. Runs in the environment `bench`."""
import importlib
import importlib.util
import shutil
import sys
import tempfile
import time
from pathlib import Path

from . import plots
from .options import parse
from .report import Report


def main(words: list[str]) -> int:
    options = parse(words, __doc__)
    report = Report(options.json)
    for suite in options.suites:
        print(f"== {suite}", flush=True)
        report.suite, start = suite, time.monotonic()
        if not importlib.util.find_spec(f"bench.suites.{suite}"):
            report.line(suite, note="this suite is not there")
            continue
        options.scratch = Path(tempfile.mkdtemp(prefix=f"quiver-bench-{suite}-"))
        try:
            with report.case(suite):
                importlib.import_module(f"bench.suites.{suite}").run(options, report)
        finally:
            shutil.rmtree(options.scratch, ignore_errors=True)
        print(f"-- {suite} took {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    report.print_table()
    if options.plots:
        plots.draw(report.curves, options.plots)
    if report.failed:
        print(f"failed: {', '.join(report.failed)}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
