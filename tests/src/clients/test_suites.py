"""The suites that client packages ship in their source archives for a server, or for a client in memory, run against a node."""
import json
import os
import subprocess
from pathlib import Path

import pytest

SUITES = Path(__file__).parent
# The oldest client that langchain-qdrant takes is the only one that still has what its class Qdrant calls.
RUNS = [("langchain-oldest", "langchain_qdrant-1.1.0", 560), ("langchain-newest", "langchain_qdrant-1.1.0", 305), ("haystack-newest", "qdrant_haystack-13.1.0", 190)]


@pytest.mark.parametrize("suite, archive, least", RUNS)
def test_suite_passes(node, tmp_path, suite, archive, least):
    """`least`: so many of its tests pass and have sent the node a request."""
    client, report = suite.split("-")[1], tmp_path / "report.json"
    variables = {"QUIVER_URL": node.url, "QDRANT_URL": node.url, "QUIVER_SUITE": suite, "QUIVER_REPORT": str(report), "PYTHONPATH": str(SUITES)}
    options = ["-q", "-p", "suites.live", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short", "--benchmark-disable", "-o", "addopts=", "-o", "log_cli=false", "-o", "asyncio_mode=auto"]
    done = subprocess.run([os.environ[f"QUIVER_SUITE_{client.upper()}"], "-m", "pytest", *options, "tests"], cwd=Path(os.environ["QUIVER_SUITE_SOURCES"]) / archive,
                          env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert report.exists(), done.stdout[-5000:]
    said = json.loads(report.read_text())
    assert not said["failed"], done.stdout[-20000:]
    assert not said["skipped"] and not said["unused"], f"not in the table, or in vain: {said['skipped']} {said['unused']}"
    assert len(said["live"]) >= least, {name: len(tests) for name, tests in said.items()}
    assert done.returncode == 0, done.stdout[-5000:]
