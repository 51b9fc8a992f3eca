"""Queries per second on one core at the same recall, without a filter: ours and every peer on every set; and the recall that the usual
parameters give."""
import shutil
from pathlib import Path

from .. import curves, data, process
from ..options import wanted
from ..peers import PEERS, UNQUANTIZED

RECALLS = (0.95, 0.98, 0.99)
GOALS = {
    ("wn", "qdrant-edge-int8"): (6, 5, 5), ("wn", "rabitqlib"): (1.3, 1.3, 1.3), ("g128", "rabitqlib"): (1, 1, 1), ("g1536", "rabitqlib"): (1, 1, 1),
}
THREADS = 2
M, EF_CONSTRUCT, EF = 16, 100, 128
# Whose recall at these parameters ours is to have.
PLAIN_HNSW = "hnswlib"


def build(into: process.Process, shard: str, points: data.Set, options, *, rows=None, **more) -> dict:
    """The same graph parameters for ours and every peer, in a folder of its own that starts empty."""
    remove(options, into.name, shard)
    return into.ask(
        "build", name=shard, folder=str(folder(options, into.name, shard)), vectors=str(points.vectors), rows=rows or [0, points.rows], distance=points.distance,
        **{"m": M, "ef_construct": EF_CONSTRUCT, "quantization": "scalar", "inline": False, "on_disk": False, "threads": THREADS, "payload": None,
           "indexes": [], "indexes_when": "before", **more},
    )


def folder(options, program: str, shard: str) -> Path:
    return options.scratch / f"{program}-{shard}"


def remove(options, program: str, shard: str) -> None:
    """A folder has room for itself alone: the large sets take gigabytes."""
    shutil.rmtree(folder(options, program, shard), ignore_errors=True)


def run(options, report) -> None:
    for name in options.sets:
        with report.case(name):
            points = data.load(name, options)
            quantized = [peer for peer in PEERS if peer != UNQUANTIZED and wanted(options, peer)]
            compared(points, quantized, {"plain": {}, "inline": {"inline": True}}, f"search-{name}", options, report)
    # One set shows what it is without quantization; that it is the real one keeps the run short.
    if "wn" in options.sets and wanted(options, UNQUANTIZED):
        with report.case("wn", UNQUANTIZED):
            compared(data.load("wn", options), [UNQUANTIZED], {"unquantized": {"quantization": None}}, "search-wn-unquantized", options, report)


def compared(points: data.Set, peers: list[str], modes: dict[str, dict], plot: str, options, report) -> None:
    """Ours in its modes with each peer after the other."""
    if not peers:
        return
    with process.engine(options.scratch) as engine:
        for mode, more in modes.items():
            build(engine, mode, points, options, **more)
        for peer in peers:
            with report.case(points.name, peer):
                against(peer, points, {mode: curves.Side(engine, mode) for mode in modes}, plot, options, report)
    for mode in modes:
        remove(options, engine.name, mode)


def against(peer: str, points: data.Set, ours: dict[str, curves.Side], plot: str, options, report) -> None:
    try:
        with process.peer(peer, options.scratch) as worker:
            build(worker, points.name, points, options)
            theirs = curves.Side(worker, points.name)
            # Ours stands on both sides of the peer in every turn, if it is there in two modes.
            curves.in_turns(points, [*ours.values()][:1] + [theirs] + [*ours.values()][1:], options.quick)
            drawn = {**{f"quiver {mode}": side.curve for mode, side in ours.items()}, peer: theirs.curve}
            usual = [side.at(points, EF) for side in (*ours.values(), theirs)] if peer == PLAIN_HNSW else []
    finally:
        remove(options, peer, points.name)
    for series, line in drawn.items():
        report.curve(plot, series, line, "recall@10", "queries per CPU second")
    goals = GOALS.get((points.name, peer), (None,) * 3) if points.full else (None,) * 3
    for recall, goal in zip(RECALLS, goals):
        compare(f"{points.name} @{recall}", recall, goal, peer, ours, theirs, report, drawn)
    for mode, recall in zip(ours, usual):
        report.line(f"{points.name} recall at ef {EF} {mode}", recall, usual[-1], peer=peer, unit="recall", recall=recall)


def compare(case: str, recall: float, goal, peer: str, ours: dict, theirs: curves.Side, report, drawn: dict) -> None:
    speeds = {mode: curves.at(side.curve, recall) for mode, side in ours.items()}
    mode = max(speeds, key=lambda mode: speeds[mode] or 0)
    other, notes = curves.at(theirs.curve, recall), []
    if speeds[mode] is None:
        notes.append(f"ours reaches {max(curves.best(s.curve) for s in ours.values()):.4f}")
    if other is None:
        notes.append(f"{peer} reaches {curves.best(theirs.curve):.4f}")
    elif theirs.curve[0][0] > recall:
        notes.append(f"{peer} starts at {theirs.curve[0][0]:.4f}")
    report.line(f"{case} {mode}", speeds[mode], other, peer=peer, unit="1/CPU s", recall=recall, goal=goal, note="; ".join(notes), curves=drawn)
