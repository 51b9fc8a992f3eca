"""Durable writes over REST: batches of 100 and single points, with payload and three payload indexes, each acknowledged when it is on disk."""
from .. import data, over_rest

BATCHES_MIN, SINGLES_MIN = 40_000, 10_000
WRITERS = 64


def run(options, report) -> None:
    points = data.load("wn", options)
    batches = points.part(20_000 if options.quick else 100_000)
    singles = points.part(5_000 if options.quick else 30_000)
    with over_rest.both(options) as servers:
        for connections, goal in ((1, None), (4, BATCHES_MIN)):
            case = f"wn batches of 100, {connections} connections"
            with report.case(case):
                figures = over_rest.in_turns(options, servers, lambda server: write(server, batches, batch=100, connections=connections))
                told(case, figures, servers, report, goal, 100)
        for connections, goal in ((1, None), (WRITERS, SINGLES_MIN)):
            case, part = f"wn single points, {connections} writers", singles if connections > 1 else singles.part(2_000)
            with report.case(case):
                figures = over_rest.in_turns(options, servers, lambda server: write(server, part, batch=1, connections=connections))
                told(case, figures, servers, report, goal, 1)


def write(server: over_rest.Server, points: data.Set, **how) -> dict:
    """Into a collection without a graph: its building is another suite's."""
    server.create("ingest", points, over_rest.INDEXES, optimizers_config={"indexing_threshold": 0})
    outcome = server.fill("ingest", points, **how)
    server.remove("ingest")
    return outcome


def told(case: str, figures: list[dict], servers: list, report, goal, batch: int) -> None:
    mine = figures[0]
    note = f"{mine['cpu_us'] / batch:.1f} us of CPU a point, p50 {mine['p50_us']} us, p99 {mine['p99_us']} us"
    if goal:
        report.limit(case, mine["points_s"], goal, unit="points/s", note=note)
    else:
        report.line(case, mine["points_s"], unit="points/s", note=note)
    for server, figure in zip(servers[1:], figures[1:]):
        report.line(case, mine["points_s"], figure.get("points_s"), peer=server.name, unit="points/s", note=figure.get("failed", ""))
