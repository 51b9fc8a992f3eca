"""A collection several times as large as the memory of its node is filled, indexed, searched, and searched again after a restart."""
import resource
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from harness.dataset import recall
from harness.limits import pick
from harness.memory import limited
from harness.node import Node

MEMORY = 96 << 20
# So many times the memory are the raw vectors alone.
TIMES = 3
DIM = 768
ROWS = pick(1, 4) * TIMES * MEMORY // (DIM * 4)
BATCH = 500
CENTRES = 500
QUERIES, TOGETHER, K, EF, RECALL = 50, 25, 10, 128, 0.9
# Codes and links of a segment are in memory while it is written; so are the points that are not yet in one.
SEGMENT_KB = 16 << 10
NAME = "large"
SECONDS = 300

# Each `int8` as JSON and with a comma, all of one width, by its own bits: a hundred million are written so in no time.
NUMBERS = np.array([b"%4d," % n for n in (*range(128), *range(-128, 0))])

# Address space that is counted where there are no control groups, and that nobody touches: stacks of threads.
STACKS = 96 << 20
# The allocator asks for memory as it needs it, not for a gigabyte at once of which it uses little.
ALLOCATOR = {"MIMALLOC_ARENA_EAGER_COMMIT": "0"}


@contextmanager
def little_memory():
    """What a process calls to have no more than `MEMORY`. Mapped files count too where there are control groups."""
    with ExitStack() as stack:
        try:
            join = stack.enter_context(limited(MEMORY))
            enter = lambda: join(0)
        except OSError:
            enter = lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY + STACKS,) * 2)
        yield enter


@pytest.fixture(scope="module")
def vectors():
    """Around centres, in small whole numbers, of which JSON is made quickly."""
    random = np.random.default_rng(7)
    centres = random.integers(-60, 61, (CENTRES, DIM), dtype=np.int8)
    rows = centres[random.integers(0, CENTRES, ROWS)]
    for first in range(0, ROWS, BATCH):
        part = rows[first : first + BATCH]
        part += random.integers(-60, 61, part.shape, dtype=np.int8)
    return rows


@pytest.fixture(scope="module")
def queries(vectors):
    random = np.random.default_rng(8)
    return vectors[random.integers(0, ROWS, QUERIES)] // 2 + random.integers(-30, 31, (QUERIES, DIM), dtype=np.int8)


@pytest.fixture(scope="module")
def nearest(vectors, queries):
    """The ids of each query's nearest, by numpy."""
    asked = queries.T.astype(np.float32)
    scores = np.empty((QUERIES, ROWS), np.float32)
    for first in range(0, ROWS, BATCH):
        part = vectors[first : first + BATCH].astype(np.float32)
        scores[:, first : first + BATCH] = (part @ asked / np.linalg.norm(part, axis=1, keepdims=True)).T
    return np.argpartition(-scores, K)[:, :K]


def asked(node: Node, method: str, path: str, body):
    """The result of a request; a node that ended says how, since that is what a lack of memory looks like."""
    assert node.process.poll() is None, f"the node ended with {node.process.returncode}"
    code, answer = node.request(method, f"/collections/{NAME}{path}", body, timeout=SECONDS)
    assert code == 200, answer
    return answer["result"]


def fill(node: Node, vectors) -> None:
    for first in range(0, ROWS, BATCH):
        part = vectors[first : first + BATCH]
        rows = b",".join(b"[%s]" % NUMBERS[row.view(np.uint8)].tobytes()[:-1] for row in part)
        ids = ",".join(map(str, range(first, first + len(part)))).encode()
        asked(node, "PUT", "/points?wait=true", b'{"batch":{"ids":[%s],"vectors":[%s]}}' % (ids, rows))


def check_searches(node: Node, queries, nearest) -> None:
    searches = [{"query": query.tolist(), "limit": K, "params": {"hnsw_ef": EF}} for query in queries]
    found = []
    for first in range(0, QUERIES, TOGETHER):
        found += asked(node, "POST", "/points/query/batch", {"searches": searches[first : first + TOGETHER]})
    ids = [[p["id"] for p in answer["points"]] for answer in found]
    assert all(len(some) == K for some in ids)
    reached = recall(ids, nearest)
    assert reached >= RECALL, f"recall {reached}"


def test_a_collection_many_times_the_memory_answers(tmp_path, vectors, queries, nearest):
    with little_memory() as enter:
        node = Node(tmp_path / "node", ALLOCATOR, enter=enter)
        try:
            node.start()
            on_disk = {"vectors": {"size": DIM, "distance": "Cosine", "on_disk": True}, "hnsw_config": {"on_disk": True, "ef_construct": 64}}
            asked(node, "PUT", "", {**on_disk, "optimizers_config": {"indexing_threshold": 5000, "max_segment_size": SEGMENT_KB}})
            fill(node, vectors)
            info = node.wait_indexed(NAME, SECONDS)
            assert info["points_count"] == ROWS
            check_searches(node, queries, nearest)
            node.stop()
            node.start(seconds=SECONDS)
            check_searches(node, queries, nearest)
        finally:
            node.kill()
