"""Multivectors give the same answers from the node as from qdrant-client's in-memory implementation."""
import json
import random
import urllib.error
import urllib.request
import warnings

import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m

POINTS, DIM, EVERYTHING = 240, 8, 10_000
rng = random.Random(23)


def dense(dim: int = DIM) -> list[float]:
    return [round(rng.gauss(0.2, 1), 4) for _ in range(dim)]


def multi() -> list[list[float]]:
    return [dense() for _ in range(rng.randint(1, 6))]


MULTI = m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)
DISTANCES = {"cosine": m.Distance.COSINE, "dot": m.Distance.DOT, "euclid": m.Distance.EUCLID, "manhattan": m.Distance.MANHATTAN}
NAMES = list(DISTANCES)


def vectors_of(n: int) -> dict:
    """Every seventh point has no multivectors, every fifth no plain vector, every eleventh multivectors of one row."""
    made = {} if n % 5 == 3 else {"plain": dense(4)}
    if n % 7 != 2:
        made |= {name: multi() if n % 11 else [dense()] for name in NAMES}
    return made


ROWS = [(n, vectors_of(n), {"n": n % 20, "kind": "abcd"[n % 4]}) for n in range(POINTS)]
CHANGED = [(n, multi(), multi()) for n in range(61, 90)]
SOME = m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gte=8))])
KIND = m.Filter(must=[m.FieldCondition(key="kind", match=m.MatchValue(value="b"))])


def fill(client, name: str, **more) -> None:
    config = {"plain": m.VectorParams(size=4, distance=m.Distance.DOT)}
    config |= {name: m.VectorParams(size=DIM, distance=d, multivector_config=MULTI) for name, d in DISTANCES.items()}
    client.create_collection(name, vectors_config=config, sparse_vectors_config={"words": m.SparseVectorParams()}, **more)
    client.upsert(name, wait=True, points=[m.PointStruct(id=n, vector=v, payload=p) for n, v, p in ROWS])
    client.delete(name, points_selector=list(range(0, 60, 6)), wait=True)
    client.update_vectors(name, points=[m.PointVectors(id=n, vector={"dot": v, "euclid": w}) for n, v, w in CHANGED], wait=True)
    client.delete_vectors(name, vectors=NAMES, points=[5, 7, 11], wait=True)


@pytest.fixture(scope="module", params=[1, 3], ids=["one shard", "three shards"])
def both(request, shared_node):
    remote, name = QdrantClient(url=shared_node.url, timeout=60, check_compatibility=False), f"multi{request.param}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local = QdrantClient(":memory:")
        fill(local, name)
        fill(remote, name, shard_number=request.param, optimizers_config=m.OptimizersConfigDiff(indexing_threshold=1))
        remote.create_payload_index(name, "n", "integer", wait=True)
        yield remote, local, name
    remote.close()


def compare(both, **asked) -> None:
    """Ties have no order, so: the scores are the same in their order, and each point has the score that it should have."""
    remote, local, name = both
    limit = asked.pop("limit", 12)
    ours, theirs = (c.query_points(name, limit=limit, **asked).points for c in (remote, local))
    known = {p.id: p.score for p in local.query_points(name, limit=EVERYTHING, **asked).points}
    assert len({p.id for p in ours}) == len(ours) == len(theirs), f"{asked}: {ours} and {theirs}"
    for a, b in zip(ours, theirs):
        near = lambda score: abs(a.score - score) <= 2e-4 * max(1.0, abs(b.score))
        assert near(b.score), f"{asked}: {[p.score for p in ours]}, should be {[p.score for p in theirs]}"
        assert a.id in known and near(known[a.id]), f"{asked}: {a.id} scores {a.score}"


@pytest.mark.parametrize("using", NAMES)
def test_nearest(both, using):
    for i in range(12):
        asked = [None, SOME, KIND][i % 3]
        compare(both, query=multi(), using=using, query_filter=asked, limit=[1, 5, 40, 1000][i % 4])
        # One row alone, and a threshold in the middle.
        compare(both, query=[dense()], using=using, query_filter=asked, offset=i % 3)
        threshold = both[1].query_points(both[2], query=(q := multi()), using=using, limit=30).points[-1].score
        compare(both, query=q, using=using, score_threshold=threshold + (1e-3 if using in ("euclid", "manhattan") else -1e-3), limit=100)


@pytest.mark.parametrize("using", NAMES)
def test_by_id_and_examples(both, using):
    ids = [n for n, v, _ in ROWS if "dot" in v and n > 90]
    for i in range(6):
        a, b, c = rng.sample(ids, 3)
        compare(both, query=a, using=using, query_filter=[None, SOME][i % 2])
        for strategy in m.RecommendStrategy:
            query = m.RecommendQuery(recommend=m.RecommendInput(positive=[a, multi()], negative=[b] if i % 2 else [], strategy=strategy))
            compare(both, query=query, using=using)
        pairs = [m.ContextPair(positive=a, negative=multi()), m.ContextPair(positive=multi(), negative=c)]
        compare(both, query=m.DiscoverQuery(discover=m.DiscoverInput(target=b, context=pairs)), using=using)
        compare(both, query=m.ContextQuery(context=pairs), using=using)


@pytest.mark.parametrize("using", NAMES)
def test_late_interaction(both, using):
    for i in range(6):
        prefetch = m.Prefetch(query=dense(4), using="plain", limit=40, filter=[None, SOME][i % 2])
        compare(both, prefetch=prefetch, query=multi(), using=using)
        inner = [m.Prefetch(query=multi(), using="dot", limit=30), m.Prefetch(query=dense(4), using="plain", limit=30)]
        compare(both, prefetch=inner, query=dense(4), using="plain")
        compare(both, prefetch=m.Prefetch(prefetch=inner, query=multi(), using=using, limit=20), query=multi(), using="cosine")


def test_mmr_groups_and_batches(both):
    remote, local, name = both
    scores = lambda points: pytest.approx([p.score for p in points], rel=1e-3, abs=1e-3)
    for using in NAMES:
        query = m.NearestQuery(nearest=multi(), mmr=m.Mmr(diversity=0.4, candidates_limit=60))
        ours, theirs = (c.query_points(name, query=query, using=using, limit=8).points for c in (remote, local))
        assert [p.score for p in ours] == scores(theirs)
        asked = multi()
        ours, theirs = (c.query_points_groups(name, group_by="kind", query=asked, using=using, limit=4, group_size=3).groups for c in (remote, local))
        assert [[h.score for h in g.hits] for g in ours] == [scores(g.hits) for g in theirs]
    requests = [m.QueryRequest(query=multi(), using=using, limit=5) for using in NAMES] + [m.QueryRequest(query=dense(4), using="plain", limit=5)]
    for a, b in zip(*(c.query_batch_points(name, requests=requests) for c in (remote, local))):
        assert [p.score for p in a.points] == scores(b.points)
    pairs = remote.search_matrix_pairs(name, sample=20, limit=3, using="dot").pairs
    assert pairs and all(p.a != p.b for p in pairs)


def test_stored_vectors_are_answered_as_lists_of_lists(both):
    remote, local, name = both
    ids = list(range(60, 120))
    for ask in (True, ["dot", "cosine"], ["plain"]):
        ours = {r.id: r.vector for r in remote.retrieve(name, ids, with_vectors=ask)}
        scrolled = {r.id: r.vector for r in remote.scroll(name, limit=EVERYTHING, with_vectors=ask)[0]}
        for record in local.retrieve(name, ids, with_vectors=ask):
            assert ours[record.id] == scrolled[record.id] and ours[record.id].keys() == record.vector.keys()
            for vector_name, vector in record.vector.items():
                rows = vector if vector_name != "plain" else [vector]
                got = ours[record.id][vector_name] if vector_name != "plain" else [ours[record.id][vector_name]]
                assert [pytest.approx(row, abs=1e-5) for row in rows] == got
    count = remote.count(name, count_filter=m.Filter(must=[m.HasVectorCondition(has_vector="dot")])).count
    assert count == len({n for n, v, _ in ROWS if "dot" in v} - set(range(0, 60, 6)) - {5, 7, 11} | {n for n, _, _ in CHANGED})


def call(node, method: str, path: str, body=None):
    request = urllib.request.Request(node.url + path, json.dumps(body).encode() if body is not None else None, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return 200, json.load(answer)["result"]
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)["status"]["error"]


def test_the_unnamed_vector_and_what_is_refused(shared_node):
    node, c = shared_node, "/collections/unnamed_multi"
    config = {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}
    assert call(node, "PUT", c, {"vectors": config}) == (200, True)
    assert call(node, "GET", c)[1]["config"]["params"]["vectors"] == config
    points = [{"id": 1, "vector": [[0, 0], [3, 4]]}, {"id": 2, "vector": [1, 2]}]
    assert call(node, "PUT", f"{c}/points?wait=true", {"points": points})[0] == 200
    assert call(node, "GET", f"{c}/points/1")[1]["vector"] == [[0.0, 0.0], [3.0, 4.0]]
    assert call(node, "GET", f"{c}/points/2")[1]["vector"] == [[1.0, 2.0]]
    found = call(node, "POST", f"{c}/points/query", {"query": [[1, 1], [1, 0]]})[1]["points"]
    assert [(p["id"], p["score"]) for p in found] == [(1, 10.0), (2, 4.0)]
    # A single vector asks as a multivector of one row.
    found = call(node, "POST", f"{c}/points/query", {"query": [1, 1]})[1]["points"]
    assert [(p["id"], p["score"]) for p in found] == [(1, 7.0), (2, 3.0)]

    def refused(vector, status: int, text: str, where=c) -> None:
        for wait in ("true", "false"):
            got = call(node, "PUT", f"{where}/points?wait={wait}", {"points": [{"id": 3, "vector": vector}]})
            assert got[0] == status and text in got[1], f"{vector}: {got}"

    refused([[1, 2, 3]], 400, "Wrong input: Vector dimension error: expected dim: 2, got 3")
    refused([1, 2, 3], 400, "Wrong input: Vector dimension error: expected dim: 2, got 3")
    refused([[1, 2], [1]], 422, "[points[0].vector.data: all vectors must have the same dimension, found vector with dimension 1]")
    refused([[]], 422, "[points[0].vector.data: all vectors must be non-empty]")
    refused({"": {"indices": [1], "values": [1.0]}}, 400, "Wrong input: Conversion between sparse and regular vectors failed")
    refused([[0.5] * 2] * (1 << 19), 422, "[points[0].vector.data: Total size of all vectors (1048576) must be less than 1048576]")
    assert call(node, "PUT", "/collections/plain_not_multi", {"vectors": {"size": 2, "distance": "Dot"}}) == (200, True)
    mixed = "Wrong input: Conversion between multi and regular vectors failed"
    refused([[1, 2], [3, 4]], 400, mixed, where="/collections/plain_not_multi")
    got = call(node, "POST", "/collections/plain_not_multi/points/query", {"query": [[1, 2], [3, 4]]})
    assert got[0] == 400 and mixed in got[1]
    got = call(node, "POST", f"{c}/points/query", {"query": [[1, 2, 3]]})
    assert got[0] == 400 and "Vector dimension error: expected dim: 2, got 3" in got[1]
    got = call(node, "PUT", "/collections/other_comparator", {"vectors": config | {"multivector_config": {"comparator": "sum"}}})
    assert got[0] == 400
    named = {"dense": {"size": 3, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}}
    assert call(node, "PUT", f"{c}/vectors/late?wait=true", named)[0] == 200
    assert call(node, "GET", c)[1]["config"]["params"]["vectors"]["late"]["multivector_config"] == {"comparator": "max_sim"}
    update = {"points": [{"id": 1, "vector": {"late": [[0, 0, 2], [0, 1, 0]]}}]}
    assert call(node, "PUT", f"{c}/points/vectors?wait=true", update)[0] == 200
    assert call(node, "GET", f"{c}/points/1")[1]["vector"] == {"": [[0.0, 0.0], [3.0, 4.0]], "late": [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]}
