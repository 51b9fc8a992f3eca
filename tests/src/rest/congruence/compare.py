"""What makes two answers the same: JSON, vectors, records and lists of hits. Knows neither of the two clients."""
import numpy as np
from qdrant_client import models

TOLERANCE = 2e-4


class Differs(AssertionError):
    """The two clients disagree; the text says on what."""


def same_number(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))


def same_json(a, b) -> bool:
    """Equality as JSON has it: 1, 1.0 and true are three values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return type(a) is type(b) and a == b


def as_named(vector) -> dict:
    if vector is None:
        return {}
    return vector if isinstance(vector, dict) else {"": vector}


def same_vector(a, b) -> bool:
    if isinstance(a, models.SparseVector) and isinstance(b, models.SparseVector):
        return a.indices == b.indices and np.allclose(a.values, b.values, atol=1e-4, rtol=1e-4)
    return not isinstance(a, models.SparseVector) and np.shape(a) == np.shape(b) and np.allclose(a, b, atol=1e-4, rtol=1e-4)


def same_vectors(a, b) -> bool:
    a, b = as_named(a), as_named(b)
    return a.keys() == b.keys() and all(same_vector(a[k], b[k]) for k in a)


def same_record(ours, theirs, what: str) -> None:
    if not same_json(ours.payload, theirs.payload):
        raise Differs(f"{what}: point {ours.id} has the payload {ours.payload}, should have {theirs.payload}")
    if not same_vectors(ours.vector, theirs.vector):
        raise Differs(f"{what}: point {ours.id} has the vectors {ours.vector}, should have {theirs.vector}")


def same_hits(ours: list, reference: list, start: int, limit: int, what: str) -> None:
    """`reference` is every point that may be answered, best first. Ties have no order, so: the scores are the best that there are, and each hit has its own."""
    known, want = {p.id: p for p in reference}, [p.score for p in reference[start : start + limit]]
    if len({p.id for p in ours}) != len(ours):
        raise Differs(f"{what}: a point is answered twice")
    for hit in ours:
        if hit.id not in known:
            raise Differs(f"{what}: point {hit.id} may not be answered")
        if not same_number(hit.score, known[hit.id].score):
            raise Differs(f"{what}: point {hit.id} scores {hit.score}, should score {known[hit.id].score}")
        same_record(hit, known[hit.id], what)
    same_scores([p.score for p in ours], want, what)


def same_scores(ours: list[float], want: list[float], what: str) -> None:
    if len(ours) != len(want):
        raise Differs(f"{what}: {len(ours)} hits with the scores {ours}, should be {len(want)} with {want}")
    for n, (score, right) in enumerate(zip(ours, want)):
        if not same_number(score, right):
            raise Differs(f"{what}: the score at place {n} is {score}, should be {right}; all: {ours}, should be {want}")
