"""Several operators, an operator of some namespaces only, namespaces that go. Runs after test_operator.py, on what that leaves."""
import json
import signal

import pytest
from harness import kubernetes as k
from harness.node import free_port, wait_until
from harness.operator_process import SYSTEM, Operator, install

SPACE = "search"


def made(kind: str, name: str, namespace: str = SPACE) -> bool:
    return name in {o["metadata"]["name"] for o in k.get(kind, namespace=namespace)}


def snapshot(name: str, collection: str, namespace: str) -> dict:
    return {"apiVersion": "quiver.dev/v1alpha1", "kind": "VectorSnapshot", "metadata": {"name": name, "namespace": namespace}, "spec": {"collectionRef": {"name": collection}}}


def test_second_operator_waits_takes_over_when_the_first_dies_and_lives_on_without_the_lease(operator, chart, tmp_path):
    wait_until(operator.leads, 60, "the first leads", 0.2)
    second = Operator(chart, tmp_path, "second", free_port()).start()
    try:
        assert not second.leads() and second.reconciles() == 0
        operator.stop(signal.SIGKILL)
        # A Lease of 15 seconds that nobody gave back.
        wait_until(second.leads, 60, "the second leads", 0.2)
        # Somebody takes the Lease away, and doesn't renew it: a process that ended would be started again later and later.
        taken = {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 5}}
        k.kubectl("patch", "lease", "quiver-operator", "-n", SYSTEM, "--type=merge", "-p", json.dumps(taken))
        wait_until(lambda: not second.leads(), 60, "the second sees that the Lease is lost", 0.2)
        wait_until(second.leads, 60, "it leads again", 0.2)
        assert second.process.poll() is None
        k.apply(k.collection("heir", SPACE, nodes=1, shards=1))
        wait_until(lambda: made("statefulset", "heir"), 30, "the StatefulSet of heir", 0.2)
        assert k.get("lease", "quiver-operator", SYSTEM)["spec"]["holderIdentity"] == "second"
    finally:
        second.stop()


@pytest.fixture
def named(operator, tmp_path):
    """The chart with names in watchNamespaces, and its operator."""
    operator.stop()
    k.apply(k.namespace("leaving"))
    running = Operator(install("--set", f"watchNamespaces={{{SPACE},leaving}}"), tmp_path, "named", free_port()).start()
    yield running
    running.stop()
    print(running.log.read_text()[-5000:])


def test_operator_of_named_namespaces_needs_no_right_elsewhere(named):
    bound = [b["roleRef"]["name"] for b in k.get("clusterrolebinding") if any(s["name"] == "quiver-operator" for s in b.get("subjects", []))]
    rules = [rule for role in bound for rule in k.get("clusterrole", role)["rules"]]
    # When a namespace goes, the Role in it may go first.
    assert rules == [{"apiGroups": ["quiver.dev"], "resources": ["vectorsnapshots"], "verbs": ["get", "patch"]}]
    k.apply(k.collection("named", SPACE, nodes=1, shards=1), k.collection("docs", "leaving"))
    k.apply(snapshot("by-hand", "named", SPACE), snapshot("by-hand", "docs", "leaving"))
    wait_until(lambda: made("statefulset", "named") and made("statefulset", "docs", "leaving"), 60, "two StatefulSets", 0.2)
    for namespace in (SPACE, "leaving"):
        wait_until(lambda: k.get("vsnap", "by-hand", namespace)["metadata"].get("finalizers"), 30, "a finalizer", 0.2)
    k.kubectl("delete", "vsnap/by-hand", "-n", SPACE, "--timeout=60s")
    assert "forbidden" not in named.log.read_text().lower()
    k.kubectl("delete", "namespace/leaving", "--timeout=120s")
