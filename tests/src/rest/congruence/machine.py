"""Runs random operations from a seed, and says which seed and which step, whatever goes wrong."""
from contextlib import contextmanager

from . import operations, searches
from .compare import Differs
from .searches import Searches

WEIGHTS = {**operations.WEIGHTS, **searches.WEIGHTS}


@contextmanager
def told(pair: Searches, seed: int, step: int):
    try:
        yield
    except Exception as error:
        raise AssertionError(f"seed {seed}, step {step}: {error if isinstance(error, Differs) else f'{pair.last}: {error!r}'}") from (None if isinstance(error, Differs) else error)


def run(pair: Searches, seed: int, steps: int, middle=None) -> None:
    """`steps` operations from a seed; `middle` is done once half-way."""
    chosen, weights = list(WEIGHTS), list(WEIGHTS.values())
    for step in range(steps):
        with told(pair, seed, step):
            if step == steps // 2 and middle:
                middle()
            if step % 40 == 0:
                pair.upsert(most=200)
            else:
                pair.rng.choices(chosen, weights)[0](pair)
    with told(pair, seed, steps):
        pair.everything()
