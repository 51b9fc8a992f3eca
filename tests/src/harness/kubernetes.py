"""kubectl and helm against the cluster that KUBECONFIG names, and resources to apply. Starts and stops nothing itself."""
import copy
import json
import os
import socket
import subprocess

import yaml

from . import reading
from .cache import ROOT
from .node import free_port, wait_until

CHART = ROOT / "charts/quiver"


def tool(name: str) -> str:
    """A program of the test cluster's build, or the machine's own."""
    built = os.path.join(os.environ.get("QUIVER_CLUSTER_BIN", ""), name)
    return built if os.path.exists(built) else name


class Refused(Exception):
    """What kubectl or helm said when it failed."""


def run(name: str, *args: str, body: str | None = None, seconds: float = 300) -> str:
    done = subprocess.run([tool(name), *args], input=body, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise Refused(f"{name} {' '.join(args)}: {done.stderr.strip()} {done.stdout.strip()}")
    return done.stdout


def kubectl(*args: str, body=None, seconds: float = 300) -> str:
    return run("kubectl", *args, body=body, seconds=seconds)


def apply(*objects: dict, dry: bool = False) -> str:
    """Server-side, as README tells people to."""
    body = "---\n".join(yaml.safe_dump(o, sort_keys=False) for o in objects)
    return kubectl("apply", "--server-side", "--force-conflicts", *(["--dry-run=server"] if dry else []), "-f", "-", body=body)


def get(kind: str, name: str | None = None, namespace: str | None = None, **labels: str) -> dict | list[dict]:
    """One object, or the list of them."""
    if kind in reading.KINDS:
        try:
            answer = reading.read(tool("kubectl"), kind, name, namespace or ("default" if name else None), labels)
        except reading.Failed as error:
            raise Refused(str(error)) from None
        return answer if name else answer["items"]
    where = ["-n", namespace] if namespace else ["-A"] if name is None else []
    which = [name] if name else []
    selector = ["-l", ",".join(f"{k}={v}" for k, v in labels.items())] if labels else []
    answer = json.loads(kubectl("get", kind, *which, *where, *selector, "-o", "json"))
    return answer if name else answer["items"]


def condition(thing: dict, kind: str) -> dict:
    return next((c for c in thing.get("status", {}).get("conditions", []) if c["type"] == kind), {"status": "Missing", "reason": "", "message": ""})


def wait_condition(kind: str, name: str, namespace: str, wanted: str, seconds: float, status: str = "True") -> dict:
    """Until a condition has that status; if it never comes, the error says all that the object says of itself."""
    last = {}

    def there():
        nonlocal last
        last = get(kind, name, namespace)
        current = last["metadata"].get("generation", 0) <= last.get("status", {}).get("observedGeneration", last["metadata"].get("generation", 0))
        return current and condition(last, wanted)["status"] == status and last

    try:
        return wait_until(there, seconds, f"{kind}/{name} has {wanted}={status}", 0.5)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {json.dumps(last.get('status'), indent=1)}") from None


class Reach:
    """A Service as a URL of this machine: directly where the cluster's network is ours, else through a port-forward."""

    def __init__(self, service: str, namespace: str, port: int):
        address = get("service", service, namespace)["spec"]["clusterIP"]
        self.forward, self.url = None, f"http://{address}:{port}"
        try:
            wait_until(lambda: self.open(address, port), 5, f"{address}:{port} answers", 0.2)
        except TimeoutError:
            local = free_port()
            self.forward = subprocess.Popen([tool("kubectl"), "-n", namespace, "port-forward", f"service/{service}", f"{local}:{port}"], stdout=subprocess.DEVNULL)
            self.url = f"http://127.0.0.1:{local}"
            wait_until(lambda: self.open("127.0.0.1", local), 60, f"the port-forward to {service}", 0.2)

    @staticmethod
    def open(address: str, port: int) -> bool:
        try:
            socket.create_connection((address, port), timeout=1).close()
            return True
        except OSError:
            return False

    def close(self) -> None:
        if self.forward:
            self.forward.kill()


def namespace(name: str) -> dict:
    """With the strictest pod security that Kubernetes enforces."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


def collection(name: str, where: str, **spec) -> dict:
    """A VectorCollection of 384-d vectors; `spec` replaces fields of the default."""
    base = {
        "vectors": [{"name": "", "size": 384, "distance": "Cosine"}],
        "quantization": {"type": "Scalar", "scalar": {"quantilePermille": 990, "alwaysRam": True}},
        "optimizers": {"indexingThresholdKb": 5000},
        "payloadIndexes": [{"field": "pos", "type": "Keyword"}, {"field": "lex", "type": "Keyword"}, {"field": "bucket", "type": "Integer"}, {"field": "date", "type": "Datetime"}],
        "shards": 6,
        "nodes": 3,
        "replication": {"factor": 1},
        "storage": {"size": "2Gi"},
    }
    return {"apiVersion": "quiver.dev/v1alpha1", "kind": "VectorCollection", "metadata": {"name": name, "namespace": where}, "spec": {**base, **spec}}


def changed(thing: dict, path: str, value) -> dict:
    """A copy with one field set (or, with None, taken away); path as in `spec.vectors.0.size`."""
    thing = copy.deepcopy(thing)
    *parents, last = path.split(".")
    at = thing
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    if value is None:
        at.pop(last, None)
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return thing


# What is wrong with a new VectorCollection, and words that the refusal must have for a person to know what to do.
WRONG = [
    ("spec.nodes", 0, ["nodes"]),
    ("spec.vectors.0.size", 70000, ["size", "65536"]),
    ("spec.vectors.0.distance", "Hamming", ["distance", "Cosine"]),
    ("spec.shards", 0, ["shards"]),
    ("spec.replication", {"factor": 4}, ["nodes", "replication.factor"]),
    ("spec.replication", {"factor": 1, "minInSync": 2}, ["minInSync", "factor"]),
    ("spec.vectors", [{"name": "", "size": 4, "distance": "Dot"}, {"name": "b", "size": 4, "distance": "Dot"}], ["without a name"]),
    ("spec.quantization", {"type": "None", "scalar": {}}, ["scalar"]),
    ("spec.storage.size", "lots", ["size", "20Gi"]),
    ("spec.snapshots", {"destination": {"s3": {"bucket": "snapshots", "credentials": {"type": "Secret"}}}}, ["secretRef"]),
    ("spec.snapshots", {"destination": {"s3": {"bucket": "snapshots"}}, "schedule": {"cron": "every night"}}, ["five fields"]),
    ("spec.settings", [{"name": "QUIVER__SERVICE__HTTP_PORT", "value": "1"}], ["operator sets this"]),
    ("metadata.name", "a" * 50, ["40"]),
    ("spec.bootstrap", {"type": "Snapshot"}, ["snapshot"]),
    ("spec.payloadIndexes.0.type", "Keywort", ["type", "Keyword"]),
]
# What may not be changed on one that is there.
FIXED = [
    ("spec.vectors.0.size", 385, ["size"]),
    ("spec.vectors.0.distance", "Dot", ["distance"]),
    ("spec.shards", 3, ["shards"]),
    ("spec.collectionName", "other", ["collectionName"]),
    ("spec.storage.size", "1Gi", ["size"]),
]


def refusal(thing: dict) -> str:
    """What the API server says to an object that it must refuse."""
    try:
        apply(thing, dry=True)
    except Refused as refused:
        return str(refused)
    raise AssertionError(f"accepted: {thing['spec']}")
