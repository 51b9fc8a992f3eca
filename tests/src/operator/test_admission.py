"""What the API server lets nodes do to the records of shards: each case is a write with the token that a pod gets, sent as a dry run."""
import copy
import json
import os

import pytest
import yaml
from harness import kubernetes as k
from harness.node import wait_until

SPACE = "guarded"
# Shards of `docs`: one as ever, one that is to be split, one for which a person accepted to lose data.
PLAIN, SPLIT, LOSSY = "docs-0", "docs-1", "docs-2"


def changed(record: dict, **fields) -> dict:
    """The next version of a record; every field of `fields` replaces one of the spec. `configVersion` guards it alone, for its status may change."""
    record = copy.deepcopy(record)
    record["metadata"].pop("resourceVersion")
    record["spec"] |= {"configVersion": record["spec"]["configVersion"] + 1, **fields}
    return record


def with_copies(record: dict, **in_sync: bool) -> list[dict]:
    """The copies of a record, some of them in sync or not by their ids."""
    return [{**c, "inSync": in_sync.get(c["id"], c["inSync"])} for c in record["spec"]["copies"]]


class Guarded:
    """Two collections that nobody works on, whose records have been made what the cases need."""

    def __init__(self):
        self.pods = {"leads": "docs-0", "follows": "docs-1", "behind": "docs-2"}
        k.apply(k.namespace(SPACE), k.collection("docs", SPACE, shards=3), k.collection("other", SPACE, nodes=1, shards=1))
        wait_until(lambda: len(k.get("vs", namespace=SPACE)) == 4 and len(k.get("pods", namespace=SPACE)) == 4, 60, "records and pods of two collections", 0.2)
        for name in ("docs", "other"):
            k.kubectl("patch", "vc", name, "-n", SPACE, "--type=merge", "-p", '{"spec": {"paused": true}}')
            k.wait_condition("vc", name, SPACE, "Paused", 30)
        self.records = {r["metadata"]["name"]: r for r in k.get("vs", namespace=SPACE)}
        for name in (PLAIN, SPLIT, LOSSY):
            self.prepare(name)
        config = yaml.safe_load(open(os.environ["KUBECONFIG"]))["clusters"][0]["cluster"]
        self.server = ["--kubeconfig=/dev/null", f"--server={config['server']}", f"--certificate-authority={config['certificate-authority']}", "-n", SPACE]
        self.tokens = {who: self.token(f"--bound-object-kind=Pod --bound-object-name={pod}".split()) for who, pod in self.pods.items()} | {"no pod": self.token([])}

    def token(self, bound: list[str]) -> str:
        return k.kubectl("create", "token", "docs-node", "-n", SPACE, *bound).strip()

    def put(self, record: dict) -> None:
        name = record["metadata"]["name"]
        self.records[name] = json.loads(k.kubectl("replace", "-f", "-", "-o", "json", body=json.dumps(record)))

    def prepare(self, name: str) -> None:
        """Led by the first pod, with a copy on the second that is in sync and one on the third that isn't."""
        record = self.records[name]
        leads = record["spec"]["copies"][0] | {"pod": self.pods["leads"], "inSync": True}
        others = [{"id": who, "pod": self.pods[who], "inSync": False} for who in ("follows", "behind")]
        self.put(changed(record, primaryBoot="a life", term=record["spec"]["term"] + 1, copies=[leads, *others]))
        self.put(changed(self.records[name], copies=with_copies(self.records[name], follows=True)))
        first, last = (self.records[name]["spec"]["range"][end] for end in ("first", "last"))
        middle = (int(first, 16) + int(last, 16)) // 2
        if name == SPLIT:
            parts = {"keep": {"first": first, "last": f"{middle:016x}"}, "give": {"first": f"{middle + 1:016x}", "last": last}}
            self.put(changed(self.records[name], split={"child": 3, **parts}))
        if name == LOSSY:
            self.put(changed(self.records[name], acceptDataLossAtTerm=self.records[name]["spec"]["term"] + 1))

    def said(self, who: str, *words: str, body: dict | None = None) -> str:
        """What the API server says to that; nothing if it does it."""
        said = ""
        for _ in range(5):
            try:
                k.kubectl(*self.server, f"--token={self.tokens[who]}", *words, "--dry-run=server", body=body and json.dumps(body))
                return ""
            except k.Refused as refused:
                said = str(refused).partition("--dry-run=server: ")[2]
            if "(Conflict)" not in said:  # else the status was written between kubectl's read and its write
                break
        return said


@pytest.fixture(scope="module")
def guarded(operator):
    yield Guarded()
    # By itself first: about a collection whose namespace goes no event can be written any more.
    k.kubectl("delete", "vc", "--all", "-n", SPACE, "--timeout=60s")
    k.kubectl("delete", f"namespace/{SPACE}", "--timeout=120s")


def check(guarded: Guarded, name: str, who: str, words: str | None, **fields) -> None:
    """A change of a record is done or, where there are `words`, refused with them."""
    said = guarded.said(who, "replace", "-f", "-", body=changed(guarded.records[name], **fields))
    assert words in said if words else not said, f"{who} changes {fields} of {name}: {said or 'done'}"


def test_node_changes_of_a_shard_that_it_leads_what_a_leader_must(guarded):
    record, split = guarded.records[PLAIN], guarded.records[SPLIT]["spec"]
    term = record["spec"]["term"] + 1
    check(guarded, PLAIN, "leads", None, copies=with_copies(record, follows=False))
    check(guarded, PLAIN, "leads", None, copies=with_copies(record, behind=True))
    check(guarded, PLAIN, "leads", None, term=term, primaryBoot="another life")
    check(guarded, PLAIN, "leads", None, term=term, primary="follows", primaryBoot="its life")
    finished = changed(guarded.records[SPLIT], range=split["split"]["keep"])
    del finished["spec"]["split"]
    assert not guarded.said("leads", "replace", "-f", "-", body=finished)


def test_node_is_refused_all_else(guarded):
    record, other = guarded.records[PLAIN], guarded.records["other-0"]
    copies, term = record["spec"]["copies"], record["spec"]["term"] + 1
    first, last = (record["spec"]["range"][end] for end in ("first", "last"))
    halves = {"child": 3, "keep": {"first": first, "last": first}, "give": {"first": f"{int(first, 16) + 1:016x}", "last": last}}
    in_sync_only, leader_only = "a node hands over only to a copy that is in sync", "only the pod that holds the primary copy"
    placed, shard = "a node can't place or drop copies", "a node can't change what a shard is"
    for name, who, words, fields in [
        (PLAIN, "follows", leader_only, {"copies": with_copies(record, follows=False)}),
        (PLAIN, "follows", leader_only, {"primary": "follows", "term": term}),
        (PLAIN, "behind", leader_only, {"copies": with_copies(record, behind=True)}),
        (PLAIN, "no pod", leader_only, {"copies": with_copies(record, follows=False)}),
        (PLAIN, "leads", "only a copy that was in sync may become primary", {"primary": "behind", "term": term, "copies": with_copies(record, behind=True)}),
        (LOSSY, "leads", in_sync_only, {"primary": "behind", "term": term, "copies": with_copies(guarded.records[LOSSY], behind=True)}),
        (PLAIN, "leads", placed, {"copies": [*copies, {"id": "more", "pod": "docs-3", "inSync": False}]}),
        (PLAIN, "leads", placed, {"copies": [c for c in copies if c["id"] != "behind"]}),
        (PLAIN, "leads", placed, {"copies": [{**c, "pod": "docs-3"} if c["id"] == "behind" else c for c in copies]}),
        (PLAIN, "leads", "only a person decides to lose data", {"acceptDataLossAtTerm": term}),
        (PLAIN, "leads", "only become the part that its split keeps", {"range": halves["keep"]}),
        (PLAIN, "leads", shard, {"split": halves}),
        ("other-0", "leads", "cannot update resource", {"copies": other["spec"]["copies"]}),
    ]:
        check(guarded, name, who, words, **fields)


def test_nobody_deletes_a_record_by_itself(guarded):
    assert "cannot delete resource" in guarded.said("leads", "delete", "vs", PLAIN)
    with pytest.raises(k.Refused, match="delete the VectorCollection instead"):
        k.kubectl("delete", "vs", PLAIN, "-n", SPACE, "--dry-run=server")
