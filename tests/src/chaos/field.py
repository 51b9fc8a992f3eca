"""The collection under attack, its fleet, and what is measured of a fault."""
import time
from bisect import bisect_left
from collections import Counter
from contextlib import suppress
from pathlib import Path

from faults import Fault
from figures import bytes_by_pod, quantile
from fleet import Fleet
from ground import SYSTEM, ApiServer, Pod, operators_are_ready
from harness import kubernetes as k
from harness.limits import full
from harness.node import wait_until
from points import SIZE, Ranges
from probe import Probe
from rest import Client, Refused, Targets, Unknown
from s3 import Server, secret
from sizes import FACTOR, FAILOVER_P99, NODES, READY_SECONDS, RECOVERY_SECONDS, SHARDS, VOLUME_MIB

SPACE, NAME = "chaos", "ledger"
LABEL = {"quiver.dev/collection": NAME}
SNAPSHOTS = {"destination": Server.destination(NAME), "schedule": {"cron": "* * * * *"}, "retention": {"keepLast": 3}}


def resource(**spec) -> dict:
    replication = {"factor": FACTOR} if FACTOR == 1 else {"factor": FACTOR, "minInSync": FACTOR - 1}
    plain = {"quantization": None, "optimizers": None, "payloadIndexes": None}
    made = k.collection(NAME, SPACE, vectors=[{"name": "", "size": SIZE, "distance": "Euclid"}], shards=SHARDS, nodes=NODES, replication=replication, storage={"size": f"{VOLUME_MIB}Mi"}, snapshots=SNAPSHOTS, **plain)
    made["spec"] = {key: value for key, value in {**made["spec"], **spec}.items() if value is not None}
    return made


class Field:
    factor = FACTOR

    def __init__(self, cluster, seed: int, folder: Path):
        self.cluster, self.api = cluster, ApiServer()
        k.apply(k.namespace(SPACE), secret(SPACE), resource())
        k.wait_condition("vc", NAME, SPACE, "Ready", 240)
        address = k.get("service", NAME, SPACE)["spec"]["clusterIP"]
        self.targets = Targets(address, [p.address for p in self.pods()])
        self.probe = Probe(address, NAME, folder / "searches")
        self.fleet = Fleet(NAME, SHARDS, Ranges(self.records()), self.targets, FACTOR > 1, seed)
        self.measured = []  # one dictionary for each fault
        self.handovers = []  # the longest gap of each shard in each time that shards were handed over as planned

    # What is there

    def records(self) -> list[dict]:
        return [s for s in k.get("vs", namespace=SPACE) if s["spec"]["collection"] == NAME]

    def pods(self) -> list[Pod]:
        """By name, those that have a place."""
        return sorted((Pod(p) for p in k.get("pods", namespace=SPACE, **LABEL) if p["spec"].get("nodeName")), key=lambda p: p.name)

    def pod(self, number: int) -> Pod:
        pods = self.pods()
        return pods[number % len(pods)]

    def led_by(self) -> dict[int, str]:
        """The pod of each shard's primary copy."""
        return {r["spec"]["shard"]: next(c["pod"] for c in r["spec"]["copies"] if c["id"] == r["spec"]["primary"]) for r in self.records()}

    def snapshots(self) -> dict[str, str]:
        """The state of each VectorSnapshot that was begun, by name."""
        return {s["metadata"]["name"]: s.get("status", {}).get("state", "") for s in k.get("vectorsnapshots", namespace=SPACE)}

    def reads_from(self, pod: Pod) -> bool:
        """Whether the node itself answers for some points of shards that it leads."""
        shards = [s for s, leader in self.led_by().items() if leader == pod.name]
        points = [r.point for s in shards for r in self.fleet.registers[s][:5]]
        client = Client(Targets(pod.address, []), 1)
        with suppress(Refused, Unknown):
            client.call("POST", f"/collections/{NAME}/points?timeout=2", {"ids": points})
            return True
        return False

    # Time passes

    def hold(self, seconds: float) -> None:
        """Lets the fleet work for so long."""
        end = time.monotonic() + seconds
        wait_until(lambda: self.well() and time.monotonic() >= end, seconds + 30, "time passes")

    def well(self) -> bool:
        assert not self.fleet.wrong, self.fleet.wrong[0]
        return True

    def retarget(self) -> None:
        with suppress(k.Refused):
            self.targets.pods = [p.address for p in self.pods() if p.ready and p.address]

    def written(self, since: int) -> bool:
        """Every shard has acknowledged a write that began after `since`."""
        self.retarget()
        return self.well() and all(self.first_ack(s, since) for s in range(SHARDS))

    def settled(self, since: int, nodes: int = NODES) -> bool:
        """Every pod ready, the collection Ready, and every shard written."""
        try:
            pods, collection = self.pods(), k.get("vc", NAME, SPACE)
        except k.Refused:
            return False
        current = collection["status"].get("observedGeneration") == collection["metadata"]["generation"]
        ready = current and k.condition(collection, "Ready")["status"] == "True"
        return self.written(since) and ready and len(pods) == nodes and all(p.ready for p in pods)

    def calm(self, seconds: float = 5) -> bool:
        """Every copy is in sync, those of a shard are apart, nothing is about to be handed over or moved, and for some seconds no write failed."""
        copies = [c for r in self.records() for c in r["spec"]["copies"]]
        whole = len(copies) == SHARDS * FACTOR and all(c["inSync"] for c in copies)
        still = k.condition(k.get("vc", NAME, SPACE), "Progressing")["status"] == "False"
        return self.well() and whole and still and self.apart() and not self.failed(time.monotonic_ns() - int(seconds * 1e9))

    def apart(self) -> bool:
        """The copies of each shard are on different machines, unless all pods are on one. A drained pod may have gone to the machine of another one."""
        machines = {p.name: p.machine for p in self.pods()}
        shared = [r for r in self.records() if len({machines.get(c["pod"]) for c in r["spec"]["copies"]}) < len(r["spec"]["copies"])]
        return not shared or len(set(machines.values())) == 1

    def wait_settled(self, since: int, seconds: float = RECOVERY_SECONDS, nodes: int = NODES) -> None:
        try:
            wait_until(lambda: self.written(since), seconds, "every shard takes writes", 0.5)
            wait_until(lambda: self.settled(since, nodes), READY_SECONDS, "all is well again", 0.5)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.told(since)}") from None

    def told(self, since: int) -> str:
        """What there is to say when it does not come back."""
        stuck = [s for s in range(SHARDS) if not self.first_ack(s, since)]
        said = [f"shard {s}: {self.fleet.errors[s][-1][1]}" for s in stuck if self.fleet.errors[s]]
        with suppress(k.Refused):
            said.append(k.kubectl("get", "pods,vc,vs", "-n", SPACE, "-o", "wide"))
            said += [f"{p.name}:\n{k.kubectl('logs', p.name, '-n', SPACE, '--tail=15')}" for p in self.pods()]
        return "\n".join([f"no writes in shards {stuck}", *said])

    def story(self, shards: list[int], since: int) -> str:
        """What writers of these shards were told since a moment, by second, and what nodes and operators said meanwhile."""
        told = Counter((round((began - since) / 1e9), s, said.split('"},"time"')[0][:160]) for s in shards for began, said in self.fleet.errors[s] if began > since)
        lines = [f"+{second} s, shard {s}, {times} times: {said}" for (second, s, said), times in sorted(told.items())]
        seconds = (time.monotonic_ns() - since) // 10**9 + 5
        pods = [(SPACE, p.name) for p in self.pods()] + [(SYSTEM, p["metadata"]["name"]) for p in k.get("pods", namespace=SYSTEM)]
        for namespace, pod in pods:
            with suppress(k.Refused):
                lines += [f"{pod}:", k.kubectl("logs", pod, "-n", namespace, f"--since={seconds}s", "--tail=200")]
        return "\n".join(lines)

    # Figures

    def first_ack(self, shard: int, since: int) -> int | None:
        """When the first write was acknowledged that began after a moment."""
        for began, ended in self.fleet.acks[shard][-2000:]:
            if began > since:
                return ended
        return None

    def gap(self, shard: int, first: int, last: int) -> float:
        """The longest time without an acknowledgement between two moments, in seconds."""
        acks = sorted(ended for _, ended in list(self.fleet.acks[shard]))
        inside = [first, *acks[bisect_left(acks, first):bisect_left(acks, last)], last]
        return max(b - a for a, b in zip(inside, inside[1:])) / 1e9

    def handed_over(self, first: int, last: int) -> list[float]:
        """The longest gap of each shard between two moments at which nothing failed but shards were handed over."""
        gaps = [self.gap(s, first, last) for s in range(SHARDS)]
        self.handovers += gaps
        return gaps

    def failovers(self) -> list[float]:
        """Seconds from when a node died until a shard that it led took a write, of every such shard."""
        return [took for m in self.measured if m["fails_over"] for took in m["failover"]]

    def search_p99(self, first: int, last: int) -> float:
        """Of searches that were answered between two moments, in seconds."""
        return quantile(self.probe.took(first, last), 0.99)

    def uncured(self, since: int, seconds: float) -> list[str]:
        """Clients that were not served for so long, however often they tried again."""
        now, clients = time.monotonic_ns(), self.fleet.clients.items()
        return [f"{name}: {took:.1f} s" for name, client in clients for took in client.streak.longer(seconds, since, now)]

    def bytes_by_pod(self) -> dict[str, int]:
        """As the operator knows them, which evens them out."""
        shards = [(r.get("status", {}).get("bytes", 0), [c["pod"] for c in r["spec"]["copies"]]) for r in self.records()]
        return bytes_by_pod(shards, [p.name for p in self.pods()])

    def failed(self, since: int) -> list[str]:
        """What writes were told that began after a moment and weren't acknowledged."""
        return [said for errors in self.fleet.errors for began, said in errors if began > since]

    def run(self, fault: Fault) -> None:
        """Injects, lets it last, heals, waits until all is well, and measures. When it begins every copy is in sync and every operator there:
        a fault on top of what the one before left behind would be two, and two may take both copies of a shard."""
        wait_until(self.calm, RECOVERY_SECONDS, "writes succeed, and every copy is in sync", 0.5)
        wait_until(operators_are_ready, READY_SECONDS, "every operator is ready", 0.5)
        fault.prepare()
        leaders, victim = self.led_by(), fault.victim
        led = sorted(s for s, pod in leaders.items() if victim and pod == victim.name)
        begun = time.monotonic_ns()
        try:
            fault.inject()
            injected = time.monotonic_ns()
            fault.during()
            fault.check()
        finally:
            healing = time.monotonic_ns()
            fault.heal()
        self.wait_settled(healing)
        settled = time.monotonic_ns()
        fault.after()
        over = {s: (self.first_after(s, injected) - begun) / 1e9 for s in led}
        gaps = [self.gap(s, begun, settled) for s in range(SHARDS)]
        kept = [g for s, g in enumerate(gaps) if s not in led]
        name = victim.name if victim else "-"
        self.measured.append({"kind": fault.kind, "begun": begun, "settled": settled, "fails_over": fault.fails_over, "failover": list(over.values()), "gaps": gaps})
        print(f"  {fault.kind:36} {name:9} {fault.lasts:5.1f} s; shards it led {led}: first write after {', '.join(f'{t:.1f}' for t in over.values()) or '-'} s; "
              f"longest gap {max(gaps):.1f} s, elsewhere {max(kept, default=0):.1f} s; well {(settled - healing) / 1e9:.1f} s after healing", flush=True)
        slow = [s for s, g in enumerate(gaps) if g > FAILOVER_P99]
        if slow and full():
            print(self.story(slow, begun), flush=True)

    def first_after(self, shard: int, since: int) -> int:
        return next(ended for began, ended in sorted(list(self.fleet.acks[shard])) if began > since)
