"""Queries under filters on the real set: ours at its default settings against Qdrant's, at the recall that both reach."""
from collections import Counter

import numpy as np

from .. import curves, data, process
from ..options import wanted
from .build import INDEXES
from .search import build

PEER = "qdrant-edge-int8"
RECALL_MIN = 0.98
EFS = (16, 32, 64, 128, 256, 512, 1024)
EFS_QUICK = (32, 128, 512)
# What Qdrant is asked with where one setting must do.
EF_USUAL = 128


def must(*conditions: dict) -> dict:
    return {"must": list(conditions)}


def equal(key: str, value) -> dict:
    return {"key": key, "match": {"value": value}}


def bucket(below: int) -> dict:
    return {"key": "bucket", "range": {"lt": below}}


def topics(points: data.Set) -> list[str]:
    """The lexicographer file of each query: that of most of its neighbours, since queries have no payload of their own."""
    of = lambda row: Counter(points.payloads[i]["lex"] for i in row if i >= 0).most_common(1)[0][0]
    return [of(row) for row in points.truth()]


def one_each(count: int) -> tuple[list[dict], list[int]]:
    """A filter for each query that no other one has: more than anything could keep, and asked for in turn."""
    narrow = lambda n: {"key": "bucket", "range": {"gte": n % 991, "lt": n % 991 + 10 + n // 991}}
    return [must(narrow(n)) for n in range(count)], list(range(count))


def chosen(values: list[str]) -> tuple[list[dict], list[int]]:
    """A filter of its own for each query, each different one once."""
    different = sorted(set(values))
    return [must(equal("lex", value)) for value in different], [different.index(value) for value in values]


def cases(points: data.Set) -> dict[str, tuple[list[dict], list[int] | None, float | None]]:
    """Name -> filters, the filter of each query (the first, if None), the goal."""
    own = topics(points)
    median = int(np.median([payload["n_words"] for payload in points.payloads]))
    same = lambda *conditions: ([must(*conditions)], None)
    return {
        "bucket 50 %": (*same(bucket(500)), 2),
        "bucket 10 %": (*same(bucket(100)), 3),
        "bucket 1 %": (*same(bucket(10)), 3),
        "bucket 1 %, one each": (*one_each(len(points.asked)), 3),
        "bucket 0.1 %": (*same(equal("bucket", 1)), 3),
        "lex frequent": (*same(equal("lex", "noun.artifact")), 8),
        "lex middle": (*same(equal("lex", "noun.event")), 3),
        "lex rare": (*same(equal("lex", "verb.weather")), 3),
        "lex agrees": (*chosen(own), None),
        "lex contradicts": (*chosen(["adj.all" if lex.startswith("noun.") else "noun.animal" for lex in own]), 8),
        "two together": (*same({"key": "n_words", "range": {"gte": median}}, bucket(500)), None),
    }


def run(options, report) -> None:
    points = data.load("wn", options)
    asked = cases(points)
    with process.engine(options.scratch) as engine:
        for when in ("before", "after"):
            build(engine, when, points, options, **indexed(points, when))
        if wanted(options, PEER):
            with report.case("wn", PEER):
                against(points, asked, engine, options, report)
        orders(points, asked, engine, options, report)


def indexed(points: data.Set, when: str) -> dict:
    return {"payload": str(points.payload), "indexes": INDEXES, "indexes_when": when}


def against(points: data.Set, asked: dict, engine: process.Process, options, report) -> None:
    """Qdrant with its payload indexes made first, as it wants them."""
    with process.peer(PEER, options.scratch) as worker:
        build(worker, "before", points, options, **indexed(points, "before"))
        for name, (filters, filter_of, goal) in asked.items():
            ours, theirs = (curves.Side(program, "before", filters, filter_of) for program in (engine, worker))
            with report.case(f"wn {name}", PEER):
                for _ in range(1 if options.quick else 3):
                    # As often as the peer at each ef: the best of more would be better.
                    ours.measure(points, None, passes=2)
                    for ef in EFS_QUICK if options.quick else EFS:
                        theirs.measure(points, ef, passes=2)
                compare(name, goal if points.full else None, ours, theirs, report)
                for series, side in (("quiver", ours), (PEER, theirs)):
                    report.curve("filter", series, side.curve, "recall@10", "queries per CPU second", panel=name)


def compare(name: str, goal, ours: curves.Side, theirs: curves.Side, report) -> None:
    """At the recall of ours, or at the best that the peer reaches if that is less."""
    [(recall, speed)] = ours.curve
    reached = curves.best(theirs.curve)
    both = min(recall, reached)
    other = curves.at(theirs.curve, both)
    note = f"at ours' default recall {recall:.4f}" if reached >= recall else f"at the peer's best recall {reached:.4f}, ours {recall:.4f}"
    drawn = {"quiver": ours.curve, PEER: theirs.curve}
    report.line(f"wn {name}", speed, other, peer=PEER, unit="1/CPU s", recall=both, goal=goal, note=note, curves=drawn)
    usual = curves.at(theirs.curve, min(RECALL_MIN, both))
    if usual > other:
        # What the peer does where it is content with less; ours stays as it is.
        report.line(f"wn {name}, peer @{RECALL_MIN}", speed, usual, peer=PEER, unit="1/CPU s", recall=RECALL_MIN, note=f"ours {recall:.4f}")


def orders(points: data.Set, asked: dict, engine: process.Process, options, report) -> None:
    """Recall of ours at its default settings, and what remains of it, and of Qdrant's, when the indexes come after the data."""
    after, change = {}, {}
    for name, case in asked.items():
        with report.case(f"wn {name}, default"):
            before, after[name] = (recall(engine, when, None, points, *case[:2]) for when in ("before", "after"))
            change[name] = after[name] - before
            report.limit(f"wn {name}, default", before, RECALL_MIN, unit="recall", recall=before)
    worst = max(change, key=lambda name: abs(change[name]))
    report.limit("wn worst filter, indexes after the data", min(after.values()), RECALL_MIN, unit="recall", note=f"largest change {change[worst]:+.4f} ({worst})")
    if not wanted(options, PEER):
        return
    theirs, note = None, ""
    try:
        with process.peer(PEER, options.scratch) as worker:
            build(worker, "after", points, options, **indexed(points, "after"))
            found = {name: recall(worker, "after", EF_USUAL, points, *case[:2]) for name, case in asked.items()}
        name = min(found, key=found.get)
        theirs, note = found[name], f"the peer at ef {EF_USUAL}, worst filter {name}"
    except process.PeerFailed as failure:
        note = f"{PEER} can't run here: {failure}"
    report.line("wn recall, indexes after the data", min(after.values()), theirs, peer=PEER, unit="recall", note=note)


def recall(program: process.Process, shard: str, ef: int | None, points: data.Set, filters: list, filter_of: list[int] | None) -> float:
    return curves.Side(program, shard, filters, filter_of).at(points, ef)
