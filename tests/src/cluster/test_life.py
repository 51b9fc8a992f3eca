"""The whole product on a real cluster, in the order in which a user meets it. Each test stands on those before it."""
import json
import os
import threading
from pathlib import Path

import pytest
from harness import cache
from harness import kubernetes as k
from harness.dataset import FILTERS, DataSet, recall
from harness.node import wait_until
from images import NODE, OPERATOR
from qdrant_client import QdrantClient, models
from s3 import secret

SYSTEM, SPACE = "quiver-system", "search"
EVERY_MINUTE = {"cron": "* * * * *", "timeZone": "Etc/UTC", "jitterSeconds": 0}
EXACT = models.SearchParams(exact=True)


@pytest.fixture(scope="module")
def data():
    return DataSet.load(Path(os.environ["QUIVER_DATA_SET"]))


class Docs:
    """The collection that all tests here are about."""

    def __init__(self, minio, data):
        self.minio, self.data = minio, data
        self.spec = k.collection("docs", SPACE, snapshots={"destination": minio.destination("docs"), "schedule": {**EVERY_MINUTE, "suspend": True}, "retention": {"keepLast": 10}})
        self.expected = len(data.vectors)
        self.reaches = {}

    def client(self, service: str = "docs") -> QdrantClient:
        """The unmodified client, through the Service."""
        if service not in self.reaches:
            self.reaches[service] = k.Reach(service, SPACE, 6333)
        return QdrantClient(url=self.reaches[service].url, timeout=300, check_compatibility=False)

    def schedule(self, suspend: bool) -> None:
        k.apply(k.changed(self.spec, "spec.snapshots.schedule.suspend", suspend))

    def wait_green(self) -> None:
        """Until every segment has its graph and nothing is left to merge."""
        wait_until(lambda: self.client().get_collection("docs").status == models.CollectionStatus.GREEN, 900, "docs is green", 1)

    def answers(self, service: str, queries: int = 40) -> list:
        """Exact answers with scores, unfiltered and filtered."""
        asked = [models.QueryRequest(query=q.tolist(), limit=10, params=EXACT, filter=models.Filter(must=conditions) if conditions else None)
                 for q in self.data.queries[:queries] for conditions in (FILTERS["none"], FILTERS["bucket 10 %"], FILTERS["lex 1 %"])]
        return [[(p.id, round(p.score, 5)) for p in answer.points] for answer in self.client(service).query_batch_points(service, asked)]


@pytest.fixture(scope="module")
def docs(minio, data):
    return Docs(minio, data)


def snapshots() -> list[dict]:
    """Complete ones, oldest first."""
    done = [s for s in k.get("vsnap", namespace=SPACE) if k.condition(s, "Complete")["status"] == "True"]
    return sorted(done, key=lambda s: s["metadata"]["creationTimestamp"])


def snapshot(name: str, collection: str = "docs", namespace: str = SPACE) -> dict:
    return {"apiVersion": "quiver.dev/v1alpha1", "kind": "VectorSnapshot", "metadata": {"name": name, "namespace": namespace}, "spec": {"collectionRef": {"name": collection}}}


def test_chart_installs(cluster):
    k.apply(k.namespace(SYSTEM), k.namespace(SPACE), secret(SPACE))
    name, tag = OPERATOR.split(":")
    k.run("helm", "upgrade", "--install", "quiver", str(k.CHART), "-n", SYSTEM, "--set", f"image.repository={name},image.tag={tag},defaults.nodeImage={NODE}", "--wait", "--timeout=3m")


def test_wrong_spec_is_refused_in_words(cluster):
    for path, value, words in k.WRONG:
        said = k.refusal(k.changed(k.collection("wrong", SPACE), path, value))
        assert all(word in said for word in words), said


def test_collection_of_three_nodes_and_six_shards_becomes_ready(docs):
    k.apply(docs.spec)
    ready = k.wait_condition("vc", "docs", SPACE, "Ready", 240)
    assert ready["status"]["nodes"] == 3 and ready["status"]["readyNodes"] == 3
    assert ready["status"]["shards"]["available"] == 6
    nodes = {p["spec"]["nodeName"] for p in k.get("pods", namespace=SPACE, **{"quiver.dev/collection": "docs"})}
    assert len(nodes) == 3, "one node of the collection on each machine"


def test_glosses_load_through_the_service_and_are_found(docs, data):
    client = docs.client()
    step = 1000
    for first in range(0, len(data.vectors), step):
        part = slice(first, first + step)
        client.upsert("docs", models.Batch(ids=list(range(len(data.vectors)))[part], vectors=data.vectors[part].tolist(), payloads=data.payloads[part]), wait=True)
    assert client.count("docs", exact=True).count == docs.expected
    docs.wait_green()
    for kind, conditions in FILTERS.items():
        asked = [models.QueryRequest(query=q.tolist(), limit=10, params=models.SearchParams(hnsw_ef=128), filter=models.Filter(must=conditions) if conditions else None) for q in data.queries[:200]]
        found = [[p.id for p in answer.points] for answer in client.query_batch_points("docs", asked)]
        assert recall(found, data.neighbours[kind][:200]) >= 0.97, kind
    page, _ = client.scroll("docs", limit=3, scroll_filter=models.Filter(must=[models.FieldCondition(key="lex", match=models.MatchValue(value="noun.time"))]))
    assert [p.payload["lex"] for p in page] == ["noun.time"] * 3


def test_schema_belongs_to_the_resource(docs):
    """What REST may not do to a managed collection is refused with the name of the resource to edit."""
    client = docs.client()
    with pytest.raises(Exception, match="403.*(?s:.*)VectorCollection"):
        client.delete_collection("docs")
    client.create_payload_index("docs", "n_words", "integer")
    assert "n_words" in client.get_collection("docs").payload_schema


def test_snapshots_come_on_schedule_and_the_next_uploads_only_what_changed(docs, minio):
    docs.schedule(suspend=False)
    first = wait_until(snapshots, 300, "a first snapshot", 1)[0]
    assert first["spec"]["origin"] == "Schedule" and first["status"]["points"] == docs.expected
    assert sum(o.size for o in minio.objects().values()) > docs.expected * 384 * 4 * 0.9, "the vectors are in S3"
    # A snapshot seals what was in memory; where that was worth a merge, segments were written anew. Now nothing moves any more.
    docs.wait_green()
    k.apply(snapshot("by-hand"))
    k.wait_condition("vsnap", "by-hand", SPACE, "Complete", 120)
    before = minio.objects()
    fresh = 20
    docs.client().upsert("docs", [models.PointStruct(id=10_000_000 + i, vector=docs.data.queries[i].tolist(), payload={"pos": "new", "bucket": 5000}) for i in range(fresh)], wait=True)
    docs.expected += fresh
    last = wait_until(lambda: [s for s in snapshots() if s["status"]["points"] == docs.expected], 300, "a snapshot with the new points", 1)[-1]
    docs.schedule(suspend=True)
    after = minio.objects()
    assert all(after[name].last_modified == o.last_modified for name, o in before.items()), "nothing was uploaded twice"
    uploaded = sum(o.size for name, o in after.items() if name not in before)
    assert uploaded < 0.02 * sum(o.size for o in before.values()), f"{uploaded} bytes are new for {fresh} points"
    assert last["spec"]["origin"] == "Schedule" and last["status"]["manifestKey"] in after


def test_kubectl_get_is_readable(docs):
    text = k.kubectl("get", "vc,vs,vsnap", "-n", SPACE)
    print(text)
    rows = [line.split() for line in text.splitlines()]
    assert any(r[0].endswith("/docs") and "True" in r for r in rows if r)
    assert sum(1 for r in rows if r and "vectorshard" in r[0] and r[0].split("/")[1].startswith("docs-")) == 6
    assert any("vectorsnapshot" in r[0] for r in rows if r)
    assert "<unknown>" not in text and "<invalid>" not in text


def test_new_collection_restored_from_a_snapshot_answers_the_same(docs):
    ref = {"name": snapshots()[-1]["metadata"]["name"]}
    k.apply(k.collection("again", SPACE, nodes=2, bootstrap={"type": "Snapshot", "snapshot": {"ref": ref}}, deletionPolicy="Delete", snapshots={"destination": docs.minio.destination("docs")}))
    k.wait_condition("vc", "again", SPACE, "Ready", 300)
    assert docs.client("again").count("again", exact=True).count == docs.expected
    assert docs.answers("again") == docs.answers("docs")
    assert {"pos", "lex", "bucket", "date"} <= docs.client("again").get_collection("again").payload_schema.keys()


def twice(kind: str) -> list[dict]:
    """Objects of that kind that belong to the collection of two copies."""
    return k.get(kind, namespace=SPACE, **{"quiver.dev/collection": "twice"})


def patch_twice(spec: dict) -> None:
    k.kubectl("patch", "vc", "twice", "-n", SPACE, "--type=merge", "-p", json.dumps({"spec": spec}))


def wait_twice_whole(pods: int) -> None:
    """Until all pods run, every shard has its two copies, in sync and on two of them, and nothing is left to be evened out."""
    def whole() -> bool:
        shards = twice("vs")
        copies = [s["spec"]["copies"] for s in shards]
        running = {p["metadata"]["name"] for p in twice("pods") if not p["metadata"].get("deletionTimestamp")}
        even = all(is_even(of, running) for of in ([c["pod"] for of in copies for c in of], [s.get("status", {}).get("pod") for s in shards]))
        return even and len(running) == pods and len(copies) == 3 and all(len(of) == len({c["pod"] for c in of if c["inSync"]} & running) == 2 for of in copies)

    wait_until(whole, 180, f"two copies of each shard, in sync and even on {pods} pods", 0.5)
    k.wait_condition("vc", "twice", SPACE, "Ready", 120)
    k.wait_condition("vc", "twice", SPACE, "Replicated", 60)


def is_even(placed: list[str], pods: set[str]) -> bool:
    """Whether none of these pods has two more of what is placed than another."""
    counts = [placed.count(pod) for pod in pods]
    return bool(counts) and sum(counts) == len(placed) and max(counts) - min(counts) < 2


def put_twice(docs, first: int) -> int:
    """Sixty points, over all shards of `twice`; tried again until they are acknowledged. Gives how many there are then."""
    ids = list(range(first, first + 60))
    points = models.Batch(ids=ids, vectors=[docs.data.queries[i % 1000].tolist() for i in ids])

    def acknowledged():
        try:
            return docs.client("twice").upsert("twice", points, wait=True, timeout=10)
        except Exception:  # not acknowledged: shards wait for another copy to lead
            return None

    wait_until(acknowledged, 90, f"points from {first} on are acknowledged", 0.5)
    return first + len(ids)


def test_collection_keeps_two_copies_of_each_shard(docs):
    k.apply(k.collection("twice", SPACE, shards=3, replication={"factor": 2}, deletionPolicy="Delete"))
    k.wait_condition("vc", "twice", SPACE, "Ready", 240)
    # There is a third copy while one moves, because nodes were unequally full at first.
    wait_twice_whole(3)
    assert put_twice(docs, 0) == docs.client("twice").count("twice", exact=True).count


def untold_of_dead(pod: str, led: set[int], held: set[int]) -> list[str]:
    """What `kubectl get vs`, conditions and Events don't say yet of the shards of a pod that died, of which it led some."""
    shards = {s["spec"]["shard"]: s for s in twice("vs")}
    whole = k.condition(k.get("vc", "twice", SPACE), "Replicated")
    events = json.loads(k.kubectl("get", "events", "-n", SPACE, "--field-selector=reason=Promoted", "-o", "json"))["items"]
    said = [e["message"] for e in events]
    untold = [f"shard {n} is led by another pod: {s['status']}" for n, s in shards.items() if s["status"]["state"] != "Leading" or s["status"]["pod"] == pod]
    untold += [f"shard {n} has one copy: {shards[n]['status']}" for n in held if not shards[n]["status"]["copies"].startswith("1/")]
    untold += [f"shard {n} was promoted because {pod} is silent: {said}" for n in led if not any(m.startswith(f"shard {n}: ") and f"because {pod} is silent" in m for m in said)]
    untold += [f"copies lack: {whole}"] if whole["status"] != "False" or not whole["message"] else []
    return untold


def test_node_killed_and_revived_loses_nothing(docs, cluster, minio):
    pods = {p["metadata"]["name"]: p["spec"]["nodeName"] for p in k.get("pods", namespace=SPACE, **{"quiver.dev/collection": "docs"})}
    # The machine of the operator that acts, if it may be: the other one has to go on.
    acts = k.get("lease", "quiver-operator", SYSTEM)["spec"]["holderIdentity"]
    operator = next(p["spec"]["nodeName"] for p in k.get("pods", namespace=SYSTEM) if p["metadata"]["name"] == acts)
    victim = next(n for n in sorted(pods.values(), key=lambda n: n != operator) if n != minio.node)
    acknowledged, stop, client = set(), threading.Event(), docs.client()
    dead = next(p["metadata"]["name"] for p in twice("pods") if p["spec"]["nodeName"] == victim)
    copies = {s["spec"]["shard"]: (s["status"]["pod"], {c["pod"] for c in s["spec"]["copies"]}) for s in twice("vs")}
    led, held = {n for n, (pod, _) in copies.items() if pod == dead}, {n for n, (_, pods) in copies.items() if dead in pods}

    def write():
        for i in range(20_000_000, 20_100_000):
            if stop.is_set():
                return
            try:
                client.upsert("docs", [models.PointStruct(id=i, vector=docs.data.queries[i % 1000].tolist(), payload={"pos": "late"})], wait=True, timeout=5)
                acknowledged.add(i)
            except Exception:  # a shard on the dead node: not acknowledged, so nothing is promised
                continue

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(acknowledged) > 50, 60, "writes before the kill", 0.1)
        cluster.do("kill", victim)
        k.kubectl("wait", f"node/{victim}", "--for=condition=Ready=Unknown", "--timeout=90s")
        told = k.wait_condition("vc", "docs", SPACE, "Ready", 90, status="False")
        assert k.condition(told, "Ready")["message"]
        # Where there are two copies, the other one leads by now.
        written = put_twice(docs, 60)
        wait_until(lambda: not untold_of_dead(dead, led, held), 60, f"what became of the shards {held} of {dead}, which led {led}, is told", 0.5, lambda: untold_of_dead(dead, led, held))
        print(k.kubectl("get", "vs", "-n", SPACE, "-l", "quiver.dev/collection=twice"))
    finally:
        cluster.do("revive", victim)
        k.kubectl("wait", f"node/{victim}", "--for=condition=Ready", "--timeout=120s")
        k.wait_condition("vc", "docs", SPACE, "Ready", 240)
        stop.set()
        writer.join()
    k.wait_condition("vc", "twice", SPACE, "Replicated", 120)
    assert docs.client("twice").count("twice", exact=True).count == written
    found = set()
    offset = None
    while True:
        page, offset = client.scroll("docs", limit=1000, offset=offset, with_payload=False, scroll_filter=models.Filter(must=[models.FieldCondition(key="pos", match=models.MatchValue(value="late"))]))
        found |= {p.id for p in page}
        if offset is None:
            break
    assert acknowledged <= found, f"lost: {sorted(acknowledged - found)[:10]}"
    late = models.Filter(must_not=[models.FieldCondition(key="pos", match=models.MatchValue(value="late"))])
    assert client.count("docs", count_filter=late, exact=True).count == docs.expected
    assert len(docs.answers("docs")[0]) == 10


def test_scaling_in_can_be_called_off(docs):
    """Copies are on their way from the last pod when it is said to stay: no pod goes, and nothing is lost."""
    wait_twice_whole(3)
    before = {p["metadata"]["uid"] for p in twice("pods")}
    k.kubectl("scale", "vc/twice", "-n", SPACE, "--replicas=2")
    wait_until(lambda: any(len(s["spec"]["copies"]) > 2 for s in twice("vs")), 60, "a copy is made elsewhere", 0.1)
    k.kubectl("scale", "vc/twice", "-n", SPACE, "--replicas=3")
    wait_twice_whole(3)
    assert {p["metadata"]["uid"] for p in twice("pods")} == before
    assert put_twice(docs, 120) == docs.client("twice").count("twice", exact=True).count


def test_collection_sleeps_and_wakes_with_what_it_had(docs):
    patch_twice({"hibernate": True})
    wait_until(lambda: not twice("pods"), 120, "no pod runs", 0.5)
    k.wait_condition("vc", "twice", SPACE, "Ready", 30, status="False")
    asleep = k.get("vc", "twice", SPACE)
    assert k.condition(asleep, "Ready")["reason"] == "Hibernating" and "set it to false" in k.condition(asleep, "Progressing")["message"], asleep["status"]
    assert len(twice("vs")) == 3 and len(twice("pvc")) == 3
    patch_twice({"hibernate": False})
    wait_twice_whole(3)
    assert docs.client("twice").count("twice", exact=True).count == 180
    assert put_twice(docs, 180) == docs.client("twice").count("twice", exact=True).count


def test_volumes_grow_under_running_pods(docs):
    before = {p["metadata"]["uid"] for p in twice("pods")}
    patch_twice({"storage": {"size": "3Gi"}})
    wait_until(lambda: [c["status"]["capacity"]["storage"] for c in twice("pvc")] == ["3Gi"] * 3, 60, "every volume is larger", 0.5)
    k.wait_condition("vc", "twice", SPACE, "Ready", 60)
    assert {p["metadata"]["uid"] for p in twice("pods")} == before
    said = k.refusal(k.collection("twice", SPACE, shards=3, replication={"factor": 2}, deletionPolicy="Delete", storage={"size": "2Gi"}))
    assert "volumes can't shrink" in said, said


def test_shards_are_split_under_a_writer(docs):
    """Two shards become four, and no point that was acknowledged is lost, there twice, or not found."""
    name, data = "halves", docs.data
    k.apply(k.collection(name, SPACE, shards=2, replication={"factor": 2}, deletionPolicy="Delete"))
    k.wait_condition("vc", name, SPACE, "Ready", 240)
    k.wait_condition("vc", name, SPACE, "Replicated", 120)
    client = docs.client(name)
    loaded = 4000
    for first in range(0, loaded, 1000):
        ids = list(range(first, first + 1000))
        client.upsert(name, models.Batch(ids=ids, vectors=data.vectors[first:first + 1000].tolist()), wait=True)
    acknowledged, deleted, failed, stop = set(range(loaded)), set(), [], threading.Event()

    def write():
        for i in range(loaded, 100_000):
            if stop.is_set():
                return
            try:
                client.upsert(name, [models.PointStruct(id=i, vector=data.vectors[i % len(data.vectors)].tolist())], wait=True, timeout=60)
                acknowledged.add(i)
                if i % 4 == 0 and i - loaded < loaded - 100:
                    client.delete(name, [i - loaded], wait=True, timeout=60)
                    deleted.add(i - loaded)
            except Exception as e:
                failed.append((i, str(e)))

    def served() -> bool:
        records = k.get("vs", namespace=SPACE, **{"quiver.dev/collection": name})
        ends = sorted((r["spec"]["range"]["first"], r["spec"]["range"]["last"]) for r in records)
        apart = all(int(a[1], 16) + 1 == int(b[0], 16) for a, b in zip(ends, ends[1:]))
        # Each read sees all of the points that were there before the writer began and that it leaves alone.
        kept = list(range(loaded - 20, loaded))
        found = client.retrieve(name, kept, with_payload=False)
        assert [p.id for p in found] == kept
        return len(records) == 4 and apart and not any("split" in r["spec"] for r in records)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: len(acknowledged) > loaded + 20, 60, "writes before the split", 0.1)
        said = k.refusal(k.changed(k.collection(name, SPACE, shards=2, replication={"factor": 2}, deletionPolicy="Delete"), "spec.shards", 3))
        assert "halving" in said, said
        k.kubectl("patch", "vc", name, "-n", SPACE, "--type=merge", "-p", '{"spec":{"shards":4}}')
        wait_until(lambda: k.condition(k.get("vc", name, SPACE), "Progressing")["reason"] == "SplittingShards", 60, "it says so", 0.2)
        wait_until(served, 240, "two shards have become four", 0.5)
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 20, 60, "writes after the split", 0.1)
    finally:
        stop.set()
        writer.join()
    k.wait_condition("vc", name, SPACE, "Ready", 120)
    k.wait_condition("vc", name, SPACE, "Replicated", 120)
    print(f"{len(acknowledged)} acknowledged, {len(failed)} failed: {failed[:3]}")
    unsure = {i for i, _ in failed} | {i - loaded for i, _ in failed}
    expected = acknowledged - deleted
    found, offset = [], None
    while True:
        page, offset = client.scroll(name, limit=1000, offset=offset, with_payload=False)
        found += [p.id for p in page]
        if offset is None:
            break
    assert len(found) == len(set(found)), "a point is there twice"
    assert not (expected - set(found)) - unsure and not (set(found) - expected) - unsure
    assert client.count(name, exact=True).count == len(found)
    sample = sorted(expected - unsure)[:: max(1, len(expected) // 200)]
    near = client.query_batch_points(name, [models.QueryRequest(query=data.vectors[i % len(data.vectors)].tolist(), limit=20, params=EXACT) for i in sample])
    for i, answer in zip(sample, near):
        assert i in {p.id for p in answer.points if p.score > 0.999}, i
    events = json.loads(k.kubectl("get", "events", "-n", SPACE, "--field-selector=reason=SplitBegun", "-o", "json"))["items"]
    assert {e["message"].split(":")[0] for e in events} >= {"shard 0 is split", "shard 1 is split"}, events


def test_helm_test_passes(docs):
    k.run("helm", "test", "quiver", "-n", SYSTEM, "--timeout=4m", seconds=300)


def test_rights_of_the_operator_sufficed(docs):
    said = k.kubectl("logs", "deployment/quiver-operator", "-n", SYSTEM, "--all-pods=true", "--tail=-1").lower()
    assert "forbidden" not in said, [line for line in said.splitlines() if "forbidden" in line][:3]


def test_uninstall_leaves_only_what_deletion_policy_retains(docs):
    # One that somebody forgot: it waits for a collection that never comes, with a finalizer that only the operator serves.
    k.apply(k.namespace("forgotten"), snapshot("forgotten", "nobody", "forgotten"))
    wait_until(lambda: k.get("vsnap", "forgotten", "forgotten")["metadata"].get("finalizers"), 30, "a finalizer", 0.2)
    k.kubectl("delete", "vsnap", "--all", "-n", SPACE, "--timeout=120s", seconds=150)
    k.kubectl("delete", "vc", "--all", "-n", SPACE, "--timeout=120s", seconds=150)
    wait_until(lambda: not k.get("pods", namespace=SPACE), 120, "the pods are gone", 0.5)
    k.run("helm", "uninstall", "quiver", "-n", SYSTEM, "--wait")
    k.kubectl("delete", "namespace/forgotten", "--timeout=60s")
    k.kubectl("delete", "-f", str(cache.ROOT / "crds/yaml"), "--timeout=60s")
    # docs retains, the others delete.
    wait_until(lambda: {c["metadata"]["name"].rsplit("-", 2)[-2] for c in k.get("pvc", namespace=SPACE)} == {"docs"}, 60, "only the volumes of docs are left", 0.5)
    for space in (SPACE, SYSTEM):
        kinds = "deployment,statefulset,pod,service,poddisruptionbudget,networkpolicy,role,rolebinding,lease,job"
        # The garbage collector takes its time.
        wait_until(lambda: not k.kubectl("get", kinds, "-n", space, "-o", "name").split(), 60, f"nothing is left in {space}", 0.5)
        assert {s["metadata"]["name"] for s in k.get("secret", namespace=space)} <= {"s3"}
        assert [a["metadata"]["name"] for a in k.get("serviceaccount", namespace=space)] == ["default"]
    for kind in ("clusterrole", "clusterrolebinding", "crd", "validatingadmissionpolicy", "validatingadmissionpolicybinding"):
        assert not [o["metadata"]["name"] for o in k.get(kind) if "quiver" in o["metadata"]["name"]], kind
    # Deleting the VectorSnapshots removed their objects; nothing of them is left in S3.
    wait_until(lambda: not docs.minio.objects(), 60, "S3 is empty", 1)
