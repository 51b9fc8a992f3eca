"""From the start of the process to the first answer, with the real set, with a million points, with a thousand empty collections; and how long a snapshot takes."""
import time
from pathlib import Path

from harness.node import wait_until

from .. import data, over_rest

START_MAX = {"wn": 0.1, "g128": 1.0}
SNAPSHOT_MAX = 0.1
COLLECTIONS, MANY_RSS_MAX, MANY_START_MAX = 1000, 300 << 20, 5.0


def run(options, report) -> None:
    with over_rest.load(options) as sender:
        for name in (name for name in options.sets if name in START_MAX):
            with report.case(name):
                one_set(name, data.load(name, options), sender, options, report)
        with report.case("empty collections"):
            many(sender, options, report)


def one_set(name: str, points: data.Set, sender, options, report) -> None:
    node = over_rest.start(options, name)
    try:
        server = over_rest.ours(node, sender)
        server.create(name, points, over_rest.INDEXES if points.payload else (), optimizers_config={"default_segment_number": 1})
        server.fill(name, points)
        server.wait_green(name)
        if name == "wn":
            begun = time.perf_counter()
            server.call("POST", f"/collections/{name}/snapshots")
            taken = time.perf_counter() - begun
            report.limit(f"{name} snapshot", taken, SNAPSHOT_MAX, unit="s", less=True)
        query = {"query": points.asked[0].tolist(), "limit": 10, "params": {"hnsw_ef": 128}}
        best = None
        for how in ("stopped", "killed") * (1 if options.quick else 3):
            node.stop() if how == "stopped" else node.kill()
            taken = first_answer(node, lambda: node.request("POST", f"/collections/{name}/points/query", query)[0] == 200)
            best = taken if how == "stopped" and best is None else min(best, taken)
        report.limit(f"{name} start to first answer", best, START_MAX[name] if points.full else 60, unit="s", less=True, note=f"{points.rows} points with a graph")
    finally:
        node.kill()


def first_answer(node, answered) -> float:
    begun = time.perf_counter()
    node.start(ready=False)
    over_rest.seconds_until(answered, 600)
    return time.perf_counter() - begun


def many(sender, options, report) -> None:
    count = 100 if options.quick else COLLECTIONS
    node = over_rest.start(options, "many")
    try:
        server = over_rest.ours(node, sender)
        for i in range(count):
            server.call("PUT", f"/collections/c{i}", {"vectors": {"size": 384, "distance": "Cosine"}})
        node.stop()
        taken = first_answer(node, lambda: node.request("GET", "/readyz", decode=False)[0] == 200)
        rss = memory(node.process.pid)
        idle = over_rest.ours(node, sender)
        before, begun = cpu_seconds(idle.pid), time.perf_counter()
        wait_until(lambda: time.perf_counter() - begun >= 5, 10, "five seconds at rest", 0.5)
        note = f"{(cpu_seconds(idle.pid) - before) / 5 * 1000:.1f} ms of CPU a second at rest"
        report.limit(f"{count} empty collections start", taken, MANY_START_MAX, unit="s", less=True)
        report.limit(f"{count} empty collections RSS", rss / 2**20, MANY_RSS_MAX / 2**20, unit="MiB", less=True, note=note)
    finally:
        node.kill()


def memory(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def cpu_seconds(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
