"""What the suites over REST share: our node in a process of its own, a peer's server if one was named, and `load-bench`, which sends and measures."""
import json
import os
import time
import urllib.error
import urllib.request

from harness.node import Node, wait_until
from harness.programs import binary

from . import data, process

M, EF_CONSTRUCT = 16, 100
# What a filter is about in the real set; indexed before the points come.
INDEXES = (("bucket", "integer"), ("lex", "keyword"), ("pos", "keyword"))
# Passed by 80 points of 116,659.
FEW = {"must": [{"key": "lex", "match": {"value": "verb.weather"}}]}
QUANTIZED = {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}


class Server:
    """Something that speaks the protocol: our node, or the peer behind `--server`."""

    def __init__(self, name: str, url: str, load: process.Process, pid: int | None = None):
        self.name, self.url, self.load, self.pid = name, url.rstrip("/"), load, pid

    def call(self, method: str, path: str, body=None, seconds: float = 600):
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return json.load(answer)["result"]

    def ask(self, do: str, **command) -> dict:
        return self.load.ask(do, server=self.url, pid=self.pid, **command)

    def create(self, collection: str, points: data.Set, indexes=(), **more) -> None:
        self.remove(collection)
        vectors = {"size": int(points.base.shape[1]), "distance": points.distance}
        config = {"vectors": vectors, "hnsw_config": {"m": M, "ef_construct": EF_CONSTRUCT}, "quantization_config": QUANTIZED}
        self.call("PUT", f"/collections/{collection}", {**config, **more})
        for field, schema in indexes:
            self.call("PUT", f"/collections/{collection}/index?wait=true", {"field_name": field, "field_schema": schema})

    def remove(self, collection: str) -> None:
        try:
            self.call("DELETE", f"/collections/{collection}")
        except urllib.error.HTTPError:
            pass

    def fill(self, collection: str, points: data.Set, **more) -> dict:
        """Upserts a set in batches of 100."""
        payload = {"payload": str(points.payload)} if points.payload else {}
        command = {"collection": collection, "vectors": str(points.vectors), "rows": [0, points.rows], "batch": 100, "connections": 4}
        return self.ask("upsert", **{**command, **payload, **more})

    def wait_green(self, collection: str, seconds: float = 3600) -> None:
        wait_until(lambda: self.call("GET", f"/collections/{collection}")["status"] == "green", seconds, f"{collection} is green", 0.2)

    def query(self, collection: str, points: data.Set, **more) -> dict:
        """Asks all queries of a set again and again; the answer has the recall of the first round."""
        command = {"collection": collection, "queries": str(points.queries), "k": data.K, "ef": 128, "count": 10**9, "seconds": 5}
        return self.ask("query", **{**command, **more})


def load(options) -> process.Process:
    binary("load-bench", "QUIVER_LOAD_BENCH")
    return process.Process("load", [os.environ["QUIVER_LOAD_BENCH"]], options.scratch, process.Failed)


def start(options, name: str = "node", ready: bool = True) -> Node:
    return Node(options.scratch / name, {"QUIVER__LOG_LEVEL": "WARN"}).start(ready)


def ours(node: Node, sender: process.Process) -> Server:
    return Server("quiver", node.url, sender, node.process.pid)


def theirs(options, sender: process.Process) -> Server | None:
    return Server("server", options.server, sender) if options.server else None


def seconds_until(condition, seconds: float = 120) -> float:
    """How long it takes until a condition is true that may fail before."""
    def holds():
        try:
            return condition()
        except OSError:
            return False

    begun = time.perf_counter()
    wait_until(holds, seconds, "the answer that is timed", 0.002)
    return time.perf_counter() - begun
