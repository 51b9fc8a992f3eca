"""Makes fixtures/glosses: the first 3,000 rows of the data set, 100 queries and their exact answers, for tests that must start at once.

usage, in the environment `data`: python -m harness.fixture_make
Vectors are int8 (value x 127 over the vector's largest component), which real embeddings survive and git likes.
"""
import gzip
import json

import numpy as np

from . import cache, dataset_files
from .dataset_make import neighbours

ROWS, QUERIES = 3000, 100


def to_bytes(vectors):
    vectors = vectors.astype(np.float32)
    return np.round(vectors * 127 / np.abs(vectors).max(axis=1, keepdims=True)).astype(np.int8)


if __name__ == "__main__":
    source, place = dataset_files.folder(), cache.TESTS / "fixtures"
    vectors = to_bytes(np.load(source / "glosses.f16.npy")[:ROWS])
    queries = to_bytes(np.load(source / "queries.f16.npy")[:QUERIES])
    with gzip.open(source / "glosses.jsonl.gz", "rt") as file:
        lines = [line for line, _ in zip(file, range(ROWS))]
    np.save(place / "glosses.i8.npy", vectors)
    np.save(place / "queries.i8.npy", queries)
    with gzip.GzipFile(place / "glosses.jsonl.gz", "wb", mtime=0) as file:
        file.write("".join(lines).encode())
    exact = neighbours(vectors, queries, [json.loads(line) for line in lines])
    (place / "neighbours.json").write_text(json.dumps({name: ids.tolist() for name, ids in exact.items()}, separators=(",", ":")))
