"""What a request costs over REST: CPU of our node for each kind, and how even its answers are; a peer's server is compared by requests per second."""
from .. import data, over_rest

# Dimensions -> microseconds of CPU that a query may take at hnsw_ef 128.
QUERY_MAX = {"wn": 80, "g128": 80, "g1536": 150}
NO_SEARCH_MAX = 30
P99_MAX = 3
RECALL = 0.995


def run(options, report) -> None:
    with over_rest.load(options) as sender:
        node = over_rest.start(options)
        try:
            servers = [s for s in (over_rest.ours(node, sender), over_rest.theirs(options, sender)) if s]
            for name in (name for name in options.sets if name in ("wn", "g1536")):
                points = data.load(name, options)
                for server in servers:
                    prepare(server, name, points)
                measure(name, points, servers, options, report)
                for server in servers:
                    server.remove(name)
        finally:
            node.kill()


def prepare(server: over_rest.Server, name: str, points: data.Set) -> None:
    server.create(name, points, over_rest.INDEXES if points.payload else (), optimizers_config={"default_segment_number": 1})
    server.fill(name, points)
    server.wait_green(name)


def measure(name: str, points: data.Set, servers: list, options, report) -> None:
    seconds = 2 if options.quick else 5
    full = points.full
    first = [server.query(name, points, count=data.QUERIES) for server in servers]
    recall = points.recall(first[0]["ids"])
    ef = 128
    while recall < RECALL and ef < 1024:
        ef *= 2
        recall = points.recall(servers[0].query(name, points, count=data.QUERIES, ef=ef)["ids"])
    cases = {f"{name} query, ef {ef}": {"ef": ef}, f"{name} query, 8 connections": {"ef": ef, "connections": 8}, f"{name} query, a connection each": {"ef": ef, "keep_alive": False},
             f"{name} query, batches of 10": {"ef": ef, "batch": 10}}
    if points.payload:
        cases[f"{name} query and payload"] = {"ef": ef, "payload": True}
        cases[f"{name} filter that few pass"] = {"filters": [over_rest.FEW]}
    for case, how in cases.items():
        limit = QUERY_MAX[name] if case.endswith(f"ef {ef}") else NO_SEARCH_MAX if "few pass" in case else None
        compare(case, [server.query(name, points, seconds=seconds, **how) for server in servers], servers, report, limit if full else None, recall if "few" not in case else None)
    for case, request in (("GET of a point", ["GET", f"/collections/{name}/points/7"]), ("count", ["POST", f"/collections/{name}/points/count", {"exact": True}])):
        compare(f"{name} {case}", [server.ask("send", requests=[request], count=10**9, seconds=seconds) for server in servers], servers, report, NO_SEARCH_MAX if full else None)
    two = servers[0].query(name, points, seconds=seconds, ef=ef, connections=2)
    report.limit(f"{name} p99 / p50, 2 connections", two["p99_us"] / two["p50_us"], P99_MAX, unit="times", less=True, note=f"p50 {two['p50_us']} us")


def compare(case: str, figures: list[dict], servers: list, report, limit=None, recall=None) -> None:
    mine = figures[0]
    note = f"p50 {mine['p50_us']} us, p99 {mine['p99_us']} us, {mine['rps']:.0f} a second"
    if limit is None:
        report.line(case, mine["cpu_us"], unit="CPU us", recall=recall, note=note)
    else:
        report.limit(case, mine["cpu_us"], limit, unit="CPU us", recall=recall, less=True, note=note)
    for server, figure in zip(servers[1:], figures[1:]):
        report.line(case, mine["rps"], figure["rps"], peer=server.name, unit="1/s", recall=recall)
