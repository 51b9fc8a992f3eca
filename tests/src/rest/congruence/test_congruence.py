"""Random operations from a seed give the same answers from the node as from qdrant-client's in-memory implementation."""
import random
import warnings

import pytest
from harness import limits
from harness.node import Node
from qdrant_client import QdrantClient

from .machine import run
from .searches import Searches

SEEDS = limits.pick(200, 1000)
STEPS = limits.pick(60, 100)


@pytest.fixture(scope="module")
def congruent_node(tmp_path_factory):
    node = Node(tmp_path_factory.mktemp("node")).start()
    yield node
    node.kill()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_same_answers(congruent_node, seed):
    node, name = congruent_node, f"seed-{seed}"
    remote = QdrantClient(url=node.url, timeout=60, check_compatibility=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = Searches(random.Random(seed), node, remote, QdrantClient(":memory:"), name)

        def power_cut():
            node.kill()
            node.start()

        run(pair, seed, STEPS, middle=power_cut if seed % 20 == 19 else None)
        remote.delete_collection(name)
        remote.close()
