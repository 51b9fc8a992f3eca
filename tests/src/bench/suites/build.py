"""CPU time until every point is in the graph, on the real set, and of a tenth more points."""
from .. import data, process
from ..options import wanted
from .search import build

GOALS = {"without payload indexes": 1 / 0.6, "three payload indexes": 1 / 0.2}
PEERS = ("qdrant-edge-int8", "hnswlib", "faiss-sq8", "rabitqlib")
INDEXES = [["bucket", "integer"], ["lex", "keyword"], ["n_words", "integer"]]
# Of a full build, for a tenth more points.
APPEND_SHARE = 0.15


def run(options, report) -> None:
    points = data.load("wn", options)
    for peer in filter(lambda peer: wanted(options, peer), PEERS):
        with report.case("wn without payload indexes", peer):
            rounds(peer, "without payload indexes", {}, points, options, report)
    if wanted(options, "qdrant-edge-int8"):
        indexed = {"payload": str(points.payload), "indexes": INDEXES, "indexes_when": "before"}
        with report.case("wn three payload indexes", "qdrant-edge-int8"):
            rounds("qdrant-edge-int8", "three payload indexes", indexed, points, options, report)
    with report.case("wn a tenth more points"):
        append(points, options, report)


def once(start, points: data.Set, more: dict, options) -> float:
    with start(options.scratch) as program:
        return build(program, "build", points, options, **more)["cpu_s"]


def rounds(peer: str, case: str, more: dict, points: data.Set, options, report) -> None:
    """Ours and the peer in turns, each in a new process; the best of the rounds."""
    ours, theirs = [], []
    for _ in range(1 if options.quick else 2):
        ours.append(once(process.engine, points, more, options))
        try:
            theirs.append(once(lambda scratch: process.peer(peer, scratch), points, more, options))
        except process.PeerFailed as failure:
            report.line(f"wn {case}", min(ours), peer=peer, unit="CPU s", less=True, note=f"{peer} can't run here: {failure}")
            return
    goal = GOALS[case] if peer == "qdrant-edge-int8" and points.full else None
    report.line(f"wn {case}", min(ours), min(theirs), peer=peer, unit="CPU s", less=True, goal=goal)


def append(points: data.Set, options, report) -> None:
    first = points.rows * 10 // 11
    with process.engine(options.scratch) as engine:
        full = build(engine, "append", points, options, rows=[0, first])["cpu_s"]
        more = engine.ask("append", name="append", rows=[first, points.rows])["cpu_s"]
        found = engine.ask("search", name="append", queries=str(points.queries), ef=64, k=data.K, filters=None, filter_of=None, passes=1, exact=False, oversampling=None)
    recall = points.recall(found["ids"])
    report.limit("wn a tenth more points", more, APPEND_SHARE * full, unit="CPU s", recall=recall, less=True, note=f"{more / full:.1%} of {full:.1f} s")
