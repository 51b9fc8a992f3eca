"""The data set as tests use it: vectors, payloads, held-out queries, exact answers, and the filters those were made for."""
import datetime
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Conditions as the protocol writes them, all of them `must`. They keep about 70, 50, 10, 10, 1, 1 and 0.1 % of the points;
# `lex` goes with what a gloss means, `bucket` with nothing.
FILTERS = {
    "none": [],
    "pos n": [{"key": "pos", "match": {"value": "n"}}],
    "bucket 50 %": [{"key": "bucket", "range": {"lt": 500}}],
    "bucket 10 %": [{"key": "bucket", "range": {"lt": 100}}],
    "lex 10 %": [{"key": "lex", "match": {"value": "noun.artifact"}}],
    "bucket 1 %": [{"key": "bucket", "range": {"lt": 10}}],
    "lex 1 %": [{"key": "lex", "match": {"value": "noun.time"}}],
    "bucket 0.1 %": [{"key": "bucket", "range": {"lt": 1}}],
}
INDEXES = {"pos": "keyword", "lex": "keyword", "lemmas": "keyword", "bucket": "integer", "n_words": "integer", "date": "datetime"}


def passes(payload: dict, conditions: list[dict]) -> bool:
    """Whether a payload satisfies conditions of the two kinds that FILTERS uses."""
    return all(
        payload[c["key"]] == c["match"]["value"] if "match" in c else payload[c["key"]] < c["range"]["lt"] for c in conditions
    )


def dated(payload: dict) -> dict:
    """The payload with its date: 2000-01-01 plus (id mod 9,000) days."""
    day = datetime.date(2000, 1, 1) + datetime.timedelta(days=payload["id"] % 9000)
    return {**payload, "date": f"{day.isoformat()}T00:00:00Z"}


@dataclass
class DataSet:
    vectors: np.ndarray
    payloads: list[dict]
    queries: np.ndarray
    neighbours: dict[str, np.ndarray]

    @staticmethod
    def load(folder: Path) -> "DataSet":
        with gzip.open(folder / "glosses.jsonl.gz", "rt") as file:
            payloads = [dated(json.loads(line)) for line in file]
        vectors = np.load(folder / "glosses.f16.npy").astype(np.float32)
        return DataSet(vectors, payloads, np.load(folder / "queries.f16.npy").astype(np.float32), dict(np.load(folder / "neighbours.npz")))

    @staticmethod
    def committed() -> "DataSet":
        """The slice of 3,000 points and 100 queries that is part of the repository."""
        folder = Path(__file__).resolve().parents[2] / "fixtures"
        with gzip.open(folder / "glosses.jsonl.gz", "rt") as file:
            payloads = [dated(json.loads(line)) for line in file]
        vectors, queries = (np.load(folder / f"{part}.i8.npy").astype(np.float32) for part in ("glosses", "queries"))
        exact = {name: np.array(ids) for name, ids in json.loads((folder / "neighbours.json").read_text()).items()}
        return DataSet(vectors, payloads, queries, exact)


def recall(found: list[list[int]], exact: np.ndarray) -> float:
    """Share of the exact neighbours that were found."""
    return float(np.mean([len(set(f) & set(map(int, e))) / len(e) for f, e in zip(found, exact) if len(e)]))
