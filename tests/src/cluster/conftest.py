"""A cluster of three nodes with the images on it: our own (tests/cluster), or the one that KUBECONFIG names.

For a cluster given by KUBECONFIG, three variables say how to reach its machines:
  QUIVER_CLUSTER_LOAD     loads an image archive, e.g. `kind load image-archive --name quiver`; the archive's path is added
  QUIVER_CLUSTER_KILL     stops a node at once, e.g. `docker kill`; the node's name is added
  QUIVER_CLUSTER_REVIVE   starts it again, e.g. `docker start`
"""
import os
import shlex
import subprocess

import pytest
from harness import cache
from harness import kubernetes as k
from images import MINIO, NODE, OPERATOR, pack

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


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    own = "KUBECONFIG" not in os.environ
    if own:
        up = subprocess.run([COMMAND, "up", "3"], check=True, stdout=subprocess.PIPE, text=True)
        os.environ["KUBECONFIG"] = up.stdout.strip().splitlines()[-1]
    running = Cluster(own)
    folder = tmp_path_factory.mktemp("images")
    programs = [(NODE, os.environ["QUIVER_NODE"]), (OPERATOR, os.environ["QUIVER_OPERATOR"]), (MINIO, k.tool("minio"))]
    for image, program in programs:
        running.do("load", pack(folder, image, program))
    yield running
    if own and "QUIVER_KEEP_CLUSTER" not in os.environ:
        subprocess.run([COMMAND, "down"], check=True)


@pytest.fixture(scope="session")
def minio(cluster):
    """An S3 server in the cluster; gives a client of this machine, with an empty bucket `snapshots`."""
    from s3 import Server

    return Server()
