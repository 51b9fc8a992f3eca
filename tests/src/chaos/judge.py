"""What the fleet saw, put to the test when all is well again; and the figures of a run."""
import time

from field import NAME, Field
from figures import quantile
from harness.node import wait_until
from history import ABSENT, contradiction, stale_by
from peers import Peers
from points import read_point
from rest import Client, Refused, Targets, Unknown
from sizes import FACTOR, STALENESS


class Judge:
    def __init__(self, field: Field):
        self.field, self.fleet = field, field.fleet
        self.fleet.stop()
        self.problems = list(self.fleet.wrong)

    def figures(self) -> str:
        measured = self.field.measured
        by_kind = {m["kind"]: [t for other in measured if other["kind"] == m["kind"] for t in other["failover"]] for m in measured}
        gaps = [g for m in measured for g in m["gaps"]]
        lines = [f"{number:9} {what}" for what, number in sorted(self.fleet.counts.items())]
        lines.append(f"{len(measured)} faults of {len({m['kind'] for m in measured})} kinds")
        for kind, took in sorted(by_kind.items()):
            if took:
                lines.append(f"first acknowledged write in a shard whose leader was hit, {kind}: p50 {quantile(took, 0.5):.1f} s, p99 {quantile(took, 0.99):.1f} s of {len(took)}")
        if gaps:
            lines.append(f"longest gap between acknowledged writes of a shard, per fault: p50 {quantile(gaps, 0.5):.1f} s, p99 {quantile(gaps, 0.99):.1f} s")
        return "\n".join("  " + line for line in lines)

    def read_everything(self) -> None:
        """Every register once more, by id and by a scroll, from each pod; what is found belongs to the history."""
        points = sorted(self.fleet.history)
        for pod in self.field.pods():
            client = Client(Targets(pod.address, []), 1)
            for first in range(0, len(points), 500):
                self.ask(client, points[first:first + 500])
            self.scroll(client, pod.name)
        if FACTOR > 1:
            self.copies_equal()

    def ask(self, client: Client, points: list[int]) -> None:
        began = time.monotonic_ns()
        answer = self.patiently(client, "", {"ids": points, "with_payload": True, "with_vector": True})
        self.fleet.note(client, points, answer, began, strong=True)

    def scroll(self, client: Client, where: str) -> None:
        found, offset = {}, None
        while True:
            page = self.patiently(client, "/scroll", {"limit": 1000, "offset": offset, "with_payload": True, "with_vector": True})
            found |= {p["id"]: p for p in page["points"]}
            offset = page["next_page_offset"]
            if offset is None:
                break
        for point in found.keys() - self.fleet.history.keys():
            self.problems.append(f"{where}: point {point} is there, and nobody wrote it")
        for point, ops in self.fleet.history.items():
            value = read_point(found[point]) if point in found else ABSENT
            if value != ops[-1].value:
                self.problems.append(f"{where}: point {point} has {value} in a scroll, and {ops[-1].value} when it is read by its id")

    def patiently(self, client: Client, path: str, body: dict):
        def answer():
            try:
                answer = client.call("POST", f"{self.fleet.path}{path}?timeout=10", body)
                return None if client.stale else answer
            except (Refused, Unknown):
                return None

        return wait_until(answer, 30, f"an answer of {client.targets.service} to a read of {NAME}", 0.2)["result"]

    def copies_equal(self) -> None:
        """What each copy of a shard holds, asked of its own node over the internal port, where copies that follow answer too."""
        peers = Peers()
        places = {p.name: p.address for p in self.field.pods()}
        for record in self.field.records():
            spec = record["spec"]
            copies = {c["pod"]: places[c["pod"]] for c in spec["copies"]}

            def alike():
                held = [peers.points(address, spec["shard"]) for address in copies.values()]
                return all(h == held[0] for h in held)

            try:
                # A copy that follows hears what is committed with the next message.
                wait_until(alike, 30, f"the copies of shard {spec['shard']} are equal", 0.5)
            except TimeoutError as error:
                self.problems.append(f"{error}: {sorted(copies)}")

    def contradictions(self) -> list[str]:
        """What can't have been: first by writes and strong reads alone, then with ordinary reads, which may be late."""
        self.problems += self.fleet.wrong
        for point, ops in self.fleet.history.items():
            if said := contradiction(ops):
                self.problems.append(f"point {point} of shard {self.fleet.ranges.shard(point)}: {said}")
            elif said := contradiction([*ops, *(stale_by(o, STALENESS) for o in self.fleet.ordinary.get(point, ()))]):
                self.problems.append(f"point {point}, read in the ordinary way: {said}")
        for point in self.fleet.ordinary.keys() - self.fleet.history.keys():
            self.problems.append(f"point {point} was seen, and nobody wrote it")
        return self.problems
