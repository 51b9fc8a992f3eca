"""What copies cost a writer: the same upserts with one copy of the shard, two, and three, each on a node of its own.

All nodes share this machine's processors and its disk, and reach each other over loopback: every copy does its work again where
the first one does its own, and no network adds its delay. Machines of their own give the processors back and add the network.
"""
import os
import shutil
from pathlib import Path

from .. import data, over_rest
from ..node_set import COLLECTION, NodeSet

FACTORS = (1, 2, 3)
# Points of a batch -> how many write at a time.
WRITERS = {100: (1, 4), 1: (1, 16)}
ROWS = {100: 60_000, 1: 15_000}
SECONDS, ROUNDS = 3, 3
SECONDS_QUICK, ROUNDS_QUICK = 2, 1


def run(options, report) -> None:
    print(f"all nodes share {os.cpu_count()} processors and one disk, over loopback: copies cost more of them than on machines of their own, and no delay of a network", flush=True)
    points = data.load("wn", options)
    best: dict[tuple, dict] = {}
    with over_rest.load(options) as sender:
        for round_ in range(ROUNDS_QUICK if options.quick else ROUNDS):
            for factor in FACTORS:
                with report.case(f"factor {factor}, round {round_ + 1}"):
                    for case, figures in measure(options, sender, points, factor).items():
                        key = (*case, factor)
                        if key not in best or figures["points_s"] > best[key]["points_s"]:
                            best[key] = figures
    for batch, writers in cases():
        told(report, batch, writers, {factor: best[batch, writers, factor] for factor in FACTORS if (batch, writers, factor) in best})


def cases() -> list[tuple[int, int]]:
    return [(batch, writers) for batch, counts in WRITERS.items() for writers in counts]


def measure(options, sender, points: data.Set, factor: int) -> dict[tuple, dict]:
    """All cases with nodes that were never used: what one factor leaves behind disturbs none of the others."""
    folder = options.scratch / f"factor-{factor}"
    nodes = NodeSet(folder, factor, schema(points))
    try:
        nodes.start()
        before, found = nodes.record(), {}
        server = over_rest.ours(nodes.leader, sender)
        for batch, writers in cases():
            part = points.part(ROWS[batch])
            used = sum(map(cpu_seconds, pids(nodes)))
            found[batch, writers] = server.fill(COLLECTION, part, batch=batch, connections=writers, seconds=SECONDS_QUICK if options.quick else SECONDS)
            figures = found[batch, writers]
            figures["cpu_point"] = (sum(map(cpu_seconds, pids(nodes))) - used) * 1e6 / (figures["points_s"] * figures["wall_s"])
        # Of a copy that was taken out meanwhile nothing would have been waited for.
        if nodes.record() != before:
            raise RuntimeError(f"the record changed while factor {factor} was measured: {nodes.record()}")
        return found
    finally:
        nodes.kill()
        shutil.rmtree(folder, ignore_errors=True)


def schema(points: data.Set) -> dict:
    """As the operator puts it: without a graph, whose building is another suite's."""
    create = {"vectors": {"size": int(points.base.shape[1]), "distance": points.distance}, "quantization_config": over_rest.QUANTIZED, "optimizers_config": {"indexing_threshold": 0}}
    return {"create": create, "payloadIndexes": [{"fieldName": field, "fieldSchema": kind} for field, kind in over_rest.INDEXES]}


def pids(nodes: NodeSet) -> list[int]:
    return [node.process.pid for node in nodes.nodes]


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process so far."""
    used = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            used += int((thread / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass  # It ended between the two calls.
    return used * 1e-9


def told(report, batch: int, writers: int, figures: dict[int, dict]) -> None:
    one = figures.get(1, {})
    what = "single points" if batch == 1 else f"batches of {batch}"
    for factor, mine in figures.items():
        case = f"{what}, {writers} writers, factor {factor}" if writers > 1 else f"{what}, 1 writer, factor {factor}"
        note = f"{mine['cpu_point']:.0f} us of CPU a point in all nodes, p50 {mine['p50_us']} us, p99 {mine['p99_us']} us"
        if factor == 1:
            report.line(case, mine["points_s"], unit="points/s", note=note)
            continue
        report.line(case, mine["points_s"], one.get("points_s"), peer="factor 1", unit="points/s", note=note)
        for share in ("p50", "p99"):
            report.line(f"{case}, {share}", mine[f"{share}_us"], one.get(f"{share}_us"), peer="factor 1", unit="us", less=True)
