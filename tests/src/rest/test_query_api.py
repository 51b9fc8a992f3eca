"""Every kind of the universal query gives the same answers from the node as from qdrant-client's in-memory implementation."""
import datetime
import random
import uuid
import warnings

import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as m

POINTS, DIM, EVERYTHING = 240, 6, 10_000
DISTANCES = [m.Distance.COSINE, m.Distance.DOT, m.Distance.EUCLID, m.Distance.MANHATTAN]
KINDS = ["red", "green", "blue", "grey"]
rng = random.Random(7)


def vector() -> list[float]:
    return [round(rng.gauss(0, 1), 4) for _ in range(DIM)]


def id_of(n: int):
    return str(uuid.UUID(int=n << 64 | 11)) if n % 6 == 5 else n


def payload(n: int) -> dict:
    made = {"n": n % 60, "f": n / 8 + 0.0625, "kind": KINDS[n % 4], "when": f"2024-{n % 12 + 1:02d}-{n % 28 + 1:02d}T10:00:00Z",
            "place": {"lon": n % 90 + 0.5, "lat": n % 45 + 0.25}, "tags": [KINDS[n % 3], n % 5]}
    if n % 9 == 0:
        del made["n"]
    return made


ROWS = [(id_of(n), vector(), vector(), payload(n)) for n in range(POINTS)]
A, B, C, D = vector(), vector(), vector(), vector()
SOME = m.Filter(must=[m.FieldCondition(key="n", range=m.Range(gte=10))])
RED = m.Filter(must_not=[m.FieldCondition(key="kind", match=m.MatchValue(value="red"))])


def fill(client, name: str, distance, **more) -> None:
    sizes = {"a": m.VectorParams(size=DIM, distance=distance), "b": m.VectorParams(size=DIM, distance=m.Distance.DOT)}
    client.create_collection(name, vectors_config=sizes, **more)
    # Every eighth point lacks the second vector.
    client.upsert(name, wait=True, points=[
        m.PointStruct(id=i, vector={"a": a} if n % 8 == 7 else {"a": a, "b": b}, payload=p) for n, (i, a, b, p) in enumerate(ROWS)])


@pytest.fixture(scope="module", params=DISTANCES, ids=lambda d: d.value)
def both(request, shared_node):
    """Both clients and the name of the collection, which the node holds in three shards."""
    remote, name = QdrantClient(url=shared_node.url, timeout=60, check_compatibility=False), f"q-{request.param.value}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local = QdrantClient(":memory:")
        fill(local, name, request.param)
        fill(local, "other", m.Distance.DOT)
        fill(remote, name, request.param, shard_number=3, hnsw_config=m.HnswConfigDiff(full_scan_threshold=10), optimizers_config=m.OptimizersConfigDiff(indexing_threshold=1))
        if not remote.collection_exists("other"):
            fill(remote, "other", m.Distance.DOT)
        for key, kind in (("n", "integer"), ("f", "float"), ("when", "datetime"), ("kind", "keyword")):
            remote.create_payload_index(name, key, kind, wait=True)
        yield remote, local, name
    remote.close()


def recommend(strategy, positive, negative):
    return m.RecommendQuery(recommend=m.RecommendInput(positive=positive, negative=negative, strategy=strategy))


def feedback(target, items, a=0.7, b=1.5, c=0.4):
    items = [m.FeedbackItem(example=e, score=s) for e, s in items]
    strategy = m.NaiveFeedbackStrategy(naive=m.NaiveFeedbackStrategyParams(a=a, b=b, c=c))
    return m.RelevanceFeedbackQuery(relevance_feedback=m.RelevanceFeedbackInput(target=target, feedback=items, strategy=strategy))


def formula(expression, **defaults):
    return m.FormulaQuery(formula=expression, defaults=defaults)


PAIRS = [m.ContextPair(positive=B, negative=C), m.ContextPair(positive=3, negative=D)]
BY_VECTOR = {
    "nearest": A,
    "id": 4,
    "uuid": id_of(5),
    "average": recommend(None, [A, 2], [3]),
    "average without negatives": recommend(m.RecommendStrategy.AVERAGE_VECTOR, [A, B], None),
    "best score": recommend(m.RecommendStrategy.BEST_SCORE, [A, 2, id_of(11)], [C, 9]),
    "best score of negatives": recommend(m.RecommendStrategy.BEST_SCORE, [], [C, 9]),
    "sum scores": recommend(m.RecommendStrategy.SUM_SCORES, [A, B], [C, 8, D]),
    "discover": m.DiscoverQuery(discover=m.DiscoverInput(target=A, context=PAIRS)),
    "discover with one pair": m.DiscoverQuery(discover=m.DiscoverInput(target=1, context=PAIRS[0])),
    "discover without pairs": m.DiscoverQuery(discover=m.DiscoverInput(target=A, context=[])),
    "context": m.ContextQuery(context=PAIRS),
    "feedback": feedback(A, [(B, 0.9), (2, 0.1), (C, 0.4)]),
    "feedback of one": feedback(3, [(B, 0.9)]),
    "mmr": m.NearestQuery(nearest=A, mmr=m.Mmr(diversity=0.4, candidates_limit=40)),
}
SCORES = [m.Prefetch(query=A, using="a", limit=60), m.Prefetch(query=B, using="b", limit=60, filter=RED)]
MERGED = {
    "rrf": m.FusionQuery(fusion=m.Fusion.RRF),
    "rrf with k": m.RrfQuery(rrf=m.Rrf(k=60)),
    "rrf with weights": m.RrfQuery(rrf=m.Rrf(weights=[3.0, 0.5])),
    "dbsf": m.FusionQuery(fusion=m.Fusion.DBSF),
    "constant and variables": formula(m.SumExpression(sum=[1.5, "$score", m.MultExpression(mult=["$score[1]", 2.0]), "f"])),
    "defaults": formula(m.SumExpression(sum=["n", "$score[1]", "f"]), **{"n": 1000, "$score[1]": 7.5}),
    "condition": formula(m.SumExpression(sum=["f", m.MultExpression(mult=[50, m.FieldCondition(key="kind", match=m.MatchAny(any=["red", "blue"]))])])),
    "has vector": formula(m.SumExpression(sum=["f", m.MultExpression(mult=[50, m.HasVectorCondition(has_vector="b")])])),
    "division": formula(m.DivExpression(div=m.DivParams(left="f", right="n", by_zero_default=-1)), n=0),
    "functions": formula(m.SumExpression(sum=[
        m.SqrtExpression(sqrt="f"), m.LnExpression(ln="f"), m.Log10Expression(log10="f"), m.ExpExpression(exp=m.NegExpression(neg="f")),
        m.PowExpression(pow=m.PowParams(base="f", exponent=1.5)), m.AbsExpression(abs=m.NegExpression(neg="$score"))])),
    "geo": formula(m.NegExpression(neg=m.GeoDistance(geo_distance=m.GeoDistanceParams(origin=m.GeoPoint(lon=11.5, lat=48.1), to="place")))),
    "linear": formula(m.LinDecayExpression(lin_decay=m.DecayParamsExpression(x="f", target=10, scale=20, midpoint=0.3))),
    "exponential": formula(m.ExpDecayExpression(exp_decay=m.DecayParamsExpression(x="f", target="$score", scale=9))),
    "gauss of time": formula(m.SumExpression(sum=["f", m.GaussDecayExpression(gauss_decay=m.DecayParamsExpression(
        x=m.DatetimeKeyExpression(datetime_key="when"), target=m.DatetimeExpression(datetime="2024-06-01T00:00:00Z"), scale=86400 * 60))])),
    "rescored": m.NearestQuery(nearest=C),
    "rescored by examples": recommend(m.RecommendStrategy.BEST_SCORE, [C], [2]),
    "rescored by id": m.NearestQuery(nearest=7),
}


def same_hits(ours, theirs, all_of_theirs, what: str) -> None:
    """Ties have no order, so: the scores are the same in their order, and each point has the score that it should have."""
    known = {p.id: p.score for p in all_of_theirs}
    tolerance = lambda score: 2e-4 * max(1.0, abs(score))  # noqa: E731
    assert len({p.id for p in ours}) == len(ours) == len(theirs), f"{what}: {ours} and {theirs}"
    for a, b in zip(ours, theirs):
        assert abs(a.score - b.score) <= tolerance(b.score), f"{what}: {[p.score for p in ours]}, should be {[p.score for p in theirs]}"
        assert a.id in known, f"{what}: {a.id} may not be answered"
        assert abs(a.score - known[a.id]) <= tolerance(a.score), f"{what}: {a.id} scores {a.score}, should {known[a.id]}"


def compare(both, **asked) -> None:
    remote, local, name = both
    limit, offset = asked.pop("limit", 12), asked.pop("offset", 0)
    ours = remote.query_points(name, limit=limit, offset=offset, search_params=m.SearchParams(hnsw_ef=300), **asked).points
    theirs = local.query_points(name, limit=limit, offset=offset, **asked).points
    everything = local.query_points(name, limit=EVERYTHING, **asked).points
    same_hits(ours, theirs, everything, str(asked))
    payloads = {i: p for i, _, _, p in ROWS}
    for hit in ours:
        assert hit.payload == payloads[hit.id] and hit.vector is None


@pytest.mark.parametrize("kind", BY_VECTOR)
def test_queries_by_vectors(both, kind):
    query = BY_VECTOR[kind]
    if kind == "mmr":
        remote, local, name = both
        asked = {"query": query, "using": "a", "limit": 8, "with_payload": False}
        assert [p.id for p in remote.query_points(name, **asked).points] == [p.id for p in local.query_points(name, **asked).points]
        return
    compare(both, query=query, using="a")
    compare(both, query=query, using="a", query_filter=SOME, limit=5, offset=3)


@pytest.mark.parametrize("kind", MERGED)
def test_queries_over_prefetches(both, kind):
    using = "a" if kind.startswith("rescored") else None
    compare(both, query=MERGED[kind], prefetch=SCORES, using=using)
    compare(both, query=MERGED[kind], prefetch=SCORES, using=using, query_filter=SOME, limit=7, offset=2)


def test_prefetches_in_prefetches(both):
    inner = m.Prefetch(prefetch=SCORES, query=m.FusionQuery(fusion=m.Fusion.DBSF), limit=30)
    compare(both, prefetch=[inner], query=C, using="b")
    compare(both, prefetch=[inner, m.Prefetch(query=D, using="a", limit=20)], query=m.RrfQuery(rrf=m.Rrf(k=5)), query_filter=SOME)
    deeper = m.Prefetch(prefetch=inner, query=B, using="a", limit=15, filter=RED)
    compare(both, prefetch=deeper, query=formula(m.SumExpression(sum=["$score", "f"])))


def test_score_thresholds(both):
    remote, local, name = both
    for query, using, prefetch in ((BY_VECTOR["sum scores"], "a", None), (m.FusionQuery(fusion=m.Fusion.RRF), None, SCORES), (MERGED["constant and variables"], None, SCORES)):
        all_scores = [p.score for p in local.query_points(name, query=query, using=using, prefetch=prefetch, limit=40).points]
        threshold = (all_scores[14] + all_scores[15]) / 2
        found = remote.query_points(name, query=query, using=using, prefetch=prefetch, limit=40, score_threshold=threshold).points
        assert len(found) == sum(s > threshold for s in all_scores)


@pytest.mark.parametrize("query,prefetch", [
    ({"fusion": "rrf"}, [{"query": 4, "using": "a", "limit": EVERYTHING}, {"query": A, "using": "a", "limit": EVERYTHING}]),
    (A, {"query": {"fusion": "dbsf"}, "limit": EVERYTHING, "prefetch": [{"limit": EVERYTHING}, {"query": {"recommend": {"positive": [4]}}, "using": "a"}]}),
    ({"nearest": 4, "mmr": {}}, [{"limit": EVERYTHING}]),
    ({"formula": "$score"}, [{"query": A, "using": "a", "limit": EVERYTHING}, {"query": 4, "using": "a", "lookup_from": {"collection": "other", "vector": "b"}}]),
])
def test_a_point_that_is_named_anywhere_is_not_answered_unless_it_is_of_another_collection(both, shared_node, query, prefetch):
    body = {"query": query, "prefetch": prefetch, "limit": EVERYTHING, **({} if "fusion" in query or "formula" in query else {"using": "a"})}
    code, answer = shared_node.request("POST", f"/collections/{both[2]}/points/query", body)
    assert code == 200, answer
    found = {p["id"] for p in answer["result"]["points"]}
    assert {i for i, *_ in ROWS} - found == (set() if "formula" in query else {4})


def test_examples_of_another_collection(both):
    remote, local, name = both
    for query in (4, recommend(m.RecommendStrategy.SUM_SCORES, [2, 4], [8]), m.DiscoverQuery(discover=m.DiscoverInput(target=1, context=PAIRS))):
        asked = {"query": query, "using": "a", "limit": 9, "lookup_from": m.LookupLocation(collection="other", vector="b")}
        ours, theirs = (client.query_points(name, **asked).points for client in (remote, local))
        same_hits(ours, theirs, local.query_points(name, **{**asked, "limit": EVERYTHING}).points, str(asked))


@pytest.mark.parametrize("key", ["n", "f", "when"])
@pytest.mark.parametrize("direction", [m.Direction.ASC, m.Direction.DESC])
def test_order_by(both, key, direction):
    remote, local, name = both
    start = {"n": 30, "f": 12.5, "when": datetime.datetime(2024, 6, 1)}[key]
    for start_from, limit in ((None, 25), (start, 25), (None, EVERYTHING)):
        order = m.OrderBy(key=key, direction=direction, start_from=start_from)
        ours, next_page = remote.scroll(name, order_by=order, limit=limit, scroll_filter=RED)
        theirs, _ = local.scroll(name, order_by=order, limit=limit, scroll_filter=RED)
        assert next_page is None and [r.order_value for r in ours] == [r.order_value for r in theirs]
        queried = remote.query_points(name, query=m.OrderByQuery(order_by=order), limit=limit, query_filter=RED).points
        assert [(p.id, p.order_value, p.payload) for p in queried] == [(r.id, r.order_value, r.payload) for r in ours]
        assert {p.score for p in queried} == {1.0} and {p.version for p in queried} == {0}
    some = [m.Prefetch(query=A, using="a", limit=30)]
    ours, theirs = (c.query_points(name, prefetch=some, query=m.OrderByQuery(order_by=key), limit=9).points for c in (remote, local))
    assert [p.order_value for p in ours] == [p.order_value for p in theirs]


def test_samples(both):
    remote, _, name = both
    draw = lambda: remote.query_points(name, query=m.SampleQuery(sample=m.Sample.RANDOM), limit=20, query_filter=SOME, with_payload=["n"]).points  # noqa: E731
    first, second = draw(), draw()
    for found in (first, second):
        assert len({p.id for p in found}) == 20 and all(p.payload["n"] >= 10 and p.score == 1.0 for p in found)
    assert [p.id for p in first] != [p.id for p in second]
    # There is no order to skip points in.
    every = remote.query_points(name, query=m.SampleQuery(sample=m.Sample.RANDOM), limit=POINTS, offset=POINTS // 2).points
    assert len(every) == POINTS


@pytest.mark.parametrize("kind", ["nearest", "sum scores", "discover"])
@pytest.mark.parametrize("key", ["kind", "n", "tags"])
def test_groups(both, kind, key):
    remote, local, name = both
    for asked in ({"limit": 3, "group_size": 2}, {"limit": 50, "group_size": 4, "query_filter": RED}, {"limit": 2, "group_size": 40}):
        asked = {"query": BY_VECTOR[kind], "using": "a", "group_by": key, "with_payload": ["f"], **asked, **({"limit": 50} if key == "tags" else {})}
        ours, theirs = (client.query_points_groups(name, **asked).groups for client in (remote, local))
        if key == "tags":
            # The two groups of a point are equally good, so all groups are asked for and compared in an order of their own.
            bests = [g.hits[0].score for g in ours]
            assert bests in (sorted(bests), sorted(bests, reverse=True))
            ours, theirs = (sorted(groups, key=lambda g: str(g.id)) for groups in (ours, theirs))
        assert [g.id for g in ours] == [g.id for g in theirs], str(asked)
        for a, b in zip(ours, theirs):
            assert [h.id for h in a.hits] == [h.id for h in b.hits], f"{asked}, group {a.id}"
            assert all(abs(x.score - y.score) < 2e-4 * max(1, abs(y.score)) and x.payload == y.payload for x, y in zip(a.hits, b.hits))


def test_groups_are_found_behind_points_that_name_none(node):
    """Many points are nearer that have a value, but one that no group is named by."""
    assert node.request("PUT", "/collections/behind", {"vectors": {"size": 1, "distance": "Dot"}})[0] == 200
    at = lambda i: {"near": "first"} if i == 0 else {"near": {"lat": i, "lon": 0}} if i < 400 else {"near": f"last {i}"}
    points = [{"id": i, "vector": [1000 - i], "payload": at(i)} for i in range(402)]
    assert node.request("PUT", "/collections/behind/points?wait=true", {"points": points})[0] == 200
    code, answer = node.request("POST", "/collections/behind/points/query/groups", {"query": [1], "group_by": "near", "limit": 2, "group_size": 1})
    assert code == 200 and [g["id"] for g in answer["result"]["groups"]] == ["first", "last 400"], answer


def test_groups_of_merged_lists_and_records_beside_them(both):
    remote, local, name = both
    wide = [m.Prefetch(query=A, using="a", limit=EVERYTHING), m.Prefetch(query=B, using="b", limit=EVERYTHING)]
    asked = {"query": m.FusionQuery(fusion=m.Fusion.DBSF), "prefetch": wide, "group_by": "n", "limit": 6, "group_size": 2, "with_payload": False,
             "with_lookup": m.WithLookup(collection="other", with_payload=["kind"], with_vectors=False)}
    ours, theirs = (client.query_points_groups(name, **asked).groups for client in (remote, local))
    assert [(g.id, [h.id for h in g.hits]) for g in ours] == [(g.id, [h.id for h in g.hits]) for g in theirs]
    assert [g.lookup and (g.lookup.id, g.lookup.payload) for g in ours] == [g.lookup and (g.lookup.id, g.lookup.payload) for g in theirs]


def test_matrix(both):
    remote, local, name = both
    few = m.Filter(must=[m.HasIdCondition(has_id=[1, 2, 3, 4, 6, id_of(5), 7, id_of(11)])])
    for using in ("a", "b"):
        pairs = [client.search_matrix_pairs(name, query_filter=few, sample=20, limit=3, using=using).pairs for client in (remote, local)]
        assert [(p.a, p.b) for p in pairs[0]] == [(p.a, p.b) for p in pairs[1]]
        assert all(abs(x.score - y.score) < 2e-4 * max(1, abs(y.score)) for x, y in zip(*pairs))
        ours, theirs = (client.search_matrix_offsets(name, query_filter=few, sample=20, limit=3, using=using) for client in (remote, local))
        assert (ours.ids, ours.offsets_row, ours.offsets_col) == (theirs.ids, theirs.offsets_row, theirs.offsets_col)
    assert len(remote.search_matrix_offsets(name, using="a").ids) == 10


def test_batches_of_every_kind(both):
    remote, local, name = both
    requests = [m.QueryRequest(query=q, using="a", limit=6) for k, q in BY_VECTOR.items() if k != "mmr"]
    requests.append(m.QueryRequest(prefetch=SCORES, query=MERGED["dbsf"], limit=6))
    for asked, ours in zip(requests, remote.query_batch_points(name, requests), strict=True):
        plain = {"query": asked.query, "using": asked.using, "prefetch": asked.prefetch}
        same_hits(ours.points, local.query_points(name, limit=6, **plain).points, local.query_points(name, limit=EVERYTHING, **plain).points, str(asked))


def test_older_calls(both, shared_node):
    """As clients before the universal query send them."""
    _, local, name = both

    def ask(call: str, body: dict):
        code, answer = shared_node.request("POST", f"/collections/{name}/points/{call}", body)
        assert code == 200, answer
        return answer["result"]

    def check(found: list, query, limit: int, offset: int = 0):
        theirs = local.query_points(name, query=query, using="a", limit=limit, offset=offset).points
        same_hits([m.ScoredPoint(**p) for p in found], theirs, local.query_points(name, query=query, using="a", limit=EVERYTHING).points, str(query))

    body = {"positive": [2, A], "negative": [3], "using": "a", "limit": 5, "offset": 2}
    for strategy in m.RecommendStrategy:
        query = recommend(strategy, [2, A], [3])
        check(ask("recommend", {**body, "strategy": strategy.value}), query, 5, 2)
        check(ask("recommend/batch", {"searches": [{**body, "strategy": strategy.value}]})[0], query, 5, 2)
    pair = {"positive": B, "negative": C}
    both_kinds = (({"target": 1, "context": [pair]}, BY_VECTOR["discover with one pair"]), ({"context": [pair]}, m.ContextQuery(context=PAIRS[:1])))
    for body, query in both_kinds:
        check(ask("discover", {**body, "using": "a", "limit": 5}), query, 5)
        check(ask("discover/batch", {"searches": [{**body, "using": "a", "limit": 5}]})[0], query, 5)
    shape = {"group_by": "kind", "group_size": 2, "limit": 3}
    for call, body, query in (("search/groups", {"vector": {"name": "a", "vector": A}}, A), ("recommend/groups", {"positive": [2], "using": "a"}, recommend(None, [2], None))):
        groups = local.query_points_groups(name, query=query, using="a", **shape).groups
        assert [(g["id"], [h["id"] for h in g["hits"]]) for g in ask(call, {**body, **shape})["groups"]] == [(g.id, [h.id for h in g.hits]) for g in groups]


NESTED = {"query": A}
for _ in range(70):
    NESTED = {"prefetch": NESTED, "query": A}
# path below the collection, body, code, what the text starts with.
REFUSED = [
    ("query", {"prefetch": {"query": A}}, 400, "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query."),
    ("query", {"score_threshold": 1}, 400, "Bad request: A query is needed to use the score_threshold. Can't have score_threshold without defining a query."),
    ("query", {"query": {"order_by": "n"}, "score_threshold": 1}, 400, "Bad request: Can't use score_threshold with an order_by query."),
    ("query", {"query": {"fusion": "rrf"}, "prefetch": {"query": A}, "using": "a"}, 400, "Bad request: Fusion queries cannot be combined with the 'using' field."),
    ("query", {"query": {"fusion": "rrf"}}, 400, "Wrong input: Validation failed: cannot apply Fusion without prefetches"),
    ("query", {"query": {"formula": "$score"}}, 400, "Wrong input: Validation failed: cannot apply Formula without prefetches"),
    ("query", {"query": {"rrf": {"weights": [1, 2]}}, "prefetch": {"query": A, "using": "a"}}, 400, "Wrong input: Validation failed: RRF weights length (2) does not match number of prefetches (1)"),
    ("query", {"query": {"rrf": {"k": 0}}, "prefetch": {"query": A}}, 422, "Validation error in JSON body: [internal.query.rrf.k: value 0 invalid, must be 1 or larger]"),
    ("query", {"query": {"formula": "zzz"}, "prefetch": {"query": A, "using": "a"}}, 400, "Wrong input: Expected number value for zzz in the payload and/or in the formula defaults. Error: No value found in a payload nor defaults"),
    ("query", {"query": {"formula": {"div": {"left": 1, "right": 0}}}, "prefetch": {"query": A, "using": "a"}}, 400, "Wrong input: The expression 1/0 = inf produced a non-finite number"),
    ("query", {"query": {"formula": {"foo": 1}}, "prefetch": {"query": A}}, 400, "Format error in JSON body: "),
    ("query", {"query": {"recommend": {}}, "using": "a"}, 422, "Validation error in JSON body: [internal.query.recommend.positives, negatives: Validation error: At least one positive or negative vector/id must be provided [{}]]"),
    ("query", {"query": {"recommend": {"negative": [A]}}, "using": "a"}, 400, "Wrong input: Positive vectors should not be empty with `average` strategy"),
    ("query", {"query": {"recommend": {"positive": [[1]], "strategy": "best_score"}}, "using": "a"}, 400, "Wrong input: Vector dimension error: expected dim: 6, got 1"),
    ("query", {"query": {"discover": {"target": 99999, "context": []}}, "using": "a"}, 404, "Not found: No point with id 99999 found"),
    ("query", {"query": {"discover": {"target": 7, "context": None}}, "using": "b"}, 404, "Not found: Vector with name \"b\" for point not found"),
    ("query", {"query": {"relevance_feedback": {"target": A, "feedback": [], "strategy": {"naive": {"a": 1, "b": -1, "c": 1}}}}}, 422, "Validation error in JSON body: [internal.query.relevance_feedback.feedback: "),
    ("query", {"query": {"order_by": "zzz"}}, 400, "Wrong input: No range index for `order_by` key: `zzz`. Please create one to use `order_by`."),
    ("query", {"query": 1, "using": "a", "lookup_from": {"collection": "nowhere"}}, 404, "Not found: Collection nowhere not found"),
    ("query", {"query": A, "using": "a", "prefetch": {"query": A, "limit": 0}}, 422, "Validation error in JSON body: [internal.prefetch[0].limit: value 0 invalid, must be 1 or larger]"),
    ("query", {"query": A, "prefetch": [{"query": A}] * 2000}, 400, "Bad request: a query has more than 1024 prefetches"),
    ("query", {"query": {"context": [{"positive": A, "negative": B}] * 600}, "using": "a"}, 400, "Bad request: a query has 1200 examples, more than 1024"),
    ("query", NESTED, 400, "Wrong input: Validation failed: prefetches depth 65 exceeds max depth 64"),
    ("query", {"query": {"discover": {"target": 1}}, "using": "a"}, 400, "Format error in JSON body: "),
    ("query", {"query": {"nearest": A, "mmr": {"candidates_limit": 16_385}}, "using": "a"}, 422, "Validation error in JSON body: [internal.query.mmr.candidates_limit: "),
    ("query", {"query": {"formula": {"exp_decay": {"x": "n", "midpoint": 2}}}, "prefetch": {"filter": {"must": {"has_id": []}}}}, 400, "Wrong input: Validation failed: Decay midpoint should be between 0.0 and 1.0 (exclusive), got 2."),
    ("query", {"query": {"formula": {"exp_decay": {"x": "n", "scale": 0}}}, "prefetch": {}}, 400, "Wrong input: Validation failed: Decay scale should be non-zero positive, got 0."),
    # A point that nobody has is told before a contradiction in the request, wherever it is named.
    ("query", {"query": {"fusion": "rrf"}, "using": "a", "prefetch": [{"query": A, "using": "a"}, {"query": 99999}]}, 404, "Not found: No point with id 99999 found"),
    ("query", {"query": {"fusion": "rrf"}, "prefetch": {"query": A, "using": "a", "prefetch": {"query": {"recommend": {"positive": [99999]}}, "using": "a", "score_threshold": 1}}, "using": "a"}, 404, "Not found: No point with id 99999 found"),
    ("query", {"prefetch": {"query": 99999}}, 404, "Not found: No point with id 99999 found"),
    ("query", {"query": 99999, "using": "a", "prefetch": {"filter": {"must": {"has_id": []}}}}, 404, "Not found: No point with id 99999 found"),
    ("query", {"query": {"order_by": "n"}, "score_threshold": 1, "prefetch": {"query": 99999, "lookup_from": {"collection": "other", "vector": "b"}}}, 404, "Not found: No point with id 99999 found"),
    ("scroll", {"order_by": "n", "offset": 1}, 400, "Wrong input: Cannot use an `offset` when using `order_by`."),
    ("query/groups", {"query": A, "using": "a", "group_by": "kind", "group_size": 0}, 422, "Validation error in JSON body: "),
    ("query/groups", {"query": A, "using": "a", "group_by": "a b"}, 400, "Format error in JSON body: Invalid json path: 'a b'"),
    ("query/groups", {"query": A, "using": "a", "group_by": "n", "with_lookup": "nowhere"}, 404, "Not found: Collection nowhere not found"),
    ("search/matrix/pairs", {"sample": 1, "using": "a"}, 422, "Validation error in JSON body: "),
    ("discover", {"limit": 1}, 400, "Bad request: "),
    ("recommend", {"positive": [1]}, 400, "Format error in JSON body: missing field `limit`"),
]


@pytest.mark.parametrize("call,body,code,text", REFUSED, ids=[f"{i} {r[0]} {r[2]}" for i, r in enumerate(REFUSED)])
def test_what_makes_no_sense_is_refused(both, shared_node, call, body, code, text):
    got, answer = shared_node.request("POST", f"/collections/{both[2]}/points/{call}", body)
    assert (got, answer["status"]["error"][: len(text)]) == (code, text)
