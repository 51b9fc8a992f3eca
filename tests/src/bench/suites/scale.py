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
        with report.case(f"g128 query, {size} points"):
            measure(whole.part(size), query, point, options, report)
    for what, cost in (("query", query), ("build", point)):
        drawn = {what: sorted(cost.items())}
        if cost:
            drawn[f"{what}, as log n"] = as_log(cost)
        for series, line in drawn.items():
            report.curve("scale", series, line, "points", "CPU us a query at recall .98, a point in the build", kind="size")
        grown(f"g128 {what}", cost, drawn, report)


def measure(points: data.Set, query: dict, point: dict, options, report) -> None:
    """Adds the costs at one size."""
    size = points.rows
    with process.engine(options.scratch) as engine:
        # Small sizes shall have a graph too.
        cost = build(engine, "scale", points, options, indexing_threshold=1)["cpu_s"] / size * 1e6
        side = curves.Side(engine, "scale")
        curves.in_turns(points, [side], options.quick)
    speed = curves.at(side.curve, RECALL)
    # A graph never finds nearly all with the smallest ef; a scan always does, and grows otherwise.
    scanned = len(side.points) == 1
    note = "scanned, no graph" if scanned else "" if speed else f"reaches {curves.best(side.curve):.4f}"
    report.line(f"g128 query, {size} points", 1e6 / speed if speed else None, unit="CPU us", recall=RECALL, note=note, curves={"quiver": side.curve})
    report.line(f"g128 build, {size} points", cost, unit="CPU us", note="no graph" if scanned else "")
    if not scanned:
        point[size] = cost
        query.update({size: 1e6 / speed} if speed else {})


def as_log(cost: dict[int, float]) -> list[tuple[int, float]]:
    """What it would cost at each size if it grew from the smallest one as the logarithm does."""
    few = min(cost)
    return [(size, cost[few] * math.log(size) / math.log(few)) for size in sorted(cost)]


def grown(case: str, cost: dict[int, float], drawn: dict, report) -> None:
    if len(cost) < 2:
        report.line(f"{case} growth", note="needs two sizes", curves=drawn)
        return
    few, many = min(cost), max(cost)
    growth, logs = cost[many] / cost[few], math.log(many) / math.log(few)
    exponent = math.log(growth) / math.log(many / few)
    report.limit(f"{case} growth, {few} to {many}", growth, SLACK * logs, unit="times", less=True, note=f"log n grows {logs:.2f} times; exponent of n {exponent:.3f}", curves=drawn)
