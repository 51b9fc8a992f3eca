"""An operator that is killed at every write comes through with all of its work, under a writer that loses nothing. Each test stands on those before it."""
import itertools
import threading
from contextlib import contextmanager

import pytest
from deaths import Mortal
from harness import kubernetes as k
from harness.node import wait_until
from harness.operator_process import SYSTEM, install
from qdrant_client import QdrantClient, models
from s3 import secret

SPACE, NAME = "mortal", "steps"
SECONDS = 150
POINTS = 200


class Writer:
    """Writes the same points again and again, each time with a higher number, until each is acknowledged."""

    def __init__(self):
        self.acknowledged, self.begun, self.failed = {}, 0, 0
        self.stopped = threading.Event()
        self.client = QdrantClient(url=k.Reach(NAME, SPACE, 6333).url, timeout=5, check_compatibility=False)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        for number in itertools.count(1):
            while not self.stopped.wait(0.02):
                try:
                    self.begun = number
                    self.client.upsert(NAME, [models.PointStruct(id=number % POINTS, vector=[number % 7, 1, 2, 3], payload={"number": number})], wait=True)
                    self.acknowledged[number % POINTS] = number
                    break
                except Exception:  # not acknowledged: its shard waits for a leader, or its machine is dead
                    self.failed += 1
            if self.stopped.is_set():
                return

    def goes_on(self, seconds: float = 60) -> None:
        """Until each point was written again."""
        last = self.begun + 1 + POINTS
        wait_until(lambda: self.begun > last, seconds, "every point is written again", 0.2)

    def judge(self) -> None:
        self.stopped.set()
        self.thread.join()
        page, _ = self.client.scroll(NAME, limit=10 * POINTS)
        found = {p.id: p.payload["number"] for p in page}
        print(f"{self.begun} writes, {self.failed} tries failed")
        assert len(page) == len(found) == POINTS
        lost = {point: (number, found[point]) for point, number in self.acknowledged.items() if not number <= found[point] <= self.begun}
        assert not lost, f"acknowledged and found: {lost}"


class Steps:
    """The collection, what writes to it, and the operator that dies."""

    def __init__(self, mortal: Mortal, minio):
        self.mortal, self.minio, self.writer = mortal, minio, None
        self.spec = k.collection(NAME, SPACE, vectors=[{"name": "", "size": 4, "distance": "Dot"}], payloadIndexes=[], nodes=2, shards=2, replication={"factor": 2}, deletionPolicy="Delete",
                                 snapshots={"destination": minio.destination(NAME)})

    def change(self, path: str, value) -> None:
        self.spec = k.changed(self.spec, path, value)
        k.apply(self.spec)

    def records(self) -> list[dict]:
        return k.get("vs", namespace=SPACE, **{"quiver.dev/collection": NAME})

    def pods(self) -> list[dict]:
        return k.get("pods", namespace=SPACE, **{"quiver.dev/collection": NAME})

    def even(self) -> bool:
        """Every shard of the spec has two copies in sync on two pods, and each pod as many as any other; nothing is under way."""
        nodes, shards = self.spec["spec"]["nodes"], self.spec["spec"]["shards"]
        records = self.records()
        copies = [c["pod"] for r in records for c in r["spec"]["copies"] if c["inSync"]]
        whole = all(len({c["pod"] for c in r["spec"]["copies"]}) == len(r["spec"]["copies"]) == 2 and "split" not in r["spec"] for r in records)
        each = [copies.count(f"{NAME}-{i}") for i in range(nodes)]
        return len(records) == shards and whole and sum(each) == len(copies) == 2 * shards and max(each) - min(each) <= 1

    def wait_done(self) -> None:
        nodes, shards = self.spec["spec"]["nodes"], self.spec["spec"]["shards"]
        try:
            wait_until(self.even, SECONDS, f"{shards} shards lie evenly on {nodes} nodes", 0.5)
            wait_until(lambda: len(self.pods()) == nodes, SECONDS, "as many pods as nodes", 0.5)
        except TimeoutError as error:
            said = [f"{c['type']}: {c['status']}, {c['message']}" for c in k.get("vc", NAME, SPACE).get("status", {}).get("conditions", [])]
            there = k.kubectl("get", "pods,pvc,vs", "-n", SPACE, "-o", "wide") + k.kubectl("get", "events", "-n", SPACE)
            raise TimeoutError("\n".join([str(error), *said, there])) from None
        for condition in ("Ready", "Replicated"):
            k.wait_condition("vc", NAME, SPACE, condition, SECONDS)
        k.wait_condition("vc", NAME, SPACE, "Progressing", SECONDS, status="False")

    @contextmanager
    def dies(self, least: int):
        """The operator died at so many steps at least meanwhile, before and after them."""
        since = len(self.mortal.deaths)
        try:
            yield
        finally:
            print(f"\n{len(self.mortal.deaths) - since} deaths; before and after\n{self.mortal.told(since)}")
        died = [done for _, done in self.mortal.deaths[since:]]
        assert len(died) >= least and set(died) == {False, True}, died


@pytest.fixture(scope="module")
def steps(cluster, minio, tmp_path_factory):
    if minio.reach.forward:
        pytest.skip("an operator outside of the cluster reaches pods only where the cluster's network is ours")
    k.apply(k.namespace(SYSTEM), k.namespace(SPACE), secret(SPACE))
    deployment = install("--set", "replicaCount=0,leaderElection.enabled=false")
    wait_until(lambda: not k.get("pods", namespace=SYSTEM), 60, "no operator runs in the cluster", 0.5)
    with Mortal(deployment, tmp_path_factory.mktemp("mortal")) as mortal:
        made = Steps(mortal, minio)
        yield made
        if made.writer:
            made.writer.stopped.set()
    print(f"the operator had {mortal.lives} lives")


def test_collection_becomes_ready(steps):
    with steps.dies(20):
        k.apply(steps.spec)
        steps.wait_done()
    steps.writer = Writer()
    steps.writer.goes_on()


def test_copies_move_to_a_new_node(steps):
    with steps.dies(6):
        steps.change("spec.nodes", 3)
        steps.wait_done()


def test_node_is_emptied_and_goes(steps):
    with steps.dies(6):
        steps.change("spec.nodes", 2)
        steps.wait_done()


def test_another_copy_leads_when_a_machine_dies(steps, cluster):
    victim = next(p for p in steps.pods() if p["spec"]["nodeName"] != steps.minio.node)
    name, machine = victim["metadata"]["name"], victim["spec"]["nodeName"]

    def led_by() -> list[str]:
        return [c["pod"] for r in steps.records() for c in r["spec"]["copies"] if c["id"] == r["spec"]["primary"]]

    assert name in led_by()
    with steps.dies(6):
        cluster.do("kill", machine)
        try:
            wait_until(lambda: name not in led_by(), SECONDS, f"no shard is led by {name}", 0.5)
            steps.writer.goes_on()
        finally:
            cluster.do("revive", machine)
        steps.wait_done()


def test_shards_are_split(steps):
    with steps.dies(8):
        steps.change("spec.shards", 4)
        steps.wait_done()
    steps.writer.goes_on()
    steps.writer.judge()


def test_snapshot_is_taken_and_its_objects_go_with_it(steps):
    taken = {"apiVersion": "quiver.dev/v1alpha1", "kind": "VectorSnapshot", "metadata": {"name": NAME, "namespace": SPACE}, "spec": {"collectionRef": {"name": NAME}}}
    with steps.dies(4):
        k.apply(taken)
        done = k.wait_condition("vsnap", NAME, SPACE, "Complete", SECONDS)
        assert done["status"]["points"] == POINTS and done["status"]["manifestKey"] in steps.minio.objects()
        k.kubectl("delete", "vsnap", NAME, "-n", SPACE, f"--timeout={SECONDS}s")
    assert not [name for name in steps.minio.objects() if name.startswith(NAME)]


def test_deleted_collection_leaves_nothing(steps):
    k.kubectl("delete", "vc", NAME, "-n", SPACE, f"--timeout={SECONDS}s")
    kinds = "statefulset,service,poddisruptionbudget,networkpolicy,role,rolebinding,vectorshard,secret,pod,pvc,lease"
    wait_until(lambda: {o.split("/")[1] for o in k.kubectl("get", kinds, "-n", SPACE, "-o", "name").split()} <= {"s3"}, SECONDS, "nothing is left", 0.5)
