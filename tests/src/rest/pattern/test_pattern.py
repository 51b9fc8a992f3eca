"""What a user's program does, unchanged, with the oldest and the newest client that matter; runs once in the environment of each."""
import datetime
import random
import urllib.request
import uuid

import pytest
from qdrant_client import QdrantClient, models

DIM, POINTS, NAME = 1536, 600, "articles"


def vector(seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(0, 1) for _ in range(DIM)]


def create(client: QdrantClient) -> None:
    client.create_collection(
        collection_name=NAME,
        vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE, on_disk=True),
        quantization_config=models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
        ),
        hnsw_config=models.HnswConfigDiff(m=16, ef_construct=100),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=20000),
    )
    client.create_payload_index(NAME, field_name="tenant", field_schema=models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(NAME, field_name="created", field_schema=models.PayloadSchemaType.DATETIME)


def fill(client: QdrantClient) -> None:
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    for first in range(0, POINTS, 200):
        client.upsert(
            collection_name=NAME,
            points=[
                models.PointStruct(
                    id=str(uuid.UUID(int=i)) if i % 3 == 0 else i, vector=vector(i),
                    payload={"tenant": f"t{i % 5}", "created": (start + datetime.timedelta(days=i)).isoformat(), "n": i},
                )
                for i in range(first, first + 200)
            ],
            wait=True,
        )


WANTED = models.Filter(
    must=[
        models.FieldCondition(key="tenant", match=models.MatchValue(value="t2")),
        models.FieldCondition(key="created", range=models.DatetimeRange(gte="2024-03-01T00:00:00Z", lt="2025-06-01T00:00:00Z")),
    ]
)


def search(client: QdrantClient, query: list[float]) -> list[models.ScoredPoint]:
    """The old form where the client has it, the new one where it hasn't."""
    asked = {"collection_name": NAME, "query_filter": WANTED, "limit": 5, "with_payload": True,
             "search_params": models.SearchParams(hnsw_ef=128, exact=False)}
    if hasattr(client, "search"):
        return client.search(query_vector=query, **asked)
    return client.query_points(query=query, **asked).points


def check(client: QdrantClient) -> None:
    assert client.count(NAME).count == POINTS
    hits = search(client, vector(122))
    # 122 is of tenant t2 and within the dates; a vector is nearest to itself.
    assert hits[0].id == 122 and hits[0].score == pytest.approx(1, abs=1e-5)
    assert len(hits) == 5
    for hit in hits:
        assert hit.payload["tenant"] == "t2" and "2024-03" <= hit.payload["created"][:7] < "2025-06"
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    info = client.get_collection(NAME)
    assert info.config.params.vectors.on_disk is True and info.config.params.vectors.size == DIM
    assert info.config.quantization_config.scalar.quantile == pytest.approx(0.99)
    assert {k: v.data_type.value for k, v in info.payload_schema.items()} == {"tenant": "keyword", "created": "datetime"}


@pytest.mark.filterwarnings("ignore:Qdrant client version")
def test_users_pattern_survives_kill9(node):
    client = QdrantClient(url=node.url, timeout=60)
    create(client)
    fill(client)
    check(client)
    snapshot = client.create_snapshot(collection_name=NAME)
    assert snapshot.size > 0
    node.kill()
    node.start()
    check(client)
    assert [s.name for s in client.list_snapshots(NAME)] == [snapshot.name]
    with urllib.request.urlopen(f"{node.url}/collections/{NAME}/snapshots/{snapshot.name}") as download:
        assert len(download.read()) == snapshot.size


def test_version_is_not_complained_about(node, recwarn):
    if hasattr(QdrantClient, "search"):
        pytest.skip("a client of 1.15 warns of any server later than 1.16")
    client = QdrantClient(url=node.url)
    client.get_collections()
    client.close()
    assert not [w for w in recwarn if "incompatible" in str(w.message)]
