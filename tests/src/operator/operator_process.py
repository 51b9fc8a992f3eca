"""The operator as a process of this machine: the program of the chart's Deployment, with its arguments, its environment and its ServiceAccount."""
import base64
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import yaml
from harness import kubernetes as k
from harness.node import wait_until

SYSTEM = "quiver-system"


class Operator:
    """Started and stopped at will; `log` has what all its lives said."""

    def __init__(self, deployment: dict, folder: Path):
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


def versions(namespace: str) -> dict[str, str]:
    """The resourceVersion of everything in a namespace but what ticks by design."""
    kinds = k.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in kinds if not kind.startswith(("events", "leases", "endpoints", "endpointslices", "pods", "replicasets", "controllerrevisions"))]
    found = json.loads(k.kubectl("get", ",".join(kinds), "-n", namespace, "-o", "json"))["items"]
    return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in found}
