"""Ways to write that the random operations don't take: uploads, changes of named vectors, paths of payloads, the async client, migration.

The answers of qdrant-client's in-memory implementation are what the node's have to be.
"""
import asyncio
import datetime
import decimal
import itertools
import random
import uuid
import warnings

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client import models as m
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import UnexpectedResponse

from . import values
from .compare import as_named, same_json

EVERYTHING, FLAT = 10_000, m.VectorParams(size=3, distance=m.Distance.DOT)
NAMED = {"text": m.VectorParams(size=4, distance=m.Distance.COSINE), "image": m.VectorParams(size=3, distance=m.Distance.DOT),
         "rows": m.VectorParams(size=2, distance=m.Distance.DOT, multivector_config=m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM))}
SPARSE = {"words": m.SparseVectorParams(), "rare": m.SparseVectorParams(modifier=m.Modifier.IDF)}
rng = random.Random(23)
names = (f"calls-{n}" for n in itertools.count())


class Both:
    """One collection in the node and in memory."""

    def __init__(self, remote, vectors, sparse=None):
        self.remote, self.local, self.name = remote, QdrantClient(":memory:"), next(names)
        self.each("create_collection", vectors_config=vectors, sparse_vectors_config=sparse)

    def each(self, method: str, *args, **options):
        return [getattr(client, method)(self.name, *args, **options) for client in (self.remote, self.local)]

    def refused(self, method: str, *args, **options) -> None:
        for client, kind in ((self.remote, UnexpectedResponse), (self.local, Exception)):
            with pytest.raises(kind):
                getattr(client, method)(self.name, *args, **options)

    def same(self, what: str = "") -> list:
        """All points with all that they have."""
        ours, theirs = (page for page, _ in self.each("scroll", limit=EVERYTHING, with_vectors=True))
        same_points(ours, theirs, what)
        counts = [info.points_count for info in self.each("get_collection")]
        assert counts[0] == counts[1] == len(ours), what
        return ours


def same_points(ours, theirs, what: str) -> None:
    assert [p.id for p in ours] == [p.id for p in theirs], what
    for a, b in zip(ours, theirs):
        assert same_json(a.payload, b.payload), f"{what}: point {a.id} has {a.payload}, should have {b.payload}"
        a, b = as_named(a.vector), as_named(b.vector)
        assert a.keys() == b.keys(), f"{what}: {a.keys()}, should be {b.keys()}"
        for name in a:
            if isinstance(a[name], m.SparseVector):
                assert dict(zip(a[name].indices, a[name].values)) == pytest.approx(dict(zip(b[name].indices, b[name].values)), rel=1e-5), what
            else:
                assert np.allclose(a[name], b[name], atol=1e-5), what


@pytest.fixture(scope="module")
def remote(shared_node):
    client = QdrantClient(url=shared_node.url, timeout=60, check_compatibility=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield client
    client.close()


def numbers(size: int) -> list[float]:
    return [round(rng.gauss(0, 1), 3) for _ in range(size)]


def sparse() -> m.SparseVector:
    indices = rng.sample(range(40), rng.randint(1, 6))
    return m.SparseVector(indices=indices, values=[round(rng.random() + 0.1, 3) for _ in indices])


def vectors() -> dict:
    """Mostly all of them; some points have none."""
    made = {"text": numbers(4), "image": numbers(3), "rows": [numbers(2) for _ in range(rng.randint(1, 4))], "words": sparse(), "rare": sparse()}
    return {name: vector for name, vector in made.items() if rng.random() < 0.85} if rng.random() < 0.9 else {}


def points(count: int) -> list[m.PointStruct]:
    ids = rng.sample(values.IDS, count)
    return [m.PointStruct(id=i, vector=vectors(), payload=values.payload(rng)) for i in ids]


@pytest.mark.parametrize("parallel", [1, 2])
def test_uploads_of_points(remote, parallel):
    both = Both(remote, NAMED, SPARSE)
    made = points(100)
    both.each("upload_points", made, batch_size=7, parallel=parallel, wait=True)
    assert len(both.same()) == 100
    both.each("upload_points", made[:30], update_filter=m.Filter(must=[m.HasIdCondition(has_id=[p.id for p in made[:4]])]), wait=True)
    both.same()


def test_uploads_of_collections(remote):
    arrays = np.random.default_rng(3).normal(size=(50, 3)).round(3)
    kinds = {"array": arrays, "list of arrays": list(arrays), "lists": arrays.tolist(), "generator": None}
    for kind, given in kinds.items():
        both = Both(remote, FLAT)
        for client in (both.remote, both.local):
            given_now = (row for row in arrays.tolist()) if given is None else given
            client.upload_collection(both.name, given_now, itertools.cycle([{"a": 1}, {"b": [None, 2]}]), ids=itertools.count(7), wait=True, batch_size=16)
        assert len(both.same(kind)) == 50
    both = Both(remote, NAMED, SPARSE)
    both.each("upload_collection", {"text": np.random.default_rng(4).normal(size=(20, 4)).round(3), "image": arrays[:20]}, ids=range(20), wait=True)
    both.each("upload_collection", [vectors() for _ in range(20)], ids=range(10, 30), wait=True)
    assert len(both.same()) == 30


def test_batches_by_column(remote):
    both = Both(remote, NAMED, SPARSE)
    columns = {"text": [numbers(4) for _ in range(9)], "rows": [[numbers(2)] * (1 + n % 3) for n in range(9)], "words": [sparse() for _ in range(9)]}
    ids = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(9)]
    both.each("upsert", m.Batch(ids=ids, vectors=columns, payloads=[values.payload(rng) for _ in range(9)]))
    both.each("batch_update_points", [m.UpsertOperation(upsert=m.PointsBatch(batch=m.Batch(ids=[1, 2], vectors={"words": [sparse(), sparse()]}))),
                                      m.UpdateVectorsOperation(update_vectors=m.UpdateVectors(points=[m.PointVectors(id=1, vector={"rare": sparse(), "rows": [numbers(2)]})])),
                                      m.DeleteVectorsOperation(delete_vectors=m.DeleteVectors(points=ids[:3], vector=["text", "words"])),
                                      m.OverwritePayloadOperation(overwrite_payload=m.SetPayload(points=[2], payload={"a": {"b": 1}})),
                                      m.SetPayloadOperation(set_payload=m.SetPayload(points=[2], payload={"c": 2}, key="a")),
                                      m.ClearPayloadOperation(clear_payload=m.PointIdsList(points=ids[4:6]))])
    assert len(both.same()) == 11


def test_vectors_that_do_not_fit_are_refused(remote):
    both = Both(remote, NAMED, SPARSE)
    wrong = [{"none": numbers(4)}, {"none": sparse()}, numbers(4), {"text": numbers(3)}, {"words": numbers(4)}, {"text": sparse()}, {"rows": [numbers(3)]}]
    for vector in wrong:
        both.refused("upsert", [m.PointStruct(id=1, vector=vector)])
    for column in ({"none": [numbers(4)]}, {"none": [sparse()]}, {"text": [numbers(3)]}):
        both.refused("upsert", m.Batch(ids=[1], vectors=column))
        both.refused("upload_collection", [{name: vector[0] for name, vector in column.items()}], wait=True, max_retries=1)
    assert remote.count(both.name).count == 0  # in memory, a half of a point is left


def test_named_vectors_come_and_go(remote):
    both = Both(remote, {"text": NAMED["text"]})
    config = m.DenseVectorConfig(size=2, distance=m.Distance.DOT, multivector_config=m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM))
    both.each("upsert", [m.PointStruct(id=n, vector={"text": numbers(4)}) for n in range(12)])
    for _ in range(2):
        both.each("create_vector_name", "rows", m.DenseVectorNameConfig(dense=config))
        both.each("create_vector_name", "rare", m.SparseVectorNameConfig(sparse=m.SparseVectorConfig(modifier=m.Modifier.IDF)))
        for params in (info.config.params for info in both.each("get_collection")):
            assert params.vectors["rows"].multivector_config and params.sparse_vectors["rare"].modifier == m.Modifier.IDF
        both.same("new names are empty")
        both.each("upsert", [m.PointStruct(id=n, vector={"text": numbers(4), "rows": [numbers(2)] * 2, "rare": sparse()}) for n in range(6, 18)])
        both.each("update_vectors", [m.PointVectors(id=n, vector={"rows": [numbers(2)]}) for n in range(3)])
        both.same("with values")
        for query, using in (([numbers(2)], "rows"), (sparse(), "rare")):
            ours, theirs = ([round(p.score, 3) for p in answer.points] for answer in both.each("query_points", query=query, using=using, limit=50))
            assert ours == theirs
        for name in ("rows", "rare"):
            both.each("delete_vector_name", name)
        for params in (info.config.params for info in both.each("get_collection")):
            assert set(params.vectors) == {"text"} and not params.sparse_vectors
        both.same("without them")
    # The in-memory client refuses to delete a sparse vector beside the unnamed one.
    name = next(names)
    remote.create_collection(name, vectors_config=FLAT, sparse_vectors_config={"words": SPARSE["words"]})
    remote.upsert(name, [m.PointStruct(id=1, vector={"": [1.0, 2.0, 3.0], "words": sparse()})])
    remote.delete_vector_name(name, "words")
    assert remote.retrieve(name, [1], with_vectors=True)[0].vector == [1.0, 2.0, 3.0]


SET = [({"nest": [{"a": "1", "b": 2}]}, {"a": "3"}, key) for key in ("nest[0]", "nest[1]", "nest[].nest", "nest[]", "nest", "nest[0].a[]", "other[0]")] + [
    ({}, {"d": 1}, "nest[]"), ({"a": {"b": {"c": {"d": 1}}}}, {"f": 2}, "a.b.c"), ({"a": []}, {}, "a.b"), ({"a": []}, {}, "a.b[0]"), ({"a": []}, {"x": 1}, "a.b"),
    ({"a": [[{"a": 1}]]}, {}, "a[0][0]"), ({"a": [[{"a": 1}]]}, {"b": "q"}, "a[0][0]"), ({"a": {"c": [{"d": 1}]}}, {"a": 1}, "a.c[][]"), ({"a": 5}, {"b": 1}, "a"),
    ({"a.b": 1, "a": {"b": {}}}, {"c": 1}, "a.b"), ({"a.b": {"x": 1}}, {"c": 1}, '"a.b"'), ({"": {"x": 1}}, {"c": 1}, '""')]


@pytest.mark.parametrize("before, patch, key", SET, ids=[f"{before} {key}" for before, _, key in SET])
def test_payload_is_set_at_a_path(remote, before, patch, key):
    both = Both(remote, {})
    both.each("upsert", [m.PointStruct(id=1, vector={}, payload=before)])
    both.each("set_payload", patch, [1], key=key)
    both.same(f"{patch} at {key} of {before}")


def test_nulls_at_a_path_remove_keys(remote):
    """The oldest in-memory clients keep them, so what is right is written here."""
    name, before = next(names), {"a": 1, "b": {"c": 2, "d": 3}, "arr": [{"c": 2}, 1], "kept": None}
    patch = {"a": None, "c": None, "missing": None, "e": {"f": None}}
    inside = {"e": {"f": None}}
    right = {None: {"b": before["b"], "arr": before["arr"], "kept": None} | inside, "b": before | {"b": {"d": 3} | inside}, "a.x": before | {"a": {"x": inside}},
             "arr[0]": before | {"arr": [inside, 1]}, "arr[1]": before | {"arr": [{"c": 2}, inside]}, "arr[]": before | {"arr": [inside, inside]},
             "new.path": before | {"new": {"path": inside}}}
    remote.create_collection(name, vectors_config={})
    for key, wanted in right.items():
        remote.upsert(name, [m.PointStruct(id=1, vector={}, payload=before)])
        remote.set_payload(name, patch, [1], key=key)
        assert remote.retrieve(name, [1])[0].payload == wanted, key


DELETED = [({"a": {"b": 1, "c": 2}, "t": 9}, ["a.b"], {"a": {"c": 2}, "t": 9}), ({"a": {"c": 2}}, ["a.b"], {"a": {"c": 2}}),
           ({"l": [{"x": 1, "y": 2}, {"x": 3}]}, ["l[].x"], {"l": [{"y": 2}, {}]}), ({"l": [{"x": 1}, 2]}, ["l[0]"], {"l": [{"x": 1}, 2]}),
           ({"l": [1, 2], "t": 9}, ["l[]"], {"l": [], "t": 9}), ({"l": [{"x": 1}]}, ["l.x"], {"l": [{"x": 1}]}), ({"a.b": 1, "a": {"b": 2}}, ["a.b"], {"a.b": 1, "a": {}}),
           ({"l": [[1, 2], [3]]}, ["l[][]"], {"l": [[], []]}), ({"a": {"b": 1}, "t": 9}, ["a.b", "t"], {"a": {}})]


@pytest.mark.parametrize("before, keys, after", DELETED, ids=[f"{before} {keys}" for before, keys, _ in DELETED])
def test_payload_is_deleted_at_a_path(remote, before, keys, after):
    name = next(names)
    remote.create_collection(name, vectors_config={})
    remote.upsert(name, [m.PointStruct(id=1, vector={}, payload=before)])
    remote.delete_payload(name, keys, [1])
    assert remote.retrieve(name, [1])[0].payload == after


def test_a_path_that_is_none_is_refused_and_nothing_is_done(remote):
    name, before = next(names), {"a": {"b": 1}, "l": [1, 2], "": "x"}
    remote.create_collection(name, vectors_config={})
    remote.upsert(name, [m.PointStruct(id=1, vector={}, payload=before)])
    blank = m.Filter(must=[m.FieldCondition(key="", match=m.MatchValue(value="x"))])
    for call in (lambda bad: remote.delete_payload(name, ["a.b", bad], [1]), lambda bad: remote.set_payload(name, {"z": 1}, [1], key=bad)):
        for bad in ("not a path", "l[-1]", "l[-1].x", "", "a..b", "a[", "l[x]"):
            with pytest.raises(UnexpectedResponse):
                call(bad)
    with pytest.raises(UnexpectedResponse):
        remote.set_payload(name, {"z": 1}, blank)
    assert remote.retrieve(name, [1])[0].payload == before
    remote.set_payload(name, {"": "y"}, m.Filter(must=[m.FieldCondition(key='""', match=m.MatchValue(value="x"))]))
    assert remote.retrieve(name, [1])[0].payload == before | {"": "y"}


def test_values_of_python_that_json_lacks(remote):
    both = Both(remote, {})
    odd = [datetime.date(2021, 1, 1), datetime.datetime(2021, 1, 1, 1, 1, 1), datetime.time(1, 1, 1), decimal.Decimal("1.5"), uuid.UUID(int=9), b"123", datetime.timedelta(seconds=1)]
    both.each("upsert", [m.PointStruct(id=n, vector={}, payload={"value": value}) for n, value in enumerate(odd)])
    both.same()


def test_ties_of_mmr_are_broken_alike(remote):
    """Exact ties of fractions of two: the last of the best is taken, in the order in which candidates are left over."""
    cases = [(m.Distance.DOT, [[2, 1, 0, 0], [1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 1, 0, 0]], [1.0, 0, 0, 0], [1, 3, 2, 4]),
             (m.Distance.EUCLID, [[0.25, 0], [0.5, 0.25], [0.5, 0.5], [0.75, 0.5]], [0.0, 0.0], [1, 3, 2, 4])]
    for distance, rows, query, first in cases:
        for multi in (None, m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)):
            name = next(names)
            remote.create_collection(name, vectors_config=m.VectorParams(size=len(query), distance=distance, multivector_config=multi))
            remote.upsert(name, [m.PointStruct(id=n + 1, vector=[row] if multi else row) for n, row in enumerate(rows)])
            found = remote.query_points(name, query=m.NearestQuery(nearest=[query] if multi else query, mmr=m.Mmr()), limit=10).points
            assert [p.id for p in found][:2] == first[:2], f"{distance}, {multi}"


def test_order_by_in_pages_and_of_lists(remote):
    both = Both(remote, {})
    made = [m.PointStruct(id=1, vector={}, payload={"n": [1, 2, 3, 4]}), m.PointStruct(id=2, vector={}, payload={"n": [2, 3, 4, 5]}), m.PointStruct(id=3, vector={}, payload={"n": True}),
            m.PointStruct(id=4, vector={}, payload={"n": 0}), m.PointStruct(id=5, vector={}, payload={"n": [True, 7]}), m.PointStruct(id=6, vector={}, payload={"n": "x"})]
    both.each("upsert", made)
    remote.create_payload_index(both.name, "n", "integer")
    found, _ = remote.scroll(both.name, order_by=m.OrderBy(key="n"), limit=50)
    assert [r.order_value for r in found] == [0, 1, 2, 2, 3, 3, 4, 4, 5, 7]
    assert {r.id for r in found} == {1, 2, 4, 5}
    # Page by page as one does it: from the last value on, without the points that had it.
    seen, start, ids = [], None, []
    while page := remote.scroll(both.name, order_by=m.OrderBy(key="n", start_from=start), limit=2, scroll_filter=m.Filter(must_not=[m.HasIdCondition(has_id=ids)]))[0]:
        ids = [r.id for r in page if r.order_value == page[-1].order_value] + (ids if page[-1].order_value == start else [])
        start = page[-1].order_value
        seen += [r.order_value for r in page]
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 7


def test_idf_of_a_corpus(remote):
    both = Both(remote, {}, {"rare": SPARSE["rare"]})
    both.each("upsert", [m.PointStruct(id=n, vector={} if n % 3 == 0 else {"rare": sparse()}, payload={"n": n % 10}) for n in range(90)])
    query, digits = sparse(), lambda few: m.Filter(must=[m.FieldCondition(key="n", match=m.MatchAny(any=few))])
    for idf in (None, m.IdfScope.GLOBAL, *(m.IdfCorpusParams(corpus=corpus) for corpus in (digits([0, 1, 2]), digits([42]), m.Filter()))):
        params = m.SearchParams(idf=idf) if idf else None
        for asked in ({"query": query, "using": "rare", "search_params": params},
                      {"prefetch": m.Prefetch(query=query, using="rare", params=params, limit=30), "query": m.NearestQuery(nearest=query), "using": "rare", "search_params": params}):
            ours, theirs = ([p.score for p in answer.points] for answer in both.each("query_points", limit=20, **asked))
            assert ours == pytest.approx(theirs, rel=1e-4), idf


def test_a_rate_limit_says_when_to_come_back(remote):
    both = Both(remote, FLAT)
    made = [m.PointStruct(id=n, vector=numbers(3)) for n in range(9)]
    remote.update_collection(both.name, strict_mode_config=m.StrictModeConfig(enabled=True, read_rate_limit=60, write_rate_limit=6))
    with pytest.raises(UnexpectedResponse, match="Write rate limit exceeded, request larger than rate limiter capacity, please try to split your request"):
        remote.upsert(both.name, made)
    with pytest.raises(ResourceExhaustedResponse) as told:
        for _ in range(10):
            remote.upsert(both.name, made[:3])
    assert told.value.retry_after_s > 0
    requests = [m.QueryRequest(query=numbers(3), limit=2)] * 20
    with pytest.raises(ResourceExhaustedResponse) as told:
        for _ in range(20):
            remote.query_batch_points(both.name, requests)
    assert told.value.retry_after_s > 0


def test_aliases_change_alike(remote):
    both = Both(remote, FLAT)
    make = lambda alias: m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name=both.name, alias_name=alias))  # noqa: E731
    steps = [[make("one")], [make("two"), make("three")], [m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name="two")),
             m.RenameAliasOperation(rename_alias=m.RenameAlias(old_alias_name="three", new_alias_name="four"))]]
    for step in steps:
        for client in (both.remote, both.local):
            client.update_collection_aliases(change_aliases_operations=step)
        ours, theirs = (sorted((a.alias_name, a.collection_name) for a in answer.aliases) for answer in both.each("get_collection_aliases"))
        assert ours == theirs and ours
        assert set(ours) <= {(a.alias_name, a.collection_name) for a in remote.get_aliases().aliases}


def test_the_async_client(shared_node, remote):
    both = Both(remote, NAMED, SPARSE)
    made = points(60)

    async def work(client, name):
        await client.upsert(name, made[:40])
        client.upload_points(name, made[40:], wait=True)
        await client.update_vectors(name, [m.PointVectors(id=made[0].id, vector={"words": m.SparseVector(indices=[3], values=[1.5])})])
        await client.set_payload(name, {"mark": 1}, [made[1].id, made[2].id])
        await client.delete(name, [made[3].id])
        nearest = await client.query_points(name, query=[0.5, 0.25, -1.0], using="image", limit=10)
        groups = await client.query_points_groups(name, query=[0.5, 0.25, -1.0], using="image", group_by="kw", limit=3, group_size=2)
        count = await client.count(name, count_filter=m.Filter(must=[m.FieldCondition(key="mark", match=m.MatchValue(value=1))]))
        many = await asyncio.gather(*(client.retrieve(name, [p.id], with_vectors=True) for p in made))
        scores = [p.score for p in nearest.points] + sorted(g.hits[0].score for g in groups.groups)
        return pytest.approx(scores, abs=1e-4), count.count, [len(found) for found in many]

    async def both_ways():
        ours, theirs = AsyncQdrantClient(url=shared_node.url, timeout=60, check_compatibility=False), AsyncQdrantClient(":memory:")
        await theirs.create_collection(both.name, vectors_config=NAMED, sparse_vectors_config=SPARSE)
        answers = await work(ours, both.name), await work(theirs, both.name)
        assert answers[0][0].expected == answers[1][0] and answers[0][1:] == answers[1][1:]
        same_points(*[(await client.scroll(both.name, limit=EVERYTHING, with_vectors=True))[0] for client in (ours, theirs)], "async")
        await ours.close()

    asyncio.run(both_ways())


def test_migration_between_node_and_memory(remote):
    both = Both(remote, NAMED, SPARSE)
    both.each("upsert", points(80))
    back = QdrantClient(":memory:")
    remote.migrate(back, [both.name], batch_size=13)
    same_points(back.scroll(both.name, limit=EVERYTHING, with_vectors=True)[0], both.same(), "to memory")
    remote.delete_collection(both.name)
    back.migrate(remote, [both.name], batch_size=13)
    assert len(both.same("to the node")) == 80
    params = remote.get_collection(both.name).config.params
    assert set(params.vectors) == set(NAMED) and params.sparse_vectors["rare"].modifier == m.Modifier.IDF
