"""A value of a register as a point: it stands in the payload and in the vector, so that a mix of two writes is seen."""
import bisect
from math import dist

SIZE = 4


class Mixed(Exception):
    """A point whose parts are not of one write."""


def encode(value: int) -> list[float]:
    """A vector of 4 numbers that stands for a value below 2^24 and for no other."""
    low, high = value & 0xFFF, value >> 12
    return [float(low), float(high), float((7 * low + 13 * high) % 4093), 1.0]


def upsert_value(number: int) -> int:
    return 2 * number


def patch_value(number: int) -> int:
    """Odd: written by set_payload, which leaves the vector as it was."""
    return 2 * number + 1


def read_point(point: dict) -> int:
    """The register's value. `payload.vector` names the upsert that set the vector; a later set_payload changes `payload.value` alone."""
    payload, vector = point.get("payload") or {}, point.get("vector")
    value, of_vector = payload.get("value"), payload.get("vector")
    parts = isinstance(value, int) and isinstance(of_vector, int) and of_vector % 2 == 0 and (value == of_vector or value % 2 == 1)
    if not parts or vector != encode(of_vector):
        raise Mixed(f"point {point.get('id')}: payload {payload}, vector {vector}")
    return value


def upsert(point: int, value: int) -> dict:
    return {"points": [{"id": point, "vector": encode(value), "payload": {"value": value, "vector": value}}]}


def distance(a: list[float], b: list[float]) -> float:
    return dist(a, b)


def hash64(point: int) -> int:
    """As nodes hash ids (`node/engine/src/point_id.rs`)."""
    mask = (1 << 64) - 1
    x = point
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


class Ranges:
    """Which shard a point belongs to, from the shards' records."""

    def __init__(self, shards: list[dict]):
        pairs = sorted((int(s["spec"]["range"]["first"], 16), s["spec"]["shard"]) for s in shards)
        self.firsts, self.numbers = [p[0] for p in pairs], [p[1] for p in pairs]

    def shard(self, point: int) -> int:
        return self.numbers[bisect.bisect_right(self.firsts, hash64(point)) - 1]
