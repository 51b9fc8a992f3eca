"""What a request costs over REST: CPU of our node for each kind, and how even its answers are; a peer's server is compared by requests
per second, for searches at the recall that both reach, each with the `hnsw_ef` that it needs for it."""
from .. import data, over_rest
from ..process import PeerFailed

# Dimensions -> microseconds of CPU that a query may take at EF.
QUERY_MAX = {"wn": 80, "g1536": 150}
NO_SEARCH_MAX = 30
P99_MAX = 3
EF, RECALL = 128, 0.995
# The least of these that reaches the recall is compared.
EFS = (16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320, 384, 512, 768, 1024)
# How many times a server's queries per second, one after the other.
GOALS = {"wn": 5}
SECONDS, SECONDS_QUICK = 3, 1


def run(options, report) -> None:
    with over_rest.both(options) as servers:
        for name in (name for name in options.sets if name in QUERY_MAX):
            with report.case(name):
                points = data.load(name, options)
                there = prepared(servers, name, points, report)
                costs(name, points, there[0], options, report)
                requests(name, points, there, options, report)
                if there[1:]:
                    same_recall(name, points, there, options, report)
                for server in there:
                    server.remove(name)


def prepared(servers: list, name: str, points: data.Set, report) -> list:
    """Those that hold the set now: ours, and the peer if it can."""
    there = []
    for server in servers:
        try:
            server.create(name, points, over_rest.INDEXES if points.payload else (), optimizers_config={"default_segment_number": 1})
            server.fill(name, points)
            server.wait_green(name)
            there.append(server)
        except PeerFailed as failure:
            report.line(name, peer=server.name, note=f"{server.name} can't take the set: {failure}")
    return there


def ways(points: data.Set) -> dict[str, dict]:
    """How a query may be sent."""
    more = {" and payload": {"payload": True}} if points.payload else {}
    return {"": {}, ", 8 connections": {"connections": 8}, ", a connection each": {"keep_alive": False}, ", batches of 10": {"batch": 10}, **more}


def seconds(options) -> int:
    return SECONDS_QUICK if options.quick else SECONDS


def recall_at(server, name: str, points: data.Set, ef: int) -> float:
    return points.recall(server.query(name, points, ef, count=data.QUERIES)["ids"])


def least_ef(server, name: str, points: data.Set) -> tuple[int | None, float]:
    """The least that reaches the recall, and what it reaches; none, and the best."""
    recall = 0.0
    for ef in EFS:
        recall = recall_at(server, name, points, ef)
        if recall >= RECALL:
            return ef, recall
    return None, recall


def costs(name: str, points: data.Set, server, options, report) -> None:
    """CPU of our node at EF, whatever that reaches, and where the recall is reached."""
    recall = recall_at(server, name, points, EF)
    measure = lambda ef, how: over_rest.in_turns(options, [server], lambda server: server.query(name, points, ef, seconds=seconds(options), **how))
    for way, how in ways(points).items():
        case = f"{name} query{way or f', ef {EF}'}"
        with report.case(case):
            told(case, measure(EF, how), [server], report, QUERY_MAX[name] if points.full and not way else None, recall)
    with report.case(f"{name} recall at ef {EF}"):
        if points.full:
            report.limit(f"{name} recall at ef {EF}", recall, RECALL, unit="recall", recall=recall)
        ef, reached = least_ef(server, name, points)
        case = f"{name} query @{RECALL}, ef {ef}"
        if ef is None:
            report.line(f"{name} query @{RECALL}", note=f"reaches {reached:.4f} at ef {EFS[-1]}")
        elif ef != EF:
            told(case, measure(ef, {}), [server], report, None, reached)
    with report.case(f"{name} p99 / p50, 2 connections"):
        rounds = [server.query(name, points, EF, seconds=seconds(options), connections=2) for _ in range(1 if options.quick else over_rest.ROUNDS)]
        even = min(rounds, key=lambda figures: figures["p99_us"] / figures["p50_us"])
        report.limit(f"{name} p99 / p50, 2 connections", even["p99_us"] / even["p50_us"], P99_MAX, unit="times", less=True, note=f"p50 {even['p50_us']} us")


def requests(name: str, points: data.Set, servers: list, options, report) -> None:
    """Those that need no search, or next to none."""
    send = lambda *request: lambda server: server.ask("send", requests=[request], count=10**9, seconds=seconds(options))
    cases = {"GET of a point": send("GET", f"/collections/{name}/points/7"), "count": send("POST", f"/collections/{name}/points/count", {"exact": True})}
    if points.payload:
        cases["filter that few pass"] = lambda server: server.query(name, points, EF, filters=[over_rest.FEW], seconds=seconds(options))
    for case, measure in cases.items():
        with report.case(f"{name} {case}"):
            told(f"{name} {case}", over_rest.in_turns(options, servers, measure), servers, report, NO_SEARCH_MAX if points.full else None)


def told(case: str, figures: list[dict], servers: list, report, limit=None, recall=None) -> None:
    mine = figures[0]
    note = f"p50 {mine['p50_us']} us, p99 {mine['p99_us']} us, {mine['rps']:.0f} a second"
    if limit is None:
        report.line(case, mine["cpu_us"], unit="CPU us", recall=recall, note=note)
    else:
        report.limit(case, mine["cpu_us"], limit, unit="CPU us", recall=recall, less=True, note=note)
    for server, figure in zip(servers[1:], figures[1:]):
        report.line(case, mine["rps"], figure.get("rps"), peer=server.name, unit="1/s", recall=recall, note=figure.get("failed", ""))


def same_recall(name: str, points: data.Set, servers: list, options, report) -> None:
    """Queries per second of both, each with the least ef that reaches the recall."""
    case, peer, least = f"{name} query @{RECALL}", servers[1].name, {}
    with report.case(case, peer):
        least = {server.name: least_ef(server, name, points) for server in servers}
        lacking = [f"{of} reaches {recall:.4f} at ef {EFS[-1]}" for of, (ef, recall) in least.items() if ef is None]
        if lacking:
            report.line(case, peer=peer, unit="1/s", recall=RECALL, note="; ".join(lacking))
            return
    note = ", ".join(f"{of}: ef {ef}, recall {recall:.4f}" for of, (ef, recall) in least.items())
    for way, how in ways(points).items() if least else ():
        with report.case(case + way, peer):
            ours, theirs = over_rest.in_turns(options, servers, lambda server: server.query(name, points, least[server.name][0], seconds=seconds(options), **how))
            goal = GOALS.get(name) if points.full and not way else None
            report.line(case + way, ours["rps"], theirs.get("rps"), peer=peer, unit="1/s", recall=RECALL, goal=goal, note=theirs.get("failed", note))
