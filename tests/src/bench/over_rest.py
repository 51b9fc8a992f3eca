"""What the suites over REST share: our node in a process of its own, a peer's server if one was named, and `load-bench`, which sends and measures."""
import json
import os
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from http.client import HTTPException

from harness import cache
from harness.node import Node, wait_until
from harness.programs import binary

from . import data, process

M, EF_CONSTRUCT = 16, 100
# What a filter is about in the real set; indexed before the points come.
INDEXES = (("bucket", "integer"), ("lex", "keyword"), ("pos", "keyword"))
# Passed by 80 points of 116,659.
FEW = {"must": [{"key": "lex", "match": {"value": "verb.weather"}}]}
QUANTIZED = {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": True}}
# A peer that is not asked to may leave the codes' order as it is, and never reach the recall that is compared.
RESCORED = {"rescore": True}
ROUNDS = 3


class Server:
    """Something that speaks the protocol: our node, or the peer behind `--server`. What it can't do raises what its `load` raises."""

    def __init__(self, name: str, url: str, load: process.Process, node: Node | None = None):
        self.name, self.url, self.load, self.node = name, url.rstrip("/"), load, node

    @property
    def pid(self) -> int | None:
        return self.node.process.pid if self.node else None

    def running(self) -> None:
        """What ended our node costs the case in which it did; the next one finds it there."""
        if self.node and (code := self.node.process.poll()) is not None:
            cache.say(f"the node had ended with {code}, and is started anew")
            self.node.start()

    def call(self, method: str, path: str, body=None, seconds: float = 600):
        self.running()
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return json.load(answer)["result"]
        except (OSError, HTTPException, ValueError) as error:
            raise self.load.failure(f"{method} {path}: {error}") from error

    def ask(self, do: str, **command) -> dict:
        self.running()
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
        except self.load.failure:
            pass

    def fill(self, collection: str, points: data.Set, **more) -> dict:
        """Upserts a set in batches of 100."""
        payload = {"payload": str(points.payload)} if points.payload else {}
        command = {"collection": collection, "vectors": str(points.vectors), "rows": [0, points.rows], "batch": 100, "connections": 4}
        return self.ask("upsert", **{**command, **payload, **more})

    def wait_green(self, collection: str, seconds: float = 3600) -> None:
        try:
            wait_until(lambda: self.call("GET", f"/collections/{collection}")["status"] == "green", seconds, f"{collection} is green", 0.2)
        except TimeoutError as error:
            raise self.load.failure(str(error)) from error

    def query(self, collection: str, points: data.Set, ef: int, **more) -> dict:
        """Asks all queries of a set again and again; the answer has the ids that each found at first."""
        params = {"hnsw_ef": ef, "quantization": RESCORED}
        command = {"collection": collection, "queries": str(points.queries), "k": data.K, "more": {"params": params}, "count": 10**9}
        return self.ask("query", **{**command, **more})


def load(options, name: str = "load", failure: type[Exception] = process.Failed) -> process.Process:
    binary("load-bench", "QUIVER_LOAD_BENCH")
    return process.Process(name, [os.environ["QUIVER_LOAD_BENCH"]], options.scratch, failure)


def start(options, name: str = "node", ready: bool = True) -> Node:
    return Node(options.scratch / name, {"QUIVER__LOG_LEVEL": "WARN"}).start(ready)


def ours(node: Node, sender: process.Process) -> Server:
    return Server("quiver", node.url, sender, node)


@contextmanager
def both(options):
    """Our node, just started, and after it the peer if one was named. Each has a sender of its own: if one hangs, the other goes on."""
    with ExitStack() as stack:
        sender = stack.enter_context(load(options))
        node = start(options)
        stack.callback(node.kill)
        servers = [ours(node, sender)]
        if options.server:
            servers.append(Server("server", options.server, stack.enter_context(load(options, "load-peer", process.PeerFailed))))
        yield servers


def in_turns(options, servers: list[Server], measure) -> list[dict]:
    """What `measure` finds for each of them, the best of some rounds. Of a peer that fails only `failed` is known."""
    found: list[list[dict]] = [[] for _ in servers]
    failed = ""
    for _ in range(1 if options.quick else ROUNDS):
        for server, mine in zip(servers, found):
            try:
                mine.append(measure(server))
            except process.PeerFailed as failure:
                failed = str(failure)
    return [best(mine) if mine else {"failed": failed} for mine in found]


def best(rounds: list[dict]) -> dict:
    """The round with the most requests a second, with the least CPU that one took."""
    fastest = max(rounds, key=lambda figures: figures["rps"])
    return {**fastest, "cpu_us": min((figures["cpu_us"] for figures in rounds if figures["cpu_us"] is not None), default=None)}


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
