"""Random queries of every kind, over every kind of vector, with random filters: the same scores from the node as from memory.

Scores only, sorted, as ties have no order; which point has which score is looked at by the other tests.
"""
import random
import warnings

import pytest
from harness import limits
from qdrant_client import QdrantClient
from qdrant_client import models as m

from . import values

SEEDS, QUERIES, EVERYTHING = limits.pick(12, 60), 25, 400
GROUPED = ["kw", "n", "f", "flag", "who", "obj.a", "obj", "tags", "tags[]", "rows[].x", "rows[].y", "place", "missing", "nul", "when"]
MAX_SIM = m.MultiVectorConfig(comparator=m.MultiVectorComparator.MAX_SIM)


class Pair:
    """A collection with a dense, a sparse and a multivector in the node and in memory, after random writes to both."""

    def __init__(self, seed: int, remote):
        self.rng, self.clients, self.name = random.Random(seed), (remote, QdrantClient(":memory:")), f"kinds-{seed}"
        self.make = {"dense": lambda: self.numbers(5), "far": lambda: self.numbers(4), "words": self.sparse, "rows": lambda: [self.numbers(3) for _ in range(self.rng.randint(1, 3))]}
        distances = [self.rng.choice(values.DISTANCES) for _ in range(2)]
        dense = {"dense": m.VectorParams(size=5, distance=distances[0]), "far": m.VectorParams(size=4, distance=distances[1]),
                 "rows": m.VectorParams(size=3, distance=m.Distance.DOT, multivector_config=MAX_SIM)}
        self.points = {i: self.vectors() for i in self.rng.sample(values.IDS, 100)}
        points = [m.PointStruct(id=i, vector=v, payload=values.payload(self.rng)) for i, v in self.points.items()]
        changed = [m.PointVectors(id=i, vector={"dense": self.numbers(5), "words": self.sparse()}) for i in self.rng.sample(list(self.points), 9)]
        gone, bare = (self.rng.sample(list(self.points), n) for n in (6, 8))
        for client in self.clients:
            client.create_collection(self.name, vectors_config=dense, sparse_vectors_config={"words": m.SparseVectorParams()})
            client.upsert(self.name, points)
            client.update_vectors(self.name, changed)
            client.delete_vectors(self.name, ["rows"], bare)
            client.delete(self.name, gone)
        for point in changed:
            self.points[point.id] |= point.vector
        for i in bare:
            self.points[i].pop("rows", None)
        for i in gone:
            del self.points[i]

    def numbers(self, size: int) -> list[float]:
        return [round(self.rng.gauss(0, 1), 4) for _ in range(size)]

    def sparse(self) -> m.SparseVector:
        indices = self.rng.sample(range(20), 4)
        return m.SparseVector(indices=indices, values=[round(self.rng.random() + 0.05, 4) for _ in indices])

    def vectors(self) -> dict:
        return {name: make() for name, make in self.make.items() if self.rng.random() < 0.9}

    def example(self, using: str):
        """A vector, or a point that has one."""
        return self.make[using]() if self.rng.random() < 0.5 else self.rng.choice([i for i, v in self.points.items() if using in v])

    def query(self, using: str):
        some = lambda least, most: [self.example(using) for _ in range(self.rng.randint(least, most))]  # noqa: E731
        pairs = [m.ContextPair(positive=p, negative=n) for p, n in zip(some(2, 2), some(1, 2))]
        match self.rng.randrange(7):
            case 0:
                return self.make[using]()
            case 1:
                return m.RecommendQuery(recommend=m.RecommendInput(positive=some(1, 3), negative=some(0, 2)))
            case 2:
                return m.RecommendQuery(recommend=m.RecommendInput(positive=some(0, 2), negative=some(1, 2), strategy=m.RecommendStrategy.BEST_SCORE))
            case 3:
                return m.RecommendQuery(recommend=m.RecommendInput(positive=some(1, 2), negative=some(0, 2), strategy=m.RecommendStrategy.SUM_SCORES))
            case 4:
                return m.DiscoverQuery(discover=m.DiscoverInput(target=self.example(using), context=pairs))
            case 5:
                return m.ContextQuery(context=pairs)
            case _:
                return self.example(using)

    def same(self, what: str, call) -> None:
        """`call` gives a client's scores; both clients give the same, or both refuse."""
        answers = []
        for client in self.clients:
            try:
                answers.append(call(client))
            except Exception as error:  # the two have no error type in common
                answers.append(error)
        ours, theirs = answers
        if isinstance(ours, Exception) and isinstance(theirs, Exception):
            return
        assert not isinstance(ours, Exception) and not isinstance(theirs, Exception), f"{what}: {ours!r} and {theirs!r}"
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-3), what

    def step(self) -> None:
        using, limit = self.rng.choice(list(self.make)), self.rng.choice([1, 5, EVERYTHING])
        query, other = self.query(using), self.make[using]()
        wanted = values.filter(self.rng, list(self.make)) if self.rng.random() < 0.6 else None
        asked = {"query": query, "using": using, "query_filter": wanted}
        self.same(f"{asked}, {limit}", lambda c: sorted(p.score for p in c.query_points(self.name, **asked, limit=limit).points))
        before = m.Prefetch(query=other, using=using, filter=wanted, limit=EVERYTHING)
        self.same(f"{before} before {query}", lambda c: sorted(p.score for p in c.query_points(self.name, prefetch=before, query=query, using=using, limit=EVERYTHING).points))
        key, size = self.rng.choice(GROUPED), self.rng.randint(1, 3)
        grouped = {"query": other, "using": using, "query_filter": wanted, "group_by": key, "group_size": size, "limit": EVERYTHING}
        self.same(str(grouped), lambda c: {f"{g.id} {n}": h.score for g in c.query_points_groups(self.name, **grouped).groups for n, h in enumerate(g.hits)})
        if using != "rows":
            matrix = {"using": using, "query_filter": wanted, "sample": EVERYTHING, "limit": 3}
            self.same(str(matrix), lambda c: sorted(p.score for p in c.search_matrix_pairs(self.name, **matrix).pairs))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_same_scores(shared_node, seed):
    remote = QdrantClient(url=shared_node.url, timeout=60, check_compatibility=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = Pair(seed, remote)
        for _ in range(QUERIES):
            pair.step()
    remote.delete_collection(pair.name)
    remote.close()
