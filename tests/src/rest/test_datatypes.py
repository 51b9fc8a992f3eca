"""Vectors of float16 and uint8 are answered and compared as the numbers that the datatype can say."""
import numpy as np
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m

POINTS, DIM = 200, 12
DISTANCES = {"cosine": m.Distance.COSINE, "dot": m.Distance.DOT, "euclid": m.Distance.EUCLID, "manhattan": m.Distance.MANHATTAN}
MULTI = m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)
rng = np.random.default_rng(5)


def rounded(x: np.ndarray, datatype: str, distance: str) -> np.ndarray:
    """What is stored of a vector, and what a query is compared as."""
    if datatype == "uint8":
        return np.clip(np.trunc(x), 0, 255).astype(np.float32)
    if distance == "cosine":
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return x.astype(np.float16).astype(np.float32)


def scores(query: np.ndarray, rows: np.ndarray, distance: str) -> np.ndarray:
    match distance:
        case "euclid":
            return np.sqrt(((rows - query) ** 2).sum(axis=-1))
        case "manhattan":
            return np.abs(rows - query).sum(axis=-1)
        case "cosine":
            return rows @ query / np.linalg.norm(rows, axis=-1) / np.linalg.norm(query)
    return rows @ query


@pytest.fixture(scope="module")
def client(shared_node):
    client = QdrantClient(url=shared_node.url, timeout=60, check_compatibility=False)
    yield client
    client.close()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("datatype", ["float16", "uint8"])
def test_answers_and_scores_are_those_of_what_is_stored(client, datatype, distance):
    name = f"{datatype}_{distance}"
    params = m.VectorParams(size=DIM, distance=DISTANCES[distance], datatype=m.Datatype(datatype))
    vectors = {"one": params, "many": params.model_copy(update={"multivector_config": MULTI})}
    client.create_collection(name, vectors_config=vectors, optimizers_config=m.OptimizersConfigDiff(indexing_threshold=1))
    assert client.get_collection(name).config.params.vectors["one"].datatype == datatype
    scale, shift = (80, 100) if datatype == "uint8" else (1, 0)
    given = (rng.standard_normal((POINTS, DIM)) * scale + shift).astype(np.float32)
    points = [m.PointStruct(id=n, vector={"one": v.tolist(), "many": [v.tolist(), v[::-1].tolist()]}) for n, v in enumerate(given)]
    client.upsert(name, points=points, wait=True)
    stored = rounded(given, datatype, distance)
    for record in client.retrieve(name, list(range(POINTS)), with_vectors=True):
        rows = np.array([record.vector["one"], *record.vector["many"]], np.float32)
        expected = np.stack([stored[record.id], stored[record.id], stored[record.id][::-1]])
        # Lengths are added up in another order, so a number may be rounded to the next one.
        np.testing.assert_allclose(rows, expected, rtol=1.1e-3 if (datatype, distance) == ("float16", "cosine") else 0, atol=1e-7)
    for _ in range(5):
        asked = (rng.standard_normal(DIM) * scale + shift).astype(np.float32)
        query = rounded(asked, datatype, distance)
        for using, of in [("one", scores(query, stored, distance)), ("many", None)]:
            if of is None:
                both = np.stack([scores(query, stored, distance), scores(query, stored[:, ::-1], distance)])
                of = both.min(axis=0) if distance in ("euclid", "manhattan") else both.max(axis=0)
            found = client.query_points(name, query=asked.tolist(), using=using, limit=10, search_params=m.SearchParams(exact=True)).points
            best = np.sort(of) if distance in ("euclid", "manhattan") else -np.sort(-of)
            np.testing.assert_allclose([p.score for p in found], best[:10], rtol=2e-3, atol=2e-3)
            np.testing.assert_allclose([p.score for p in found], [of[p.id] for p in found], rtol=2e-3, atol=2e-3)


QUANTIZATION = {
    "none": None,
    "scalar": m.ScalarQuantization(scalar=m.ScalarQuantizationConfig(type=m.ScalarType.INT8, always_ram=True)),
    "binary": m.BinaryQuantization(binary=m.BinaryQuantizationConfig()),
}


@pytest.mark.parametrize("quantization", QUANTIZATION)
def test_cosine_of_bytes_is_kept_when_they_are_sealed_indexed_and_read_again(client, shared_node, quantization):
    name = f"bytes_{quantization}"
    params = m.VectorParams(size=DIM, distance=m.Distance.COSINE, datatype=m.Datatype.UINT8)
    vectors = {"one": params, "many": params.model_copy(update={"multivector_config": MULTI})}
    optimizers = m.OptimizersConfigDiff(indexing_threshold=1, default_segment_number=1)
    hnsw = m.HnswConfigDiff(full_scan_threshold=10)
    client.create_collection(name, vectors_config=vectors, optimizers_config=optimizers, hnsw_config=hnsw, quantization_config=QUANTIZATION[quantization])
    # Lengths differ widely, so a product would put other points first than a cosine.
    given = (rng.random((1500, DIM)) * rng.choice([20, 60, 255], (1500, 1))).astype(np.uint8)
    given[:, 0] = np.maximum(given[:, 0], 1)
    points = [m.PointStruct(id=n, vector={"one": v.tolist(), "many": [v.tolist(), v[::-1].tolist()]}) for n, v in enumerate(given)]
    client.upload_points(name, points, wait=True)
    queries = rng.integers(0, 256, (20, DIM))
    for restart in (False, True):
        if restart:
            shared_node.kill()
            shared_node.start()
        assert shared_node.wait_indexed(name)["indexed_vectors_count"] == 2 * len(given)
        for record in client.retrieve(name, list(range(len(given))), with_vectors=True):
            assert record.vector["one"] == given[record.id].tolist()
            assert record.vector["many"] == [given[record.id].tolist(), given[record.id][::-1].tolist()]
        for using, rows in [("one", given[:, None]), ("many", np.stack([given, given[:, ::-1]], axis=1))]:
            hits = 0
            for query in queries:
                of = scores(query, rows.astype(np.float64), "cosine").max(axis=1)
                best = np.sort(of)[::-1][:10]
                for exact in (True, False):
                    found = client.query_points(name, query=query.tolist(), using=using, limit=10, search_params=m.SearchParams(exact=exact)).points
                    np.testing.assert_allclose([p.score for p in found], [of[p.id] for p in found], atol=1e-5)
                    if exact:
                        np.testing.assert_allclose([p.score for p in found], best, atol=1e-5)
                    else:
                        hits += sum(p.score >= best[-1] - 1e-5 for p in found)
            assert hits >= 0.95 * 10 * len(queries), f"{using}: {hits} of the nearest were found"


def test_turbo4_is_shown_and_answers_with_numbers_as_near_as_it_has_to(shared_node):
    # The client may not know the name.
    vectors = {"size": 2, "distance": "Dot", "datatype": "turbo4"}
    assert shared_node.request("PUT", "/collections/turbo", {"vectors": vectors})[0] == 200
    assert shared_node.request("GET", "/collections/turbo")[1]["result"]["config"]["params"]["vectors"] == vectors
    assert shared_node.request("PUT", "/collections/turbo/points?wait=true", {"points": [{"id": 1, "vector": [0.1, -3]}]})[0] == 200
    assert shared_node.request("GET", "/collections/turbo/points/1")[1]["result"]["vector"] == pytest.approx([0.1, -3], rel=0.1)
