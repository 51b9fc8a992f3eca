"""Durable writes over REST: batches of 100 and single points, with payload and three payload indexes, each acknowledged when it is on disk."""
from .. import data, over_rest

BATCHES_MIN, SINGLES_MIN = 40_000, 10_000
WRITERS = 64


def run(options, report) -> None:
    points = data.load("wn", options)
    batches = points.part(20_000 if options.quick else 100_000)
    singles = points.part(5_000 if options.quick else 30_000)
    with over_rest.load(options) as sender:
        node = over_rest.start(options)
        try:
            servers = [s for s in (over_rest.ours(node, sender), over_rest.theirs(options, sender)) if s]
            for connections, goal in ((1, None), (4, BATCHES_MIN)):
                figures = [write(server, batches, batch=100, connections=connections) for server in servers]
                told(f"wn batches of 100, {connections} connections", figures, servers, report, goal)
            for connections, goal in ((1, None), (WRITERS, SINGLES_MIN)):
                part = singles if connections > 1 else singles.part(2_000)
                figures = [write(server, part, batch=1, connections=connections) for server in servers]
                told(f"wn single points, {connections} writers", figures, servers, report, goal)
        finally:
            node.kill()


def write(server: over_rest.Server, points: data.Set, **how) -> dict:
    """Into a collection without a graph: its building is another suite's."""
    server.create("ingest", points, over_rest.INDEXES, optimizers_config={"indexing_threshold": 0})
    outcome = server.fill("ingest", points, **how)
    outcome["cpu_point"] = outcome["cpu_s"] * 1e6 / points.rows if outcome["cpu_s"] else None
    server.remove("ingest")
    return outcome


def told(case: str, figures: list[dict], servers: list, report, goal) -> None:
    mine = figures[0]
    note = f"{mine['cpu_point']:.1f} us of CPU a point, p50 {mine['p50_us']} us, p99 {mine['p99_us']} us"
    if goal:
        report.limit(case, mine["points_s"], goal, unit="points/s", note=note)
    else:
        report.line(case, mine["points_s"], unit="points/s", note=note)
    for server, figure in zip(servers[1:], figures[1:]):
        report.line(case, mine["points_s"], figure["points_s"], peer=server.name, unit="points/s")
