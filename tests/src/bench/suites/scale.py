"""How the cost of a query, and of a point in the build, grows with the number of points."""
import math

from .. import curves, data, process
from .search import build

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000)
QUICK_MAX = 100_000
RECALL = 0.98
# How much steeper than log n the cost may grow.
SLACK = 1.15


def run(options, report) -> None:
    largest = QUICK_MAX if options.quick else SIZES[-1]
    whole = data.load("g128", options, largest)
    query, point = {}, {}
    for size in (size for size in SIZES if size <= whole.rows):
        points = whole.part(size)
        with process.engine(options.scratch) as engine:
            # Small sizes shall have a graph too.
            cost = build(engine, "scale", points, options, indexing_threshold=1)["cpu_s"] / size * 1e6
            side = curves.Side(engine, "scale")
            curves.in_turns(points, [side], options.quick)
        speed = curves.at(side.curve, RECALL)
        # A graph never finds nearly all with the smallest ef; a scan always does, and grows otherwise.
        scanned = len(side.points) == 1
        note = "scanned, no graph" if scanned else "" if speed else f"reaches {curves.best(side.curve):.4f}"
        report.line(f"g128 query, {size} points", 1e6 / speed if speed else None, unit="CPU us", recall=RECALL, note=note)
        report.line(f"g128 build, {size} points", cost, unit="CPU us", note="no graph" if scanned else "")
        if not scanned:
            point[size] = cost
            query.update({size: 1e6 / speed} if speed else {})
    for what, cost in (("query", query), ("build", point)):
        report.curve("scale", what, sorted(cost.items()), "points", "CPU us a query at recall .98, a point in the build", kind="size")
        grown(f"g128 {what}", cost, report)


def grown(case: str, cost: dict[int, float], report) -> None:
    if len(cost) < 2:
        report.line(f"{case} growth", note="needs two sizes")
        return
    few, many = min(cost), max(cost)
    growth, logs = cost[many] / cost[few], math.log(many) / math.log(few)
    exponent = math.log(growth) / math.log(many / few)
    report.limit(f"{case} growth, {few} to {many}", growth, SLACK * logs, unit="times", less=True, note=f"log n grows {logs:.2f} times; exponent of n {exponent:.3f}")
