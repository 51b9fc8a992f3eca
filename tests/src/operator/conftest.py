"""A real API server with its controllers and no nodes; the operator as a process with the rights that the chart gives it."""
import base64
import json
import os
import signal
import subprocess
import urllib.request

import pytest
import yaml
from harness import cache
from harness import kubernetes as k
from harness.node import free_port, wait_until

SYSTEM = "quiver-system"


@pytest.fixture(scope="session")
def api_server():
    command = cache.TESTS / "cluster"
    up = subprocess.run([command, "up", "0"], check=True, stdout=subprocess.PIPE, text=True)
    os.environ["KUBECONFIG"] = up.stdout.strip().splitlines()[-1]
    yield os.environ["KUBECONFIG"]
    subprocess.run([command, "down"], check=True)


@pytest.fixture(scope="session")
def chart(api_server):
    """The chart, installed; its Deployment makes pods that no node runs."""
    k.apply(k.namespace(SYSTEM), k.namespace("search"))
    k.run("helm", "upgrade", "--install", "quiver", str(k.CHART), "-n", SYSTEM, "--set", "image.repository=localhost/quiver-operator,image.tag=test,defaults.nodeImage=localhost/quiver-node:test")
    return k.get("deployment", namespace=SYSTEM)[0]


class Operator:
    """The program of the Deployment, with its arguments, its environment and its ServiceAccount, run here."""

    def __init__(self, deployment: dict, folder):
        pod = deployment["spec"]["template"]["spec"]
        self.container, self.log = pod["containers"][0], folder / "operator.log"
        account = pod["serviceAccountName"]
        token = k.kubectl("create", "token", account, "-n", SYSTEM, "--duration=2h").strip()
        config = yaml.safe_load(open(os.environ["KUBECONFIG"]))
        authority = config["clusters"][0]["cluster"]
        config["users"] = [{"name": "operator", "user": {"token": token}}]
        config["contexts"] = [{"name": "local", "context": {"cluster": config["clusters"][0]["name"], "user": "operator", "namespace": SYSTEM}}]
        authority["certificate-authority-data"] = base64.b64encode(open(authority.pop("certificate-authority"), "rb").read()).decode()
        self.kubeconfig = folder / "operator.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.port, self.process = None, None

    def start(self) -> "Operator":
        environment = {e["name"]: e.get("value") or {"metadata.namespace": SYSTEM}.get(e.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"), "test") for e in self.container.get("env", [])}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([os.environ["QUIVER_OPERATOR"], *self.container.get("args", [])], stdout=log, stderr=log, env={**os.environ, **environment, "KUBECONFIG": str(self.kubeconfig)})
        self.port = next(p["containerPort"] for p in self.container["ports"])
        wait_until(self.ready, 60, "the operator leads and is ready", 0.1)
        return self

    def ready(self) -> bool:
        assert self.process.poll() is None, f"the operator ended:\n{self.log.read_text()[-3000:]}"
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status == 200
        except OSError:
            return False

    def reconciles(self) -> int:
        """How many it has done since it started."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5).read().decode()
        return sum(int(float(line.split()[-1])) for line in text.splitlines() if "reconcil" in line.split("{")[0] and line.split("{")[0].split(" ")[0].endswith("_total") and "fail" not in line.split("{")[0])

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


@pytest.fixture(scope="session")
def operator(chart, tmp_path_factory):
    running = Operator(chart, tmp_path_factory.mktemp("operator")).start()
    yield running
    running.stop()
    print(running.log.read_text()[-5000:])


def versions(namespace: str) -> dict[str, str]:
    """The resourceVersion of everything in a namespace but what ticks by design."""
    kinds = k.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "leases", "endpoints", "endpointslices", "pods", "replicasets", "controllerrevisions"))]
    found = json.loads(k.kubectl("get", ",".join(kinds), "-n", namespace, "-o", "json"))["items"]
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in found}
