"""Recall on real embeddings over REST, with INT8 codes: without and with filters, and whatever came first, index or data."""
import os
from pathlib import Path

import pytest
from harness.dataset import FILTERS, INDEXES, DataSet, recall
from qdrant_client import QdrantClient, models

UNFILTERED, FILTERED = 0.98, 0.97
QUERIES = 500


@pytest.fixture(scope="module")
def data():
    return DataSet.load(Path(os.environ["QUIVER_DATA_SET"]))


@pytest.fixture(scope="module")
def client(shared_node):
    return QdrantClient(url=shared_node.url, timeout=300)


def create(client, name, data):
    client.create_collection(
        name, vectors_config=models.VectorParams(size=data.vectors.shape[1], distance=models.Distance.COSINE),
        quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)),
        hnsw_config=models.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=1000),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=5000),
    )


def fill(client, name, data):
    step = 2000
    for first in range(0, len(data.vectors), step):
        part = slice(first, first + step)
        client.upsert(name, models.Batch(ids=list(range(len(data.vectors)))[part], vectors=data.vectors[part].tolist(), payloads=data.payloads[part]), wait=True)


def index(client, name):
    for field, kind in INDEXES.items():
        client.create_payload_index(name, field, kind, wait=True)


def search(client, name, data, conditions):
    found = []
    for first in range(0, QUERIES, 50):
        batch = [models.QueryRequest(query=q.tolist(), limit=10, params=models.SearchParams(hnsw_ef=128), filter=models.Filter(must=conditions) if conditions else None)
                 for q in data.queries[first : first + 50]]
        found += [[p.id for p in answer.points] for answer in client.query_batch_points(name, batch)]
    return found


def measure(client, name, data, label, shown) -> dict[str, float]:
    figures = {kind: recall(search(client, name, data, conditions), data.neighbours[kind]) for kind, conditions in FILTERS.items()}
    with shown.disabled():
        print(f"\nrecall@10, {len(data.vectors)} points, hnsw_ef 128, {label}: " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
    return figures


def check(figures: dict[str, float]) -> None:
    low = {k: v for k, v in figures.items() if v < (UNFILTERED if k == "none" else FILTERED)}
    assert not low, f"below {UNFILTERED} (none) or {FILTERED}: {low}"


def test_recall_holds_whether_index_or_data_came_first(shared_node, client, data, capsys):
    name = "glosses"
    create(client, name, data)
    index(client, name)
    fill(client, name, data)
    info = shared_node.wait_indexed(name)
    assert info["points_count"] == len(data.vectors)
    assert info["indexed_vectors_count"] == len(data.vectors), "everything has a graph"
    check(measure(client, name, data, "payload indexes made first", capsys))
    for field in INDEXES:
        client.delete_payload_index(name, field, wait=True)
    index(client, name)
    check(measure(client, name, data, "payload indexes made last", capsys))
