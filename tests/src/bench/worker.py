"""The process of one peer: reads requests as `engine-bench` does, a JSON object a line, and answers with figures of the process."""
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from . import peers


def rows(request: dict) -> tuple[np.ndarray, int]:
    """The asked rows of the request's vectors in f32, and the number of the first."""
    vectors = np.load(request["vectors"], mmap_mode="r")
    first, end = request.get("rows") or (0, len(vectors))
    return np.ascontiguousarray(vectors[first:end], np.float32), first


def payloads(request: dict, first: int, count: int) -> list[dict] | None:
    if not request.get("payload"):
        return None
    with open(request["payload"]) as file:
        return [json.loads(line) for i, line in enumerate(file) if first <= i < first + count]


def memory() -> dict:
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    size = lambda field: int(fields[field].split()[0]) * 1024
    return {"anon_bytes": size("RssAnon"), "file_bytes": size("RssFile"), "rss_bytes": size("VmRSS")}


class Clock:
    """Adds up the time of what is measured; what only prepares a call stays out."""

    def __init__(self):
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self):
        self.start = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.wall_s += time.perf_counter() - self.start[0]
        self.cpu_s += time.process_time() - self.start[1]


class Worker:
    def __init__(self, name: str):
        self.peer, self.built = peers.PEERS[name](), {}
        self.peer.load()

    def build(self, request: dict) -> dict:
        self.built = request
        vectors, first = rows(request)
        clock = Clock()
        self.peer.build(vectors, payloads(request, first, len(vectors)), request, clock)
        return {"wall_s": clock.wall_s, "cpu_s": clock.cpu_s}

    def append(self, request: dict) -> dict:
        vectors, first = rows({**self.built, **request})
        clock = Clock()
        self.peer.append(vectors, first, payloads(self.built, first, len(vectors)), clock)
        return {"wall_s": clock.wall_s, "cpu_s": clock.cpu_s}

    def open(self, request: dict) -> dict:
        clock = Clock()
        with clock:
            self.peer.open(request["folder"])
        return {"wall_s": clock.wall_s}

    def close(self, _: dict) -> dict:
        self.peer.close()
        return {}

    def memory(self, _: dict) -> dict:
        return memory()

    def search(self, request: dict) -> dict:
        queries = np.load(request["queries"])[: request.get("count")].astype(np.float32)
        call = self.peer.prepare(queries, request["k"], request["ef"], request.get("filters"), request.get("filter_of"))
        best = None
        for _ in range(request.get("passes", 1)):
            clock = Clock()
            with clock:
                found = call()
            if best is None or clock.cpu_s < best.cpu_s:
                best = clock
        return {"cpu_s": best.cpu_s, "wall_s": best.wall_s, "ids": self.peer.ids(found)}


def main(name: str) -> None:
    # What a library prints goes to the log; the answers keep the pipe for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or Worker(name)
            answer = getattr(worker, request["do"])(request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
