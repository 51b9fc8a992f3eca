"""How large a run is: what fits into CI, or with `tests/run --full` the counts that the product is promised with."""
import os


def full() -> bool:
    return "QUIVER_TEST_FULL" in os.environ


def pick(ci, whole):
    return whole if full() else ci


def rows() -> int | None:
    """Points of the data set: all (None) in a full run or where a ready copy is at hand; a slice where they must be embedded first."""
    return None if full() or os.environ.get("QUIVER_TEST_DATA") else 20_000
