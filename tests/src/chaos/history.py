"""Whether what clients saw can have been. Each point is a register; each of its values is written at most once, so the test is exact and quick."""
from itertools import pairwise
from math import inf
from typing import NamedTuple

# What a read sees of a point that isn't there, and what a deletion writes. A register is deleted at most once.
ABSENT = 0


class Op(NamedTuple):
    """One write or read of one register; times in nanoseconds of one monotonic clock."""

    value: int
    write: bool
    began: int
    ended: int | None  # None: nobody knows whether it was done, and it may still be

    def __str__(self):
        what = "nothing" if self.value == ABSENT else self.value
        return f"{'wrote' if self.write else 'read'} {what} from {self.began / 1e9:.3f} to {'?' if self.ended is None else f'{self.ended / 1e9:.3f}'} s"


class Zone(NamedTuple):
    """The operations on one value have to lie together, behind its write and before the next one."""

    first_end: float
    last_begin: int
    value: int


def contradiction(ops: list[Op]) -> str | None:
    """Why one register's operations can't be put in an order that agrees with time and with what was read; None if they can.

    Exact where each value is written at most once, in O(n log n) (Gibbons and Korach, 1997). Nothing may be read before a first write.
    """
    writes, reads = {}, {}
    for op in ops:
        if op.write:
            assert op.value not in writes, f"{op.value} is written twice: no history that this can judge"
            writes[op.value] = op
        elif op.ended is not None:
            reads.setdefault(op.value, []).append(op)
    for value, seen in reads.items():
        first = min(seen, key=lambda r: r.ended)
        if value not in writes:
            return f"an acknowledged write is lost, nobody deleted it: {first}" if value == ABSENT else f"never written: {first}"
        if first.ended < writes[value].began:
            return f"read before it was written: {first}; {writes[value]}"
    forward, backward = [], []
    for value, write in writes.items():
        seen = reads.get(value, [])
        if write.ended is None and not seen:
            continue
        ends = [o.ended for o in (*seen, write) if o.ended is not None]
        zone = Zone(min(ends, default=inf), max(o.began for o in (*seen, write)), value)
        (forward if zone.first_end < zone.last_begin else backward).append(zone)
    return clash(sorted(forward), backward, writes, reads)


def clash(forward: list[Zone], backward: list[Zone], writes: dict, reads: dict) -> str | None:
    """Two values that must have been there at one time, or one in the middle of another."""
    def told(a: Zone, b: Zone) -> str:
        last = {z.value: max(reads.get(z.value, []), key=lambda r: r.began, default=None) for z in (a, b)}
        return "; ".join(str(o) for z in (a, b) for o in (writes[z.value], last[z.value]) if o)

    for one, next_one in pairwise(forward):
        if next_one.first_end < one.last_begin:
            return f"both there at one time, or one came back: {told(one, next_one)}"
    # Forward zones don't overlap here, so at most one can hold a given backward zone: the last that starts before it.
    ordered = sorted([(z.first_end, 1, z) for z in forward] + [(z.last_begin, 0, z) for z in backward], key=lambda e: e[:2])
    around = None
    for _, is_forward, zone in ordered:
        if is_forward:
            around = zone
        elif around and around.first_end < zone.last_begin and zone.first_end < around.last_begin:
            return f"there before and after another was written: {told(around, zone)}"
    return None


def stale_by(op: Op, bound: int) -> Op:
    """A read that may show what was current up to `bound` nanoseconds before it began."""
    return op._replace(began=op.began - bound)


def possible_by_search(ops: list[Op]) -> bool:
    """The same by trying every order: for small histories, to check the other one."""
    done = [False] * len(ops)

    def search(value: int | None) -> bool:
        left = [i for i, d in enumerate(done) if not d]
        if all(ops[i].ended is None for i in left):
            return True
        first_end = min(ops[i].ended for i in left if ops[i].ended is not None)
        for i in left:
            op = ops[i]
            if op.began > first_end or (not op.write and op.value != value):
                continue
            done[i] = True
            if search(op.value):
                return True
            done[i] = False
        return False

    return search(None)
