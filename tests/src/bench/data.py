"""The sets: vectors and queries as files, exact neighbours, recall. What is made stays in the cache, its parameters in its name."""
import gzip
import hashlib
import json
import operator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from harness import cache, dataset_files

from .synthetic import MIXTURES

QUERIES, K = 1000, 10
ROWS = {"wn": dataset_files.ROWS, "g128": 1_000_000, "g1536": 200_000}
ROWS_QUICK = {"wn": dataset_files.ROWS, "g128": 100_000, "g1536": 20_000}
# What counts as the tenth neighbour's equal, relative to its score: texts repeat, and so do their vectors.
TIE = 1e-5
BOUNDS = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}


def folder() -> Path:
    path = cache.folder() / "bench"
    path.mkdir(exist_ok=True)
    return path


@dataclass
class Set:
    name: str
    key: str
    distance: str
    vectors: Path
    queries: Path
    rows: int
    payload: Path | None = None
    truths: dict = field(default_factory=dict)
    columns: dict = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether goals apply: they are promised for the whole set."""
        return self.rows == ROWS[self.name]

    @cached_property
    def base(self) -> np.ndarray:
        return np.load(self.vectors, mmap_mode="r")[: self.rows]

    @cached_property
    def asked(self) -> np.ndarray:
        return np.load(self.queries).astype(np.float32)

    @cached_property
    def payloads(self) -> list[dict]:
        with self.payload.open() as file:
            return [json.loads(line) for line, _ in zip(file, range(self.rows))]

    def part(self, rows: int) -> "Set":
        """The first rows alone."""
        return Set(self.name, self.key, self.distance, self.vectors, self.queries, min(rows, self.rows), self.payload)

    def scores(self, ids: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Exact scores of some rows for each query, the larger the nearer; a row number below zero stands for none."""
        found = np.empty(ids.shape)
        for i, (row, query) in enumerate(zip(ids, queries.astype(np.float64))):
            points = self.base[np.maximum(row, 0)].astype(np.float64)
            if self.distance == "Cosine":
                found[i] = points @ query / (np.linalg.norm(points, axis=1) * np.linalg.norm(query))
            else:
                found[i] = -((points - query) ** 2).sum(1)
        return np.where(ids < 0, -np.inf, found)

    def truth(self, filters: list | None = None, filter_of: list[int] | None = None) -> np.ndarray:
        """Ids of the exact neighbours of every query under its filter, -1 where fewer pass."""
        key = hashlib.sha256(json.dumps([filters, filter_of]).encode()).hexdigest()[:12] if filters else "all"
        if key not in self.truths:
            path = folder() / f"{self.key}-{self.rows}-q{QUERIES}-k{K}-{key}.truth.npy"
            if not path.exists():
                cache.say(f"exact neighbours in {path.name}")
                part = path.with_suffix(".part.npy")
                np.save(part, self.exact(filters or [None], filter_of or [0] * len(self.asked)))
                part.rename(path)
            self.truths[key] = np.load(path)
        return self.truths[key]

    def exact(self, filters: list, filter_of: list[int]) -> np.ndarray:
        found, of = np.full((len(self.asked), K), -1, np.int64), np.array(filter_of)
        for number, condition in enumerate(filters):
            mine = np.flatnonzero(of == number)
            allowed = np.arange(self.rows) if condition is None else self.passing(condition["must"])
            if len(mine) and len(allowed):
                found[mine] = self.nearest(self.asked[mine], allowed)
        return found

    def passing(self, conditions: list[dict]) -> np.ndarray:
        """The rows that satisfy all of them."""
        passes = np.ones(self.rows, bool)
        for condition in conditions:
            key = condition["key"]
            if key not in self.columns:
                self.columns[key] = np.array([payload[key] for payload in self.payloads])
            if "match" in condition:
                passes &= self.columns[key] == condition["match"]["value"]
            for bound, value in condition.get("range", {}).items():
                passes &= BOUNDS[bound](self.columns[key], value)
        return np.flatnonzero(passes)

    def nearest(self, queries: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """Candidates by f32 in blocks, the last word by f64: near points far from the origin cancel out in f32."""
        ids, best = np.full((len(queries), 4 * K), -1, np.int64), np.full((len(queries), 4 * K), -np.inf, np.float32)
        for start in range(0, len(allowed), 50_000):
            chosen = allowed[start : start + 50_000]
            points = self.base[chosen].astype(np.float32)
            score = queries @ points.T
            if self.distance == "Cosine":
                score /= np.linalg.norm(points, axis=1)
            else:
                score = 2 * score - (points**2).sum(1)
            both = np.hstack([best, score])
            top = np.argpartition(-both, 4 * K - 1, axis=1)[:, : 4 * K]
            of = np.hstack([ids, np.broadcast_to(chosen, score.shape)])
            ids, best = np.take_along_axis(of, top, 1), np.take_along_axis(both, top, 1)
        order = np.argsort(-self.scores(ids, queries), axis=1, kind="stable")[:, :K]
        return np.take_along_axis(ids, order, 1)

    def recall(self, found: list[list[int]], filters: list | None = None, filter_of: list[int] | None = None) -> float:
        """Share of the k nearest that were found; what scores like the last of them counts. Queries that nothing passes stay out."""
        truth, shares = self.truth(filters, filter_of), []
        exact = self.scores(truth, self.asked)
        padded = np.full((len(self.asked), K), -1, np.int64)
        for row, ids in zip(padded, found):
            ids = list(dict.fromkeys(i for i in ids[:K] if 0 <= i < self.rows))
            row[: len(ids)] = ids
        for mine, best, own in zip(self.scores(padded, self.asked), exact, truth):
            wanted = int((own >= 0).sum())
            if wanted:
                last = best[wanted - 1]
                shares.append(min(int((mine >= last - TIE * abs(last)).sum()), wanted) / wanted)
        return float(np.mean(shares))


def load(name: str, options, rows: int | None = None) -> Set:
    """A set in the size that the options ask for, made if it is not there."""
    rows = rows or (ROWS_QUICK if options.quick else ROWS)[name]
    whole = real() if name == "wn" else synthetic(name, rows)
    return whole.part(min(rows, options.rows or rows))


def real() -> Set:
    place = dataset_files.folder()
    payload = folder() / f"wn-{dataset_files.ROWS}.jsonl"
    if not payload.exists():
        with gzip.open(place / "glosses.jsonl.gz", "rb") as packed:
            payload.write_bytes(packed.read())
    return Set("wn", "wn", "Cosine", place / "glosses.f16.npy", place / "queries.f16.npy", dataset_files.ROWS, payload)


def synthetic(name: str, rows: int) -> Set:
    mixture = MIXTURES[name]()
    vectors, queries = folder() / f"{mixture.name}-{rows}.npy", folder() / f"{mixture.name}-q{QUERIES}.npy"
    if not vectors.exists():
        cache.say(f"making {vectors.name}")
        mixture.write(vectors, rows)
    if not queries.exists():
        np.save(queries, mixture.queries(QUERIES))
    return Set(name, mixture.name, "Cosine" if mixture.unit else "Euclid", vectors, queries, rows)
