"""The machines under the collection, which are this one: processes, network namespaces, volumes, the API server's process."""
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from harness import kubernetes as k
from harness.node import wait_until
from s3 import LABELS as BUCKET_LABELS, SPACE as BUCKET_SPACE

STATE = Path(os.environ.get("QUIVER_CLUSTER_STATE", "/tmp/quiver-cluster"))
API = "10.96.0.1"  # what pods call the API server
SYSTEM = "quiver-system"
OPERATOR_LABEL = "app.kubernetes.io/name=quiver-operator"


def processes(pod_uid: str, name: str) -> list[int]:
    """Processes with that name in a pod: Linux cuts names after 15 bytes."""
    found = []
    for folder in Path("/proc").iterdir():
        # A process may end while it is looked at.
        with suppress(OSError):
            if folder.name.isdigit() and (folder / "comm").read_text().strip() == name[:15] and pod_uid in (folder / "cgroup").read_text():
                found.append(int(folder.name))
    return found


def send(pids: list[int], what: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)


def daemon(name: str) -> int:
    """A process that tests/cluster started."""
    return int((STATE / "pids" / name).read_text())


class Pod:
    """One pod of the collection as it is now. Another one under the same name later has another uid."""

    def __init__(self, seen: dict):
        self.name, self.uid = seen["metadata"]["name"], seen["metadata"]["uid"]
        self.machine, self.address = seen["spec"].get("nodeName", ""), seen["status"].get("podIP", "")
        ready = k.condition(seen, "Ready")["status"] == "True"
        self.ready = ready and "deletionTimestamp" not in seen["metadata"]
        self.claim = next((v["persistentVolumeClaim"]["claimName"] for v in seen["spec"]["volumes"] if "persistentVolumeClaim" in v), "")
        self.namespace = seen["metadata"]["namespace"]

    def processes(self) -> list[int]:
        return processes(self.uid, "quiver-node")

    def signal(self, what: signal.Signals) -> None:
        send(self.processes(), what)

    def find_holder(self) -> None:
        """The process that keeps the pod's network namespace, also while the node starts again."""
        self.holder = processes(self.uid, "pause")[0]

    def volume(self) -> Path:
        """Where the data is on this machine."""
        bound = k.get("pvc", self.claim, self.namespace)["spec"]["volumeName"]
        return Path(k.get("pv", bound)["spec"]["hostPath"]["path"])


class Network:
    """Rules in the network namespaces of pods. Probes and clients come from the machine and aren't touched, unless a rule says so."""

    def __init__(self):
        self.holders = set()

    def rule(self, holder: int, *words: str) -> None:
        self.holders.add(holder)
        self.enter(holder, "-A", *words)

    @staticmethod
    def enter(holder: int, *words: str) -> bool:
        done = subprocess.run(["nsenter", "-t", str(holder), "-n", "iptables", "-w", *words], capture_output=True, text=True)
        # A pod that is gone has taken its namespace with it.
        assert done.returncode == 0 or not Path(f"/proc/{holder}").exists(), done.stderr
        return done.returncode == 0

    def drop(self, pod: Pod, peer: str, inbound: bool = True, outbound: bool = True, *more: str) -> None:
        """Between a pod and an address; in one direction if the other is False."""
        if inbound:
            self.rule(pod.holder, "INPUT", "-s", peer, *more, "-j", "DROP")
        if outbound:
            self.rule(pod.holder, "OUTPUT", "-d", peer, *more, "-j", "DROP")

    def clear(self) -> None:
        for holder in self.holders:
            if self.enter(holder, "-F", "INPUT"):
                self.enter(holder, "-F", "OUTPUT")
        self.holders.clear()


class ApiServer:
    def __init__(self):
        self.program = self.command = None

    def freeze(self) -> None:
        send([daemon("apiserver")], signal.SIGSTOP)

    def thaw(self) -> None:
        send([daemon("apiserver")], signal.SIGCONT)

    def kill(self) -> None:
        pid = daemon("apiserver")
        self.program = os.readlink(f"/proc/{pid}/exe")
        self.command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        os.kill(pid, signal.SIGKILL)

    def start(self) -> None:
        """Again with the same words; tests/cluster finds it under its name as before."""
        with (STATE / "logs/apiserver.log").open("ab") as log:
            again = subprocess.Popen(self.command, executable=self.program, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        (STATE / "pids/apiserver").write_text(str(again.pid))

    @staticmethod
    def answers() -> bool:
        try:
            return k.kubectl("get", "--raw", "/readyz", "--request-timeout=2s", seconds=10).strip() == "ok"
        except (k.Refused, subprocess.TimeoutExpired):
            return False


class Bucket:
    """The server that snapshots go to."""

    PORT = "9000"

    @staticmethod
    def wait_ready() -> None:
        k.kubectl("rollout", "status", "deployment/minio", "-n", BUCKET_SPACE, "--timeout=240s")

    def __init__(self):
        """As it is now."""
        self.wait_ready()
        self.pod = next(p for p in map(Pod, k.get("pods", namespace=BUCKET_SPACE, **BUCKET_LABELS)) if p.ready)
        self.pod.find_holder()

    def kill(self) -> None:
        send(processes(self.pod.uid, "minio"), signal.SIGKILL)


class Stopped:
    """A pod's process is dead and its kubelet frozen, so that its volume can be changed before it starts again."""

    def __init__(self, pod: Pod):
        self.pod = pod

    def __enter__(self):
        self.kubelet = daemon("kubelet" + self.pod.machine.removeprefix("node"))
        send([self.kubelet], signal.SIGSTOP)
        self.pod.signal(signal.SIGKILL)
        wait_until(lambda: not self.pod.processes(), 10, f"{self.pod.name} is dead")
        return self.pod

    def __exit__(self, *_):
        send([self.kubelet], signal.SIGCONT)


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def copy_folder(source: Path, to: Path, without: str) -> None:
    """With owners, modes and hard links, but for one entry."""
    to.mkdir()
    shutil.copystat(source, to)
    os.chown(to, source.stat().st_uid, source.stat().st_gid)
    k.run("cp", "-a", *(str(path) for path in source.iterdir() if path.name != without), str(to))


def delete_operators() -> None:
    """Other pods take their place."""
    k.kubectl("delete", "pod", "-n", SYSTEM, "-l", OPERATOR_LABEL, "--grace-period=0", "--force", "--wait=false")


def operators_are_ready() -> bool:
    deployment = k.get("deployment", "quiver-operator", SYSTEM)
    return deployment.get("status", {}).get("readyReplicas", 0) == deployment["spec"]["replicas"]


def operator_processes() -> list[int]:
    return [pid for pod in k.get("pods", namespace=SYSTEM) for pid in processes(pod["metadata"]["uid"], "quiver-operator")]
