"""The operator against a real API server: what it makes, what it leaves alone, what it may do."""
import json
import time

import pytest
import yaml
from harness import cache
from harness import kubernetes as k
from harness.node import wait_until
from harness.operator_process import SYSTEM, versions

SPACE = "search"
DOCS = k.collection("docs", SPACE)


def made(kind: str, name: str) -> bool:
    return name in {o["metadata"]["name"] for o in k.get(kind, namespace=SPACE)}


@pytest.fixture(scope="module")
def docs(operator):
    k.apply(DOCS)
    wait_until(lambda: len(k.get("vectorshards", namespace=SPACE)) == 6 and made("statefulset", "docs"), 60, "shards and StatefulSet of docs", 0.2)
    return operator


def explained(kind: str) -> str:
    """What kubectl tells of a kind; nothing while the API server has not published its schema yet."""
    try:
        return k.kubectl("explain", f"{kind}.quiver.dev.spec")
    except k.Refused:
        return ""


def test_kinds_install_and_say_what_they_are(chart):
    for kind in ("vectorcollections", "vectorshards", "vectorsnapshots"):
        assert "FIELDS" in wait_until(lambda: explained(kind), 30, f"an explanation of {kind}", 0.2)
    names = k.kubectl("api-resources", "--api-group=quiver.dev", "--no-headers")
    assert {"vc", "vs", "vsnap"} <= set(names.split())


def test_kinds_for_kubectl_are_those_of_the_chart(chart):
    """Applying crds/yaml over the chart's changes nothing of the schemas."""
    before = {c["metadata"]["name"]: c["metadata"]["generation"] for c in k.get("crd")}
    k.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(cache.ROOT / "crds/yaml"))
    assert {c["metadata"]["name"]: c["metadata"]["generation"] for c in k.get("crd")} == before


@pytest.mark.parametrize("path,value,words", k.WRONG, ids=[f"{p}={json.dumps(v)[:40]}" for p, v, _ in k.WRONG])
def test_wrong_spec_is_refused_with_words(chart, path, value, words):
    said = k.refusal(k.changed(k.collection("wrong", SPACE), path, value))
    assert all(word in said for word in words), said


@pytest.mark.parametrize("path,value,words", k.FIXED, ids=[p for p, _, _ in k.FIXED])
def test_fixed_field_cannot_be_changed(docs, path, value, words):
    said = k.refusal(k.changed(DOCS, path, value))
    assert all(word in said for word in words), said


def test_collection_gets_what_it_needs(docs):
    kinds = {o["kind"] for o in json.loads(k.kubectl("get", "statefulset,service,poddisruptionbudget,networkpolicy,serviceaccount,role,rolebinding,vectorshard", "-n", SPACE, "-o", "json"))["items"]}
    assert kinds == {"StatefulSet", "Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount", "Role", "RoleBinding", "VectorShard"}
    assert k.get("statefulset", "docs", SPACE)["spec"]["replicas"] == 3


def test_shards_cover_every_hash_once_and_are_spread(docs):
    shards = sorted(k.get("vectorshards", namespace=SPACE), key=lambda s: s["spec"]["range"]["first"])
    ends = [(int(s["spec"]["range"]["first"], 16), int(s["spec"]["range"]["last"], 16)) for s in shards]
    assert ends[0][0] == 0 and ends[-1][1] == 2**64 - 1
    assert all(a[1] + 1 == b[0] for a, b in zip(ends, ends[1:]))
    pods = [s["spec"]["copies"][0]["pod"] for s in shards]
    assert sorted(pods.count(p) for p in set(pods)) == [2, 2, 2]


def test_printed_columns_are_readable(docs):
    header, row = k.kubectl("get", "vc", "-n", SPACE).splitlines()[:2]
    assert {"NAME", "NODES", "READY", "SHARDS", "AGE"} <= set(header.split())
    assert len(k.kubectl("get", "vs", "-n", SPACE).splitlines()) == 7


def test_status_says_what_is_missing(docs):
    """No node runs its pods: not ready, and in words why."""
    ready = k.wait_condition("vc", "docs", SPACE, "Ready", 30, status="False")
    told = k.condition(ready, "Ready")
    assert told["reason"] and len(told["message"]) > 10


def test_scale_subresource(docs):
    assert k.get("vc", "docs", SPACE)["status"]["selector"]
    k.kubectl("scale", "vc/docs", "-n", SPACE, "--replicas=4")
    wait_until(lambda: k.get("statefulset", "docs", SPACE)["spec"]["replicas"] == 4, 30, "four nodes", 0.2)
    k.kubectl("scale", "vc/docs", "-n", SPACE, "--replicas=3")


def poked(operator):
    """Touch the StatefulSet and wait for a whole reconcile that saw it.

    The first reconcile that ends may have begun before the touch, so two touches are waited for.
    """
    for _ in range(2):
        count = operator.reconciles()
        k.kubectl("annotate", "statefulset/docs", "-n", SPACE, "--overwrite", f"tests.quiver.dev/poke={time.monotonic_ns()}")
        wait_until(lambda: operator.reconciles() > count, 30, "a reconcile after a poke", 0.2)


def written_by_a_reconcile(operator):
    """What a reconcile of `docs` writes, besides the annotation that woke it."""
    before = versions(SPACE)
    poked(operator)
    after = versions(SPACE)
    return {name: (before.get(name), after.get(name)) for name in before | after
            if before.get(name) != after.get(name) and name != "StatefulSet/docs"}


def test_second_reconcile_writes_nothing(docs):
    wait_until(lambda: not written_by_a_reconcile(docs), 60, "nothing changes any more", 1)
    # A new process reconciles everything from the start.
    docs.stop()
    before = versions(SPACE)
    docs.start()
    wait_until(lambda: docs.reconciles() >= 1, 30, "a reconcile", 0.2)
    assert written_by_a_reconcile(docs) == {}
    assert versions(SPACE) | {"StatefulSet/docs": ""} == before | {"StatefulSet/docs": ""}


def test_what_was_changed_by_hand_comes_back(docs):
    service = k.get("service", "docs", SPACE)
    k.kubectl("delete", "service/docs", "-n", SPACE)
    wait_until(lambda: made("service", "docs"), 30, "the Service is back", 0.2)
    k.kubectl("patch", "statefulset/docs", "-n", SPACE, "--type=merge", "-p", '{"spec": {"replicas": 1}}')
    wait_until(lambda: k.get("statefulset", "docs", SPACE)["spec"]["replicas"] == 3, 30, "three nodes again", 0.2)
    assert k.get("service", "docs", SPACE)["spec"]["ports"] == service["spec"]["ports"]


def test_paused_collection_is_left_alone(docs):
    k.kubectl("patch", "vc/docs", "-n", SPACE, "--type=merge", "-p", '{"spec": {"paused": true}}')
    k.wait_condition("vc", "docs", SPACE, "Paused", 30)
    k.kubectl("delete", "poddisruptionbudget", "--all", "-n", SPACE)
    count = docs.reconciles()
    k.kubectl("annotate", "statefulset/docs", "-n", SPACE, "--overwrite", "tests.quiver.dev/poke=2")
    wait_until(lambda: docs.reconciles() > count, 30, "a reconcile", 0.2)
    assert k.get("poddisruptionbudget", namespace=SPACE) == []
    k.kubectl("patch", "vc/docs", "-n", SPACE, "--type=merge", "-p", '{"spec": {"paused": false}}')
    wait_until(lambda: k.get("poddisruptionbudget", namespace=SPACE), 30, "the budget is back", 0.2)


def test_rights_are_named_one_by_one(docs):
    """Of the chart, and of the roles that the operator makes for nodes."""
    for kind in ("role", "clusterrole"):
        for role in k.get(kind):
            ours = role["metadata"]["name"].startswith(("quiver", "docs"))
            for rule in (role.get("rules") or []) if ours else []:
                assert "*" not in rule.get("verbs", []) + rule.get("resources", []) + rule.get("apiGroups", []), role["metadata"]["name"]
                if "secrets" in rule.get("resources", []):
                    assert not {"list", "watch"} & set(rule["verbs"]), role["metadata"]["name"]


def test_rights_suffice(docs):
    said = docs.log.read_text().lower()
    assert "forbidden" not in said, [line for line in said.splitlines() if "forbidden" in line][:3]


def test_pods_meet_the_restricted_standard(docs):
    """The controllers were allowed to make them: an event would say if not."""
    wait_until(lambda: k.get("pods", namespace=SPACE), 30, "pods of docs", 0.2)
    events = [e["message"] for e in k.get("events", namespace=SPACE) + k.get("events", namespace=SYSTEM)]
    assert not [m for m in events if "PodSecurity" in m]


def test_deleted_collection_leaves_nothing_but_claims(docs):
    k.apply(k.collection("gone", SPACE, nodes=1, shards=1))
    wait_until(lambda: made("statefulset", "gone"), 30, "the StatefulSet of gone", 0.2)
    k.kubectl("delete", "vc/gone", "-n", SPACE, "--timeout=60s")

    def left():
        kinds = "statefulset,service,poddisruptionbudget,networkpolicy,serviceaccount,role,rolebinding,vectorshard,configmap,secret"
        return [o["metadata"]["name"] for o in json.loads(k.kubectl("get", kinds, "-n", SPACE, "-o", "json"))["items"] if o["metadata"]["name"].startswith("gone")]

    wait_until(lambda: not left(), 60, "what gone owned is gone", 0.5)


def test_chart_passes_its_own_lint(chart):
    assert "0 chart(s) failed" in k.run("helm", "lint", "--strict", str(k.CHART))
    with pytest.raises(k.Refused, match="replicaCount|replicacount|additional"):
        k.run("helm", "template", str(k.CHART), "--set", "replicacuont=3")
    assert list(yaml.safe_load_all(k.run("helm", "template", str(k.CHART), "--kube-version", "1.34.4")))
