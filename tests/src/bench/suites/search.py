"""Queries per second on one core at the same recall, without a filter: ours and every peer on every set."""
import shutil

from .. import curves, data, process
from ..options import wanted
from ..peers import PEERS

RECALLS = (0.95, 0.98, 0.99)
GOALS = {
    ("wn", "qdrant-edge-int8"): (6, 5, 5), ("wn", "rabitqlib"): (1.3, 1.3, 1.3), ("g128", "rabitqlib"): (1, 1, 1), ("g1536", "rabitqlib"): (1, 1, 1),
}
THREADS = 2
M, EF_CONSTRUCT = 16, 100


def build(into: process.Process, shard: str, points: data.Set, options, *, rows=None, **more) -> dict:
    """The same graph parameters for ours and every peer, in a folder of its own that starts empty."""
    folder = options.scratch / f"{into.name}-{shard}"
    shutil.rmtree(folder, ignore_errors=True)
    return into.ask(
        "build", name=shard, folder=str(folder), vectors=str(points.vectors), rows=rows or [0, points.rows], distance=points.distance,
        **{"m": M, "ef_construct": EF_CONSTRUCT, "quantization": "scalar", "inline": False, "on_disk": False, "threads": THREADS, "payload": None,
           "indexes": [], "indexes_when": "before", **more},
    )


def run(options, report) -> None:
    for name in options.sets:
        points = data.load(name, options)
        with process.engine(options.scratch) as engine:
            modes = {"plain": False, "inline": True}
            for mode, inline in modes.items():
                build(engine, mode, points, options, inline=inline)
            for peer in filter(lambda peer: wanted(options, peer), PEERS):
                against(peer, points, engine, modes, options, report)


def against(peer: str, points: data.Set, engine: process.Process, modes: dict, options, report) -> None:
    ours = {mode: curves.Side(engine, mode) for mode in modes}
    try:
        with process.peer(peer, options.scratch) as worker:
            build(worker, points.name, points, options)
            theirs = curves.Side(worker, points.name)
            # Ours stands on both sides of the peer in every turn, if it is there in two modes.
            curves.in_turns(points, [*ours.values()][:1] + [theirs] + [*ours.values()][1:], options.quick)
    except process.PeerFailed as failure:
        report.line(points.name, peer=peer, note=f"{peer} can't run here: {failure}")
        return
    plot = f"search-{points.name}"
    for mode, side in ours.items():
        report.curve(plot, f"quiver {mode}", side.curve, "recall@10", "queries per CPU second")
    report.curve(plot, peer, theirs.curve, "recall@10", "queries per CPU second")
    goals = GOALS.get((points.name, peer), (None,) * 3) if points.full else (None,) * 3
    for recall, goal in zip(RECALLS, goals):
        compare(f"{points.name} @{recall}", recall, goal, peer, ours, theirs, report)


def compare(case: str, recall: float, goal, peer: str, ours: dict, theirs: curves.Side, report) -> None:
    speeds = {mode: curves.at(side.curve, recall) for mode, side in ours.items()}
    mode = max(speeds, key=lambda mode: speeds[mode] or 0)
    other, notes = curves.at(theirs.curve, recall), []
    if speeds[mode] is None:
        notes.append(f"ours reaches {max(curves.best(s.curve) for s in ours.values()):.4f}")
    if other is None:
        notes.append(f"{peer} reaches {curves.best(theirs.curve):.4f}")
    elif theirs.curve[0][0] > recall:
        notes.append(f"{peer} starts at {theirs.curve[0][0]:.4f}")
    label = f"{case} {mode}" if len(ours) > 1 else case
    report.line(label, speeds[mode], other, peer=peer, unit="1/CPU s", recall=recall, goal=goal, note="; ".join(notes))
