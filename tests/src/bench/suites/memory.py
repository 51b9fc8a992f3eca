"""Memory that can't be given back, for each vector of a shard that was opened anew; and searches with too little of it."""
from harness.memory import limited

from .. import data, process
from ..options import wanted
from .search import build

# INT8 at 384 dimensions: codes, links, ids.
BYTES_MAX = 650
PEER = "qdrant-edge-int8"
ASKS_MAX = 20
# Vectors, codes and links on disk, and memory for a quarter of them.
SHARE = 4


def run(options, report) -> None:
    for name in options.sets:
        points = data.load(name, options)
        on_disk(points, options, report)
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


def on_disk(points: data.Set, options, report) -> None:
    """A process that may have a quarter of the data in memory, page cache included."""
    folder = options.scratch / "quiver-disk"
    with process.engine(options.scratch) as program:
        build(program, "disk", points, options, on_disk=True, quantization=None)
    bytes_all = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    try:
        with limited(bytes_all // SHARE) as join, process.engine(options.scratch) as program:
            join(program.child.pid)
            program.ask("open", name="disk", folder=str(folder))
            for _ in range(2):
                answer = program.ask("search", name="disk", queries=str(points.queries), ef=100, k=data.K, filters=None, filter_of=None, passes=1, exact=False, oversampling=None)
    except OSError as error:
        report.line(f"{points.name} on disk, a quarter in memory", note=f"no control group for memory: {error}")
        return
    recall = points.recall(answer["ids"])
    note = f"{bytes_all >> 20} MiB of files, p50 {answer['p50_s'] * 1e3:.2f} ms, p99 {answer['p99_s'] * 1e3:.2f} ms"
    report.line(f"{points.name} on disk, a quarter in memory", len(points.asked) / answer["wall_s"], unit="queries/s", recall=recall, note=note)


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
