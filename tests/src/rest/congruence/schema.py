"""The vectors that a random collection has: dense ones, multivectors and sparse ones, with and without IDF, named or not."""
import random
from dataclasses import dataclass

from qdrant_client import models

from . import values

MAX_SIM = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
LOWER_IS_BETTER = (models.Distance.EUCLID, models.Distance.MANHATTAN)
INDICES = 24
LATE = ["late-1", "late-2"]


@dataclass
class Kind:
    """One vector of the collection."""

    kind: str  # dense, multi or sparse
    size: int = 0
    distance: models.Distance = models.Distance.DOT
    idf: bool = False

    def lower_is_better(self) -> bool:
        return self.distance in LOWER_IS_BETTER

    def make(self, rng: random.Random):
        """A value for a point or of a query."""
        if self.kind == "dense":
            return values.vector(rng, self.size)
        if self.kind == "multi":
            return [values.vector(rng, self.size) for _ in range(rng.randint(1, 4))]
        # Not in order, as both have to sort them. Values may be below zero, and then a score is.
        indices = rng.sample(range(INDICES), rng.randint(1, 6) if rng.random() < 0.97 else 0)
        return models.SparseVector(indices=indices, values=[round(rng.gauss(0.6, 0.6), 3) or 0.5 for _ in indices])

    def on_disk(self, rng: random.Random) -> bool | None:
        return rng.choice([None, True, False])

    def dense_params(self, rng: random.Random) -> models.VectorParams:
        return models.VectorParams(size=self.size, distance=self.distance, on_disk=self.on_disk(rng), multivector_config=MAX_SIM if self.kind == "multi" else None)

    def sparse_params(self, rng: random.Random) -> models.SparseVectorParams:
        index = rng.choice([None, models.SparseIndexParams(on_disk=rng.random() < 0.5)])
        return models.SparseVectorParams(modifier=models.Modifier.IDF if self.idf else None, index=index)

    def late_config(self):
        """How the vector is added to a collection that is there already."""
        if self.kind == "sparse":
            return models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(modifier=models.Modifier.IDF if self.idf else None))
        return models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=self.size, distance=self.distance, multivector_config=MAX_SIM if self.kind == "multi" else None))


class Schema:
    """All vectors by name; the empty name is the unnamed vector."""

    def __init__(self, rng: random.Random):
        self.kinds: dict[str, Kind] = {}
        draw = rng.random()
        if draw < 0.4:
            self.kinds[""] = self.dense(rng, "dense" if draw < 0.32 else "multi")
        else:
            for name in ["text", "image", "x-1"][: rng.randint(1, 3)]:
                self.kinds[name] = self.dense(rng)
            for name in ["rows", "pages"][: rng.choice([0, 1, 1, 2])]:
                self.kinds[name] = self.dense(rng, "multi")
        for name, idf in (("words", False), ("rare", True)):
            if rng.random() < 0.45:
                self.kinds[name] = Kind("sparse", idf=idf)

    @staticmethod
    def dense(rng: random.Random, kind: str = "dense") -> Kind:
        return Kind(kind, rng.randint(3, 12), rng.choice(values.DISTANCES))

    @classmethod
    def late(cls, rng: random.Random) -> Kind:
        return rng.choice([cls.dense(rng), cls.dense(rng, "multi"), Kind("sparse"), Kind("sparse", idf=True)])

    def names(self) -> list[str]:
        return list(self.kinds)

    def bare(self) -> bool:
        """The unnamed vector is the only one, so it may be written without a name."""
        return self.names() == [""]

    def params(self, rng: random.Random) -> dict:
        """Of create_collection."""
        sparse = {n: k.sparse_params(rng) for n, k in self.kinds.items() if k.kind == "sparse"}
        dense = {n: k.dense_params(rng) for n, k in self.kinds.items() if k.kind != "sparse"}
        return {"vectors_config": dense[""] if "" in dense else dense, "sparse_vectors_config": sparse or None}

    def vectors(self, rng: random.Random):
        """Of one point, which mostly has all."""
        made = {name: kind.make(rng) for name, kind in self.kinds.items() if rng.random() < 0.85}
        return self.kinds[""].make(rng) if self.bare() else made
