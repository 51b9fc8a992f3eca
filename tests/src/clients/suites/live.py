"""A pytest plugin for the suites of client packages: every client that their tests make talks to the node of $QUIVER_URL.

A client in memory, one with a folder and one with an address all become clients of that node. After each test all collections
are deleted, as a client in memory would have been a new one. Tests in the table of $QUIVER_SUITE (deselected.py) are left out.
What came of the others goes as JSON to $QUIVER_REPORT: `live` passed and sent the node at least one request, `alone` passed
without any.
"""
import json
import os
import urllib.request
from fnmatch import fnmatchcase
from pathlib import Path

import httpx
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient

from suites.deselected import DESELECTED

URL, TABLE = os.environ["QUIVER_URL"], DESELECTED[os.environ["QUIVER_SUITE"]]
# Where a client goes, and how: replaced. Without `verify` each client would read all certificates of the machine.
REPLACED = ("location", "url", "host", "port", "grpc_port", "prefer_grpc", "https", "prefix", "path", "timeout", "verify")
GRADES = ["passed", "skipped", "failed"]
report: dict[str, list[str]] = {"live": [], "alone": [], "failed": [], "skipped": [], "deselected": []}
grades: dict[str, str] = {}
used: set[str] = set()
sent = 0


def redirect(kind: type) -> None:
    """Makes the constructor of a client forget where it was told to go."""
    made = kind.__init__

    def init(self, location=None, url=None, **options):
        made(self, url=URL, timeout=60, verify=False, **{k: v for k, v in options.items() if k not in REPLACED})

    kind.__init__ = init


def counted(send):
    def counting(self, request, **options):
        global sent
        sent += str(request.url).startswith(URL)
        return send(self, request, **options)

    return counting


def pytest_configure():
    redirect(QdrantClient)
    redirect(AsyncQdrantClient)
    httpx.Client.send, httpx.AsyncClient.send = counted(httpx.Client.send), counted(httpx.AsyncClient.send)


def left_out(name: str) -> bool:
    """Whether the table names it; in a pattern only * is special."""
    matching = [pattern for pattern in TABLE if fnmatchcase(name, pattern.replace("[", "[[]"))]
    used.update(matching)
    if matching:
        report["deselected"].append(name)
    return bool(matching)


def pytest_ignore_collect(collection_path, config):
    return left_out(str(collection_path.relative_to(config.rootpath))) or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    gone = [item for item in items if left_out(item.nodeid)]
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=gone)


def pytest_collectreport(report: pytest.CollectReport):
    """A file that skips itself as a whole, or that can't be read."""
    note_grade(report)


def pytest_runtest_logreport(report: pytest.TestReport):
    note_grade(report)


def note_grade(part) -> None:
    """The worst of what a test's parts came to."""
    grade = "failed" if part.failed else "skipped" if part.skipped else "passed"
    grades[part.nodeid] = max(grade, grades.get(part.nodeid, "passed"), key=GRADES.index)


def ask(method: str, path: str) -> dict:
    with urllib.request.urlopen(urllib.request.Request(URL + path, method=method), timeout=60) as answer:
        return json.load(answer)["result"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    before = sent
    answer = yield
    grade = grades.pop(item.nodeid)
    report[grade if grade != "passed" else "live" if sent > before else "alone"].append(item.nodeid)
    for collection in ask("GET", "/collections")["collections"]:
        ask("DELETE", f"/collections/{collection['name']}")
    return answer


def pytest_sessionfinish():
    for name, grade in grades.items():  # of files: a test's is taken out when it is done
        if grade != "passed":
            report[grade].append(name)
    unused = [pattern for pattern in TABLE if pattern not in used]
    Path(os.environ["QUIVER_REPORT"]).write_text(json.dumps({**report, "unused": unused}))
