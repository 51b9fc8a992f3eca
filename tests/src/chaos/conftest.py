"""A cluster of this machine with the operator on it, and a collection that a fleet writes to while things go wrong."""
import os
import random
import sys

import pytest
from harness import cache
from harness import kubernetes as k
from harness.limits import full

# The cluster's own tests know how to make images and start machines.
sys.path.append(str(cache.TESTS / "src/cluster"))
from images import MINIO, NODE, OPERATOR  # noqa: E402
from running import running  # noqa: E402
from sizes import VOLUME_MIB  # noqa: E402


@pytest.fixture(scope="session")
def seed() -> int:
    """Printed; QUIVER_SEED replays what is drawn. A run in CI draws the same each time, so that a change of the outcome is one of the code."""
    drawn = int(os.environ.get("QUIVER_SEED", random.randrange(1 << 32) if full() else 7))
    print(f"\nQUIVER_SEED={drawn}", flush=True)
    return drawn


@pytest.fixture(scope="session")
def field(tmp_path_factory, seed):
    if "KUBECONFIG" in os.environ:
        pytest.skip("faults reach into processes and network namespaces of this machine: only on the cluster that the tests start")
    from field import SPACE, Field
    from ground import SYSTEM
    from s3 import Server

    programs = [(NODE, os.environ["QUIVER_NODE"]), (OPERATOR, os.environ["QUIVER_OPERATOR"]), (MINIO, k.tool("minio"))]
    with running(tmp_path_factory.mktemp("images"), programs, QUIVER_CLUSTER_VOLUME_MIB=str(VOLUME_MIB)) as cluster:
        k.apply(k.namespace(SYSTEM), k.namespace(SPACE))
        name, tag = OPERATOR.split(":")
        k.run("helm", "upgrade", "--install", "quiver", str(k.CHART), "-n", SYSTEM, "--set", f"image.repository={name},image.tag={tag},defaults.nodeImage={NODE}", "--wait", "--timeout=3m")
        Server()  # with a bucket for snapshots
        made = Field(cluster, seed, tmp_path_factory.mktemp("field"))
        made.fleet.start()
        yield made
        made.fleet.stop()
        made.probe.stop()
