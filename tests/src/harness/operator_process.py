"""The operator as a process of this machine: the program of the chart's Deployment, with its arguments, its environment and its ServiceAccount."""
import base64
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import yaml

from . import kubernetes as k
from .node import wait_until

SYSTEM = "quiver-system"


def install(*more: str) -> dict:
    """Installs the chart or changes its values; the Deployment of it."""
    image = "image.repository=localhost/quiver-operator,image.tag=test,defaults.nodeImage=localhost/quiver-node:test"
    k.run("helm", "upgrade", "--install", "quiver", str(k.CHART), "-n", SYSTEM, "--set", image, *more)
    return k.get("deployment", namespace=SYSTEM)[0]


class Operator:
    """Started and stopped at will; `log` has what all its lives said."""

    def __init__(self, deployment: dict, folder: Path, name: str = "test", port: int = 8080, server: str | None = None):
        """`server` is another way to the API server, without TLS."""
        self.name, self.port = name, port
        pod = deployment["spec"]["template"]["spec"]
        self.container, self.log = pod["containers"][0], folder / "operator.log"
        account = pod["serviceAccountName"]
        token = k.kubectl("create", "token", account, "-n", SYSTEM, "--duration=2h").strip()
        config = yaml.safe_load(open(os.environ["KUBECONFIG"]))
        authority = config["clusters"][0]["cluster"]
        config["users"] = [{"name": "operator", "user": {"token": token}}]
        config["contexts"] = [{"name": "local", "context": {"cluster": config["clusters"][0]["name"], "user": "operator", "namespace": SYSTEM}}]
        certificate = Path(authority.pop("certificate-authority")).read_bytes()
        authority |= {"server": server} if server else {"certificate-authority-data": base64.b64encode(certificate).decode()}
        self.kubeconfig = folder / "operator.kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(config))
        self.process = None

    def launch(self) -> None:
        """Begins a life, and doesn't wait for it."""
        fields = {"metadata.namespace": SYSTEM, "metadata.name": self.name}
        environment = {e["name"]: e.get("value") or fields[e["valueFrom"]["fieldRef"]["fieldPath"]] for e in self.container.get("env", [])}
        environment |= {"KUBECONFIG": str(self.kubeconfig), "QUIVER_OPERATOR_LISTEN": f"127.0.0.1:{self.port}"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([os.environ["QUIVER_OPERATOR"], *self.container.get("args", [])], stdout=log, stderr=log, env={**os.environ, **environment})

    def start(self) -> "Operator":
        self.launch()
        wait_until(self.ready, 60, "the operator runs", 0.1)
        return self

    def ready(self) -> bool:
        assert self.process.poll() is None, f"the operator ended:\n{self.log.read_text()[-3000:]}"
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status == 200
        except OSError:
            return False

    def metrics(self) -> list[tuple[str, float]]:
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5).read().decode()
        return [(line.rsplit(" ", 1)[0], float(line.rsplit(" ", 1)[1])) for line in text.splitlines() if not line.startswith("#")]

    def reconciles(self) -> int:
        """How many it has begun since it started."""
        return int(sum(value for name, value in self.metrics() if name.startswith("quiver_operator_reconciles_total{")))

    def leads(self) -> bool:
        return ("quiver_operator_leader", 1.0) in self.metrics()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(30)


def versions(namespace: str) -> dict[str, str]:
    """The resourceVersion of everything in a namespace but what ticks by design."""
    kinds = k.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "leases", "endpoints", "endpointslices", "pods", "replicasets", "controllerrevisions"))]
    found = json.loads(k.kubectl("get", ",".join(kinds), "-n", namespace, "-o", "json"))["items"]
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in found}
