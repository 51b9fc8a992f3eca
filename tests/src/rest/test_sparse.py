"""Sparse vectors give the same answers from the node as from qdrant-client's in-memory implementation."""
import json
import math
import random
import urllib.request
import warnings

import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m

POINTS, DIMENSIONS, EVERYTHING = 300, 60, 10_000
rng = random.Random(11)


def sparse(most: int = 9, signed: bool = True) -> m.SparseVector:
    """Some dimensions often, others rarely, in no order."""
    indices = list({int(DIMENSIONS ** rng.random()) for _ in range(rng.randint(1, most))})
    rng.shuffle(indices)
    return m.SparseVector(indices=indices, values=[round(rng.gauss(0.5, 1) if signed else rng.random() + 0.1, 3) for _ in indices])


def dense() -> list[float]:
    return [round(rng.gauss(0, 1), 4) for _ in range(4)]


def vectors_of(n: int) -> dict:
    """Every seventh point has no sparse vector, every fifth no dense one, every eleventh an empty one."""
    made = {} if n % 5 == 3 else {"dense": dense()}
    if n % 7 != 2:
        made |= {"plain": sparse() if n % 11 else m.SparseVector(indices=[], values=[]), "idf": sparse(signed=False)}
    return made


ROWS = [(n, vectors_of(n), {"n": n % 20, "kind": "abcd"[n % 4]}) for n in range(POINTS)]
SPARSE = {"plain": m.SparseVectorParams(), "idf": m.SparseVectorParams(modifier=m.Modifier.IDF, index=m.SparseIndexParams(full_scan_threshold=20))}
NAMES = ["plain", "idf"]
SOME = m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gte=8))])
KIND = m.Filter(must=[m.FieldCondition(key="kind", match=m.MatchValue(value="b"))])


def fill(client, name: str, **more) -> None:
    config = {"dense": m.VectorParams(size=4, distance=m.Distance.DOT)}
    client.create_collection(name, vectors_config=config, sparse_vectors_config=SPARSE, **more)
    client.upsert(name, wait=True, points=[m.PointStruct(id=n, vector=v, payload=p) for n, v, p in ROWS])


def change(client, name: str) -> None:
    """Updates and deletions, so that the statistics are not those of what was written first."""
    client.delete(name, points_selector=list(range(0, 60, 6)), wait=True)
    client.update_vectors(name, points=[m.PointVectors(id=n, vector={"plain": v, "idf": w}) for n, v, w in CHANGED], wait=True)
    client.delete_vectors(name, vectors=["plain", "idf"], points=[5, 7, 11], wait=True)


CHANGED = [(n, sparse(), sparse(signed=False)) for n in range(61, 90)]


@pytest.fixture(scope="module", params=[1, 3], ids=["one shard", "three shards"])
def both(request, shared_node):
    remote, name = QdrantClient(url=shared_node.url, timeout=60, check_compatibility=False), f"s{request.param}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local = QdrantClient(":memory:")
        fill(local, name)
        fill(remote, name, shard_number=request.param, optimizers_config=m.OptimizersConfigDiff(indexing_threshold=1))
        for client in (local, remote):
            change(client, name)
        remote.create_payload_index(name, "n", "integer", wait=True)
        yield remote, local, name
    remote.close()


def same(ours, theirs, everything, what: str) -> None:
    """Ties have no order, so: the scores are the same in their order, and each point has the score that it should have."""
    known = {p.id: p.score for p in everything}
    assert len({p.id for p in ours}) == len(ours) == len(theirs), f"{what}: {ours} and {theirs}"
    for a, b in zip(ours, theirs):
        tolerance = 2e-4 * max(1.0, abs(b.score))
        assert abs(a.score - b.score) <= tolerance, f"{what}: {[p.score for p in ours]}, should be {[p.score for p in theirs]}"
        assert a.id in known and abs(a.score - known[a.id]) <= tolerance, f"{what}: {a.id} scores {a.score}"


def compare(both, **asked) -> None:
    remote, local, name = both
    limit = asked.pop("limit", 12)
    ours = remote.query_points(name, limit=limit, **asked).points
    theirs = local.query_points(name, limit=limit, **asked).points
    same(ours, theirs, local.query_points(name, limit=EVERYTHING, **asked).points, str(asked))


@pytest.mark.parametrize("using", NAMES)
def test_nearest(both, using):
    for i in range(24):
        asked = [None, SOME, KIND][i % 3]
        compare(both, query=sparse(), using=using, query_filter=asked, limit=[1, 5, 40, 1000][i % 4])
        compare(both, query=sparse(), using=using, score_threshold=0.5, offset=i % 3)


@pytest.mark.parametrize("using", NAMES)
def test_by_id_and_examples(both, using):
    ids = [n for n, v, _ in ROWS if "plain" in v and n > 90]
    for i in range(10):
        a, b, c = rng.sample(ids, 3)
        compare(both, query=a, using=using, query_filter=[None, SOME][i % 2])
        for strategy in m.RecommendStrategy:
            query = m.RecommendQuery(recommend=m.RecommendInput(positive=[a, sparse()], negative=[b] if i % 2 else [], strategy=strategy))
            compare(both, query=query, using=using)
        pairs = [m.ContextPair(positive=a, negative=sparse()), m.ContextPair(positive=sparse(), negative=c)]
        compare(both, query=m.DiscoverQuery(discover=m.DiscoverInput(target=b, context=pairs)), using=using)
        compare(both, query=m.ContextQuery(context=pairs), using=using)


def test_statistics_of_a_corpus(both):
    if not hasattr(m, "IdfCorpusParams"):
        pytest.skip("this client does not know the parameter")
    for i in range(8):
        params = m.SearchParams(idf=m.IdfCorpusParams(corpus=[SOME, KIND][i % 2]))
        compare(both, query=sparse(), using="idf", search_params=params, query_filter=[None, KIND][i % 2])


def test_hybrid(both):
    for i in range(10):
        prefetch = [m.Prefetch(query=sparse(), using=NAMES[i % 2], limit=1000), m.Prefetch(query=dense(), using="dense", limit=1000, filter=SOME)]
        compare(both, prefetch=prefetch, query=m.FusionQuery(fusion=m.Fusion.DBSF))
        # Places of ties decide, so points of equal scores are kept out.
        compare(both, prefetch=prefetch, query=sparse(), using=NAMES[i % 2])
        compare(both, prefetch=prefetch, query=dense(), using="dense")
    remote, _, name = both
    found = remote.query_points(name, prefetch=prefetch, query=m.FusionQuery(fusion=m.Fusion.RRF), limit=10).points
    assert len(found) == 10 and found == sorted(found, key=lambda p: -p.score)


def test_mmr(both):
    remote, local, name = both
    for _ in range(10):
        query = m.NearestQuery(nearest=sparse(), mmr=m.Mmr(diversity=0.4, candidates_limit=60))
        ours, theirs = (c.query_points(name, query=query, using="plain", limit=8).points for c in (remote, local))
        assert [p.score for p in ours] == pytest.approx([p.score for p in theirs], rel=1e-4, abs=1e-4)


def test_groups_batches_and_matrix(both):
    remote, local, name = both
    asked = sparse()
    ours, theirs = (c.query_points_groups(name, group_by="kind", query=asked, using="plain", limit=4, group_size=3).groups for c in (remote, local))
    assert [[h.score for h in g.hits] for g in ours] == [pytest.approx([h.score for h in g.hits], rel=1e-4, abs=1e-4) for g in theirs]
    requests = [m.QueryRequest(query=sparse(), using=using, limit=5) for using in NAMES * 3] + [m.QueryRequest(query=dense(), using="dense", limit=5)]
    for a, b in zip(*(c.query_batch_points(name, requests=requests) for c in (remote, local))):
        assert [p.score for p in a.points] == pytest.approx([p.score for p in b.points], rel=1e-4, abs=1e-4)
    pairs = remote.search_matrix_pairs(name, sample=20, limit=3, using="plain").pairs
    assert pairs and all(p.a != p.b for p in pairs)


def test_stored_vectors_are_answered_in_order_of_their_indices(both):
    remote, local, name = both
    ids = list(range(60, 120))
    for ask in (True, ["plain"], ["dense", "idf"]):
        ours = {r.id: r.vector for r in remote.retrieve(name, ids, with_vectors=ask)}
        scrolled = {r.id: r.vector for r in remote.scroll(name, limit=EVERYTHING, with_vectors=ask)[0]}
        for record in local.retrieve(name, ids, with_vectors=ask):
            assert ours[record.id] == scrolled[record.id]
            for vector_name, vector in record.vector.items():
                if isinstance(vector, m.SparseVector):
                    # The client in memory does not tell an empty vector from none.
                    got = ours[record.id].get(vector_name, m.SparseVector(indices=[], values=[]))
                    assert got.indices == sorted(vector.indices) and got.values == pytest.approx(vector.values)
    count = remote.count(name, count_filter=m.Filter(must=[m.HasVectorCondition(has_vector="idf")])).count
    assert count == len({n for n, v, _ in ROWS if "idf" in v} - set(range(0, 60, 6)) - {5, 7, 11} | {n for n, _, _ in CHANGED})


def test_the_older_search(both):
    remote, local, name = both
    asked = sparse()
    body = {"vector": {"name": "plain", "vector": asked.model_dump()}, "limit": 7, "with_vector": ["plain"]}
    request = urllib.request.Request(f"{remote._client.rest_uri}/collections/{name}/points/search", json.dumps(body).encode(), {"Content-Type": "application/json"})
    ours = json.load(urllib.request.urlopen(request))["result"]
    theirs = local.query_points(name, query=asked, using="plain", limit=7).points
    assert [p["score"] for p in ours] == pytest.approx([p.score for p in theirs], rel=1e-4, abs=1e-4)
    assert all(p["vector"]["plain"]["indices"] == sorted(p["vector"]["plain"]["indices"]) for p in ours)


def call(node, method: str, path: str, body, expected: tuple[int, str]) -> None:
    code, answer = node.request(method, path, body)
    text = answer["status"]["error"] if code >= 400 else "ok"
    assert (code, text) == expected, f"{method} {path} {body}: {code} {answer}"


def test_configuration(shared_node):
    node, ok = shared_node, (200, "ok")
    dense = {"size": 4, "distance": "Dot"}
    twice = "Wrong input: Dense and sparse vector names must be unique - duplicate found with 'image'"
    call(node, "PUT", "/collections/c", {"vectors": {"image": dense}, "sparse_vectors": {"image": {}}}, (400, twice))
    call(node, "PUT", "/collections/c", {"sparse_vectors": {"": {}}}, (400, "Wrong input: Sparse vector name cannot be empty"))
    text = {"index": {"full_scan_threshold": 7, "on_disk": True, "datatype": "float16"}, "modifier": "idf"}
    call(node, "PUT", "/collections/c", {"sparse_vectors": {"text": text, "other": {}}}, ok)
    shown = lambda: node.request("GET", "/collections/c")[1]["result"]["config"]["params"]["sparse_vectors"]  # noqa: E731
    assert shown() == {"text": text, "other": {}}
    call(node, "PATCH", "/collections/c", {"sparse_vectors": {"other": {"modifier": "idf", "index": {"on_disk": False}}, "text": {"index": {"full_scan_threshold": 9}}}}, ok)
    text["index"]["full_scan_threshold"] = 9
    assert shown() == {"text": text, "other": {"modifier": "idf", "index": {"on_disk": False}}}
    call(node, "PATCH", "/collections/c", {"sparse_vectors": {"zzz": {}}}, (400, "Wrong input: Not existing vector name error: zzz"))
    call(node, "PUT", "/collections/c/vectors/new", {"sparse": {"modifier": "idf"}}, ok)
    call(node, "PUT", "/collections/c/vectors/new", {"sparse": {"modifier": "idf"}}, ok)
    call(node, "PUT", "/collections/c/vectors/new", {"sparse": {}}, (400, "Wrong input: Vector `new` already exists with a different configuration"))
    call(node, "PUT", "/collections/c/vectors/new", {"dense": dense}, (400, "Wrong input: Vector `new` already exists as a sparse vector"))
    vector = {"indices": [3, 1], "values": [1, 2]}
    call(node, "PUT", "/collections/c/points?wait=true", {"points": [{"id": 1, "vector": {"new": vector, "text": vector}}]}, ok)
    assert node.request("GET", "/collections/c/points/1")[1]["result"]["vector"]["new"] == {"indices": [1, 3], "values": [2.0, 1.0]}
    call(node, "DELETE", "/collections/c/vectors/new?wait=true", None, ok)
    assert set(shown()) == {"text", "other"}
    assert set(node.request("GET", "/collections/c/points/1")[1]["result"]["vector"]) == {"text"}


def test_what_is_refused(shared_node):
    node = shared_node
    call(node, "PUT", "/collections/r", {"vectors": {"dense": {"size": 2, "distance": "Dot"}}, "sparse_vectors": {"text": {}}}, (200, "ok"))
    mixed = (400, "Wrong input: Conversion between sparse and regular vectors failed")
    unknown = (400, "Wrong input: Not existing vector name error: zzz")
    good = {"indices": [1], "values": [1]}
    for name, vector, expected in [
        ("text", [1, 2], mixed), ("dense", good, mixed), ("zzz", good, unknown),
        ("text", {"indices": [1, 1], "values": [1, 2]}, (422, "Validation error in JSON body: [points[0].vector.?.indices: Validation error: must be unique [{}]]")),
        ("text", {"indices": [1], "values": []}, (422, "Validation error in JSON body: [points[0].vector.?.values: Validation error: must be the same length as indices [{}]]")),
    ]:
        points = {"points": [{"id": 1, "vector": {name: vector}}]}
        call(node, "PUT", "/collections/r/points?wait=true", points, expected)
        call(node, "PUT", "/collections/r/points/vectors?wait=true", points, expected)
        if expected[0] == 400:
            call(node, "POST", "/collections/r/points/query", {"query": vector, "using": name}, expected)
    for model in ("sentence-transformers/all-MiniLM-L6-v2", "openai/x"):
        document = {"text": "a", "model": model}
        refused = (400, "InferenceService URL not configured - please provide valid address in config")
        call(node, "PUT", "/collections/r/points", {"points": [{"id": 1, "vector": {"text": document}}]}, refused)
        call(node, "POST", "/collections/r/points/query", {"query": {"nearest": document}, "using": "text"}, refused)


TEXTS = ["The cats are running", "A cat, a cat and a dog", "Dogs sleep all day", "nothing of the kind", "Running dogs run after running cats"]


def test_texts_become_vectors(shared_node):
    node = shared_node
    call(node, "PUT", "/collections/t", {"sparse_vectors": {"text": {"modifier": "idf"}, "raw": {}}, "shard_number": 2}, (200, "ok"))
    document = lambda text, **options: {"text": text, "model": "Qdrant/BM25", **({"options": options} if options else {})}  # noqa: E731
    points = [{"id": n, "vector": {"text": document(t), "raw": document(t, k=0, stemmer={"type": "none"}, stopwords={"custom": []})}} for n, t in enumerate(TEXTS)]
    call(node, "PUT", "/collections/t/points?wait=true", {"points": points}, (200, "ok"))

    def found(query, using="text"):
        code, answer = node.request("POST", "/collections/t/points/query", {"query": query, "using": using, "limit": 10})
        assert code == 200, answer
        return [(p["id"], p["score"]) for p in answer["result"]["points"]]

    tokens = {0: {"cat": 1, "run": 1}, 1: {"cat": 2, "dog": 1}, 2: {"dog": 1, "sleep": 1, "day": 1}, 3: {"noth": 1, "kind": 1}, 4: {"run": 3, "dog": 1, "cat": 1}}

    def score(n, query):
        length, total = sum(tokens[n].values()), 0.0
        for token in query:
            df, tf = sum(token in t for t in tokens.values()), tokens[n].get(token, 0)
            total += math.log((len(tokens) - df + 0.5) / (df + 0.5) + 1) * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / 256))
        return total

    for query, stems in [("cat", ["cat"]), ("running CATS", ["run", "cat"]), ("the sleeping dogs", ["sleep", "dog"]), ("of the", [])]:
        for asked in (document(query), {"nearest": document(query)}, {"recommend": {"positive": [document(query)]}}):
            expected = sorted(((n, score(n, stems)) for n in tokens if set(stems) & set(tokens[n])), key=lambda x: -x[1])
            got = found(asked)
            assert [n for n, _ in got] == [n for n, _ in expected], query
            assert [s for _, s in got] == pytest.approx([s for _, s in expected], rel=1e-4)
    # Without stemmer and stop words every word counts, and with k = 0 once.
    assert dict(found(document("cats", stemmer={"type": "none"}), "raw")) == {0: 1.0, 4: 1.0}
    assert dict(found(document("the", stopwords={"custom": []}), "raw")) == {0: 1.0, 3: 1.0}
