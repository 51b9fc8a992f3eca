"""Memory that can't be given back, for each vector of a shard that was opened anew."""
from .. import data, process
from ..options import wanted
from .search import build

# INT8 at 384 dimensions: codes, links, ids.
BYTES_MAX = 650
PEER = "qdrant-edge-int8"
ASKS_MAX = 20


def run(options, report) -> None:
    for name in options.sets:
        points = data.load(name, options)
        ours = fresh(process.engine, points, options)
        if name == "wn":
            report.limit("wn anonymous bytes a vector", ours, BYTES_MAX, unit="bytes", less=True)
        if wanted(options, PEER):
            note, theirs = "", None
            try:
                theirs = fresh(lambda scratch: process.peer(PEER, scratch), points, options)
            except process.PeerFailed as failure:
                note = f"{PEER} can't run here: {failure}"
            report.line(f"{name} anonymous bytes a vector", ours, theirs, peer=PEER, unit="bytes", less=True, note=note)
        elif name != "wn":
            report.line(f"{name} anonymous bytes a vector", ours, unit="bytes")


def fresh(start, points: data.Set, options) -> float:
    """One process builds the shard, the next opens it and searches until its memory grows no more."""
    with start(options.scratch) as program:
        build(program, "memory", points, options)
        program.ask("close", name="memory")
    with start(options.scratch) as program:
        empty = program.ask("memory")["anon_bytes"]
        program.ask("open", name="memory", folder=str(options.scratch / f"{program.name}-memory"))
        grown = -1
        for _ in range(ASKS_MAX):
            program.ask("search", name="memory", queries=str(points.queries), ef=100, k=data.K, filters=None, filter_of=None, passes=2, exact=False, oversampling=None)
            before, grown = grown, program.ask("memory")["anon_bytes"]
            if grown <= before:
                break
    return (grown - empty) / points.rows
