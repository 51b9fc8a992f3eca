"""Memory that can't be given back, for each vector of a shard that was opened anew; and searches with too little of it."""
from harness.memory import limited

from .. import data, process
from ..options import wanted
from .search import build, folder, remove

# INT8 at 384 dimensions: codes, links, ids.
BYTES_MAX = 650
PEER = "qdrant-edge-int8"
# Few queries at a time: what asks keeps its own copy of them, which is nobody's memory for vectors.
ASKED, ASKS_MAX = 50, 20
# Vectors, codes and links on disk, and memory for a quarter of them.
SHARE = 4


def run(options, report) -> None:
    for name in options.sets:
        points = data.load(name, options)
        with report.case(f"{name} on disk, a quarter in memory"):
            on_disk(points, options, report)
        with report.case(f"{name} anonymous bytes a vector"):
            anonymous(f"{name} anonymous bytes a vector", points, options, report)


def anonymous(case: str, points: data.Set, options, report) -> None:
    ours = fresh(process.engine, points, options)
    if points.name == "wn":
        report.limit(case, ours, BYTES_MAX, unit="bytes", less=True)
    if wanted(options, PEER):
        note, theirs = "", None
        try:
            theirs = fresh(lambda scratch: process.peer(PEER, scratch), points, options)
        except process.PeerFailed as failure:
            note = f"{PEER} can't run here: {failure}"
        report.line(case, ours, theirs, peer=PEER, unit="bytes", less=True, note=note)
    elif points.name != "wn":
        report.line(case, ours, unit="bytes")


def on_disk(points: data.Set, options, report) -> None:
    """A process that may have a quarter of the data in memory, page cache included."""
    with process.engine(options.scratch) as program:
        build(program, "disk", points, options, on_disk=True, quantization=None)
    files = folder(options, "quiver", "disk")
    bytes_all = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
    try:
        with limited(bytes_all // SHARE) as join, process.engine(options.scratch) as program:
            join(program.child.pid)
            program.ask("open", name="disk", folder=str(files))
            for _ in range(2):
                answer = program.ask("search", name="disk", queries=str(points.queries), ef=100, k=data.K, filters=None, filter_of=None, passes=1, exact=False, oversampling=None)
    except OSError as error:
        report.line(f"{points.name} on disk, a quarter in memory", note=f"no control group for memory: {error}")
        return
    finally:
        remove(options, "quiver", "disk")
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
        program.ask("open", name="memory", folder=str(folder(options, program.name, "memory")))
        grown = -1
        for _ in range(ASKS_MAX):
            program.ask("search", name="memory", queries=str(points.queries), ef=100, k=data.K, filters=None, filter_of=None, passes=2, exact=False, oversampling=None, count=ASKED)
            before, grown = grown, program.ask("memory")["anon_bytes"]
            if grown <= before:
                break
    remove(options, program.name, "memory")
    return (grown - empty) / points.rows
