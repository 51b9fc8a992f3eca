"""What can go wrong. Each fault names its kind, begins with `inject`, lasts, and ends with `heal`.

Its choices are drawn before it begins, so that a seed replays: victims are numbers of pods, and which shards those lead depends on what was before.
"""
import os
import signal
import tempfile
import time
from pathlib import Path
from random import Random

from ground import API, Bucket, Network, Stopped, copy_folder, delete_operators, operator_processes, remove, send
from harness import kubernetes as k
from harness.node import wait_until
from sizes import HANDOVER_MAX, NODES

# What a write is told that meets a hand-over.
HANDING_OVER = '503 {"status":{"error":"Shard temporarily unavailable: '


class Fault:
    kind = ""
    factor = 1  # with fewer copies of each shard, it would lose data as it must
    seconds = (4, 10)
    has_victim = True  # a pod that it is about
    fails_over = False  # a node is gone for so long that other copies of what it led have to lead

    def __init__(self, field, seed: int):
        self.field, dice = field, Random(seed)
        self.dice = dice
        self.number = dice.randrange(NODES)
        self.lasts = round(dice.uniform(*self.seconds), 1)

    def prepare(self) -> None:
        """Looks up what it needs, which takes time and isn't part of the fault."""
        self.pods = self.field.pods()
        self.victim = self.pods[self.number % len(self.pods)] if self.has_victim else None

    def inject(self) -> None:
        raise NotImplementedError

    def heal(self) -> None:
        """Also after an `inject` that failed half-way."""

    def during(self) -> None:
        """While it lasts."""
        self.field.hold(self.lasts)

    def check(self) -> None:
        """What has to be so before it heals, beyond the history."""

    def after(self) -> None:
        """What has to come once it is healed and all is well."""


class Kill(Fault):
    """The node's process dies at once."""

    kind, seconds = "kill -9", (1, 3)

    def inject(self):
        self.victim.signal(signal.SIGKILL)


class Pause(Fault):
    """The node's process stands still, and goes on as if nothing had been."""

    kind, seconds = "pause", (1, 30)

    def prepare(self):
        super().prepare()
        self.pids = self.victim.processes()

    def inject(self):
        send(self.pids, signal.SIGSTOP)

    def heal(self):
        send(self.pids, signal.SIGCONT)


class Partition(Fault):
    """Packets are dropped in the pod's network namespace."""

    def prepare(self):
        super().prepare()
        self.network, self.others = Network(), [p for p in self.pods if p.name != self.victim.name]
        for pod in self.pods:
            pod.find_holder()

    def inject(self):
        self.cut(self.victim, self.others)

    def cut(self, victim, others):
        raise NotImplementedError

    def heal(self):
        self.network.clear()


class CutFromApi(Partition):
    kind, seconds = "cut from the API server", (10, 20)

    def cut(self, victim, others):
        self.network.drop(victim, API)


class CutFromPods(Partition):
    kind = "cut from other pods"

    def cut(self, victim, others):
        for other in others:
            self.network.drop(victim, other.address)


class Isolated(Partition):
    """From the API server and from the other pods; clients reach it."""

    kind, seconds = "cut from API server and pods", (12, 30)

    def cut(self, victim, others):
        self.network.drop(victim, API)
        for other in others:
            self.network.drop(victim, other.address)


class OneWay(Partition):
    """It is heard and hears nothing."""

    kind = "cut one way"

    def cut(self, victim, others):
        for other in others:
            self.network.drop(victim, other.address, outbound=False)


class Bridge(Partition):
    """The victim reaches everybody, the others only the victim."""

    kind = "bridge"

    def cut(self, victim, others):
        for one in others:
            for other in others:
                if one.name < other.name:
                    self.network.drop(one, other.address)


class Flapping(Partition):
    """Cut from the other pods and not, a second each."""

    kind, seconds = "flapping", (8, 12)

    def cut(self, victim, others):
        for other in others:
            self.network.drop(victim, other.address)

    def during(self):
        end = time.monotonic() + self.lasts
        while time.monotonic() < end:
            self.field.hold(1)
            self.heal()
            self.field.hold(1)
            self.inject()


class Loss(Partition):
    """Of what the pod sends and gets, to clients too, 30 % is lost."""

    kind, seconds = "30 % packet loss", (8, 15)

    def cut(self, victim, others):
        self.network.drop(victim, "0.0.0.0/0", True, True, "-m", "statistic", "--mode", "random", "--probability", "0.3")


class ApiFrozen(Fault):
    kind, seconds, has_victim = "API server frozen", (10, 20), False

    def inject(self):
        self.field.api.freeze()

    def heal(self):
        self.field.api.thaw()


class ApiDown(Fault):
    kind, seconds, has_victim = "API server down", (10, 20), False

    def inject(self):
        self.field.api.kill()

    def heal(self):
        self.field.api.start()
        wait_until(self.field.api.answers, 60, "the API server answers again", 0.5)


class KilledWhileApiDown(ApiDown):
    """A node that starts while nobody can tell it what it may lead."""

    kind, seconds, has_victim = "kill -9 while the API server is down", (8, 12), True

    def inject(self):
        super().inject()
        self.victim.signal(signal.SIGKILL)


class MachineDead(Fault):
    """Kubelet, containerd and all containers of a machine; long enough for Kubernetes to notice."""

    kind, seconds, fails_over = "machine dead", (20, 25), True

    def inject(self):
        self.machine = self.victim.machine
        self.field.cluster.do("kill", self.machine)

    def heal(self):
        self.field.cluster.do("revive", self.machine)
        k.kubectl("wait", f"node/{self.machine}", "--for=condition=Ready", "--timeout=120s")


class PodDeleted(Fault):
    kind, seconds = "pod force-deleted", (1, 3)

    def inject(self):
        pod = self.victim
        k.kubectl("delete", "pod", pod.name, "-n", pod.namespace, "--force", "--grace-period=0", "--wait=false")


class OperatorKilled(Fault):
    """Again and again, at moments that have nothing to do with what it does; a node dies meanwhile, so that there is something to do."""

    kind, seconds = "operator killed", (6, 12)

    def inject(self):
        self.victim.signal(signal.SIGKILL)

    def during(self):
        end = time.monotonic() + self.lasts
        while time.monotonic() < end:
            send(operator_processes(), signal.SIGKILL)
            self.field.hold(self.dice.uniform(0.2, 2.5))

    def heal(self):
        """What died often is started later and later, as long as its pod is the same: that would be a part of the faults that follow."""
        delete_operators()


class DiskFull(Fault):
    kind, seconds = "disk full", (8, 12)

    def prepare(self):
        super().prepare()
        self.ballast = self.victim.volume() / "ballast"
        # It would give way, and there would be room again.
        remove(self.victim.volume() / "storage/trash")

    def inject(self):
        with self.ballast.open("wb", buffering=0) as file:
            # Most of it is only set aside, which leaves the disk under the volume alone.
            space = os.statvfs(self.ballast.parent)
            os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - (16 << 20)))
            file.seek(0, os.SEEK_END)
            # The last blocks too: ENOSPC has to come from the file system, not only from the node's watermarks.
            for size in (1 << 20, 4096):
                try:
                    while file.write(b"\0" * size):
                        pass
                except OSError:
                    continue

    def check(self):
        """Reads go on."""
        pod = self.victim
        assert self.field.reads_from(pod), f"{pod.name} doesn't read while its disk is full"

    def heal(self):
        self.ballast.unlink(missing_ok=True)


class VolumeEmpty(Fault):
    """The pod comes back on a volume with nothing on it. With one copy the data is put back, and nothing may be served meanwhile."""

    kind, seconds = "volume replaced by an empty one", (8, 12)

    def prepare(self):
        super().prepare()
        self.volume = self.victim.volume()

    def inject(self):
        with Stopped(self.victim):
            os.rename(self.volume / "storage", self.volume / "aside")
        if self.field.factor > 1:
            remove(self.volume / "aside")

    def heal(self):
        aside = self.volume / "aside"
        if self.field.factor > 1 or not aside.exists():
            return remove(aside)
        with Stopped(self.field.pod(self.number)):
            remove(self.volume / "storage")
            os.rename(aside, self.volume / "storage")


class VolumeOld(Fault):
    """The pod comes back with what was on its volume some time ago."""

    kind, factor, seconds = "volume set back", 2, (6, 10)

    def prepare(self):
        """The copy is made while the process stands still: it is what a crash at this moment would have left, but for the trash, which takes long."""
        super().prepare()
        self.storage, pids = self.victim.volume() / "storage", self.victim.processes()
        self.old = Path(tempfile.mkdtemp(prefix="quiver-chaos-")) / "storage"
        send(pids, signal.SIGSTOP)
        try:
            copy_folder(self.storage, self.old, without="trash")
        finally:
            send(pids, signal.SIGCONT)
        self.field.hold(self.lasts)

    def inject(self):
        with Stopped(self.victim):
            remove(self.storage)
            k.run("cp", "-a", str(self.old), str(self.storage))

    def heal(self):
        remove(self.old.parent)


class S3Down(Fault):
    """The server that snapshots go to dies; until it is healed its port refuses, or says nothing. A snapshot is due meanwhile."""

    kind, seconds, has_victim = "S3 down", (70, 80), False

    def __init__(self, field, seed: int):
        super().__init__(field, seed)
        self.says = self.dice.choice((["REJECT", "--reject-with", "tcp-reset"], ["DROP"]))

    def prepare(self):
        super().prepare()
        self.network, self.bucket, self.before = Network(), Bucket(), self.field.snapshots()

    def inject(self):
        self.began = time.monotonic_ns()
        self.network.rule(self.bucket.pod.holder, "INPUT", "-p", "tcp", "--dport", self.bucket.PORT, "-j", *self.says)
        self.bucket.kill()

    def check(self):
        """Writes meet no more than a hand-over, since leads may be evened out after the fault before, while a snapshot is tried again and again."""
        gaps, states = self.field.handed_over(self.began, time.monotonic_ns()), self.field.snapshots()
        failed = [said for said in self.field.failed(self.began) if not said.startswith(HANDING_OVER)]
        assert not failed, f"{len(failed)} writes while S3 was down: {failed[:3]}"
        assert max(gaps) <= HANDOVER_MAX, f"writes waited {max(gaps):.1f} s while S3 was down"
        assert "Uploading" in states.values(), f"no snapshot was due while S3 was down: {states}"
        self.complete = {name for name, state in states.items() if state == "Complete"}

    def heal(self):
        self.network.clear()
        self.bucket.wait_ready()

    def after(self):
        """A snapshot that waited is complete, and none was given up."""
        def states():
            return {name: state for name, state in self.field.snapshots().items() if self.before.get(name) != state}

        wait_until(lambda: any(state == "Complete" and name not in self.complete for name, state in states().items()), 300, "a snapshot is complete after S3 was down", 1)
        assert "Failed" not in states().values(), f"a snapshot was given up because S3 was down: {states()}"


# A short run takes the first of them. Machines die twice as often as anything else happens: what that takes is judged.
KINDS = [Kill, MachineDead, Isolated, VolumeEmpty, Pause, DiskFull, CutFromPods, ApiFrozen, OneWay, OperatorKilled,
         CutFromApi, Bridge, Flapping, Loss, ApiDown, KilledWhileApiDown, MachineDead, PodDeleted, VolumeOld, S3Down]


def schedule(field, seed: int, count: int, factor: int) -> list[Fault]:
    """Each kind once before any comes twice, in an order of the seed."""
    dice, drawn = Random(seed), []
    possible = [kind for kind in KINDS if kind.factor <= factor][:count]
    while len(drawn) < count:
        drawn += dice.sample(possible, len(possible))
    return [kind(field, dice.getrandbits(32)) for kind in drawn[:count]]
