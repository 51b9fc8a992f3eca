"""A cluster with the images on it: our own (tests/cluster), or the one that KUBECONFIG names.

For a cluster given by KUBECONFIG, three variables say how to reach its machines:
  QUIVER_CLUSTER_LOAD     loads an image archive, e.g. `kind load image-archive --name quiver`; the archive's path is added
  QUIVER_CLUSTER_KILL     stops a node at once, e.g. `docker kill`; the node's name is added
  QUIVER_CLUSTER_REVIVE   starts it again, e.g. `docker start`
"""
import os
import shlex
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import cache
from images import pack

COMMAND = str(cache.TESTS / "cluster")


class Cluster:
    """What tests do to a whole cluster."""

    def __init__(self, own: bool):
        variables = {"load": "QUIVER_CLUSTER_LOAD", "kill": "QUIVER_CLUSTER_KILL", "revive": "QUIVER_CLUSTER_REVIVE"}
        self.commands = {verb: [COMMAND, verb] if own else shlex.split(os.environ.get(name, "")) for verb, name in variables.items()}

    def do(self, verb: str, what: str) -> None:
        if not self.commands[verb]:
            pytest.skip(f"the cluster is not ours, and nothing says how to {verb} on it")
        subprocess.run([*self.commands[verb], what], check=True)


@contextmanager
def running(folder: Path, programs: list[tuple[str, str]], **settings: str):
    """Three nodes, with an image for each (image, program). `settings` are variables for tests/cluster, if it is the one that starts them."""
    own = "KUBECONFIG" not in os.environ
    if own:
        up = subprocess.run([COMMAND, "up", "3"], check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **settings})
        os.environ["KUBECONFIG"] = up.stdout.strip().splitlines()[-1]
    cluster = Cluster(own)
    for image, program in programs:
        cluster.do("load", pack(folder, image, program))
    yield cluster
    if own:
        # Another tier of the same run starts a cluster of its own.
        del os.environ["KUBECONFIG"]
        if "QUIVER_KEEP_CLUSTER" not in os.environ:
            subprocess.run([COMMAND, "down"], check=True)
