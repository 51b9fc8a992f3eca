"""One random operation at a time, done to both clients; reads are compared at once.

Where the in-memory client itself departs from the protocol, the generator leaves the case out and says so here:
- set_payload with a null at the top level: the protocol removes the key, the client keeps a null;
- update_mode inside a batch: the client drops it;
- update_mode for a point that was deleted: the client takes it for one that is still there.
"""
import random
from contextlib import contextmanager

import numpy as np
from qdrant_client import models

from . import values

TOLERANCE = 2e-4
EVERYTHING = 10_000


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


def same_vectors(a, b) -> bool:
    a, b = as_named(a), as_named(b)
    return a.keys() == b.keys() and all(np.allclose(a[k], b[k], atol=1e-4, rtol=1e-4) for k in a)


def same_record(ours, theirs, what: str) -> None:
    if not same_json(ours.payload, theirs.payload):
        raise Differs(f"{what}: point {ours.id} has the payload {ours.payload}, should have {theirs.payload}")
    if not same_vectors(ours.vector, theirs.vector):
        raise Differs(f"{what}: point {ours.id} has the vectors {ours.vector}, should have {theirs.vector}")


class Pair:
    """The node's client, the in-memory one, and what is known of the collection in both."""

    def __init__(self, rng: random.Random, node, remote, local, name: str):
        self.rng, self.node, self.remote, self.local, self.name = rng, node, remote, local, name
        self.last, self.written = "", set()
        if rng.random() < 0.5:
            self.sizes = {"": rng.randint(3, 12)}
            params = models.VectorParams(size=self.sizes[""], distance=rng.choice(values.DISTANCES), on_disk=rng.random() < 0.5)
            self.distances = {"": params.distance}
        else:
            self.sizes = {n: rng.randint(3, 12) for n in ["text", "image", "x-1"][: rng.randint(1, 3)]}
            params = {n: models.VectorParams(size=s, distance=rng.choice(values.DISTANCES)) for n, s in self.sizes.items()}
            self.distances = {n: p.distance for n, p in params.items()}
        self.names = list(self.sizes)
        local.create_collection(name, vectors_config=params)
        # Small settings, so that segments are sealed, indexed, merged and vacuumed while the operations run.
        remote.create_collection(
            name, vectors_config=params, shard_number=rng.choice([1, 1, 2, 3]),
            hnsw_config=models.HnswConfigDiff(m=16, ef_construct=64, full_scan_threshold=10),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1, max_segment_size=rng.choice([None, 20]), vacuum_min_vector_number=100,
                                                          deleted_threshold=0.1, default_segment_number=rng.choice([0, 1, 2]), flush_interval_sec=1),
        )

    # --- both clients

    def both(self, method: str, *args, **kwargs):
        """Calls both and demands that both succeed or both refuse; gives the two answers, or None."""
        answers, errors = [], []
        for client in (self.remote, self.local):
            try:
                answers.append(getattr(client, method)(self.name, *args, **kwargs))
                errors.append(None)
            except Exception as error:  # the two clients have no error type in common
                errors.append(error)
        if bool(errors[0]) != bool(errors[1]):
            raise Differs(f"{self.last}: the node says {errors[0] or 'yes'!r}, the in-memory client {errors[1] or 'yes'!r}")
        return None if errors[0] else answers

    def some_ids(self, most: int) -> list:
        """Mostly ids that exist."""
        there = [r.id for r in self.local.scroll(self.name, limit=EVERYTHING, with_payload=False)[0]]
        pool = there if there and self.rng.random() < 0.9 else values.IDS
        return self.rng.sample(pool, min(len(pool), self.rng.randint(1, most)))

    def existing(self, most: int):
        """Ids that exist, or a filter; None while the collection is empty."""
        if self.rng.random() < 0.35:
            return values.filter(self.rng, self.names)
        there = [r.id for r in self.local.scroll(self.name, limit=EVERYTHING, with_payload=False)[0]]
        return self.rng.sample(there, min(len(there), self.rng.randint(1, most))) if there else None

    def vectors(self):
        if self.names == [""]:
            return values.vector(self.rng, self.sizes[""])
        keep = [n for n in self.names if self.rng.random() < 0.8]
        return {n: values.vector(self.rng, self.sizes[n]) for n in keep}

    def points(self, most: int) -> list[models.PointStruct]:
        ids = [self.rng.choice(values.IDS) for _ in range(self.rng.randint(1, most))]
        self.written.update(ids)
        return [models.PointStruct(id=i, vector=self.vectors(), payload=values.payload(self.rng)) for i in ids]

    # --- writes

    def upsert(self, most: int = 40):
        options = {}
        if self.rng.random() < 0.15:
            options["update_mode"] = self.rng.choice([models.UpdateMode.INSERT_ONLY, models.UpdateMode.UPDATE_ONLY])
        if self.rng.random() < 0.1:
            options["update_filter"] = values.filter(self.rng, self.names)
        deleted = self.written - {r.id for r in self.local.scroll(self.name, limit=EVERYTHING, with_payload=False)[0]}
        points = self.points(most)
        if "update_mode" in options:
            points = [p for p in points if p.id not in deleted] or [models.PointStruct(id=500, vector=self.vectors(), payload={})]
        if self.names == [""] and self.rng.random() < 0.4:
            points = models.Batch(ids=[p.id for p in points], vectors=[p.vector for p in points], payloads=[p.payload for p in points])
        elif self.rng.random() < 0.3:
            full = [{n: values.vector(self.rng, s) for n, s in self.sizes.items()} for _ in points]
            if self.names != [""]:
                points = models.Batch(ids=[p.id for p in points], vectors={n: [v[n] for v in full] for n in self.names}, payloads=[p.payload for p in points])
        self.last = f"upsert {options}"
        self.both("upsert", points, **options)

    def delete(self):
        chosen = self.some_ids(6) if self.rng.random() < 0.85 else values.filter(self.rng, self.names)
        self.last = f"delete {chosen}"
        self.both("delete", chosen)

    def set_payload(self):
        chosen, key = self.existing(8), self.rng.choice([None, None, "obj", "obj.deep", "rows[]", "rows[0]", "kw", "new.path"])
        patch = {k: v for k, v in values.payload(self.rng).items() if v is not None}
        self.last = f"set_payload {patch} at {key} of {chosen}"
        if chosen is not None:
            self.both("set_payload", patch, chosen, key=key)

    def overwrite_payload(self):
        chosen, payload = self.existing(5), values.payload(self.rng)
        self.last = f"overwrite_payload {payload} of {chosen}"
        if chosen is not None:
            self.both("overwrite_payload", payload, chosen)

    def delete_payload(self):
        chosen, keys = self.existing(8), self.rng.sample(["kw", "n", "tags", "obj.a", "rows[].x", "rows", "missing", "obj"], self.rng.randint(1, 2))
        self.last = f"delete_payload {keys} of {chosen}"
        if chosen is not None:
            self.both("delete_payload", keys, chosen)

    def clear_payload(self):
        chosen = self.existing(4)
        self.last = f"clear_payload of {chosen}"
        if chosen is not None:
            self.both("clear_payload", chosen)

    def update_vectors(self):
        there = [i for i in self.some_ids(6)]
        made = [models.PointVectors(id=i, vector=self.vectors() or {self.names[0]: values.vector(self.rng, self.sizes[self.names[0]])}) for i in there]
        existing = {r.id for r in self.local.retrieve(self.name, there, with_payload=False)}
        made = [m for m in made if m.id in existing]
        self.last = f"update_vectors of {[m.id for m in made]}"
        if made:
            self.both("update_vectors", made)

    def delete_vectors(self):
        chosen = self.existing(4)
        names = [self.rng.choice(self.names)]
        self.last = f"delete_vectors {names} of {chosen}"
        if chosen is not None:
            self.both("delete_vectors", names, chosen)

    def batch(self):
        """Several operations in one request; ids that exist, as one that fails would stop the rest."""
        steps = [models.UpsertOperation(upsert=models.PointsList(points=self.points(5)))]
        if ids := self.existing(3):
            target = {"filter": ids} if isinstance(ids, models.Filter) else {"points": ids}
            steps.append(models.SetPayloadOperation(set_payload=models.SetPayload(payload={"n": 3, "kw": "red"}, **target)))
            steps.append(models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["f"], **target)))
        if self.rng.random() < 0.5:
            steps.append(models.DeleteOperation(delete=models.PointIdsList(points=self.some_ids(2))))
        self.last = f"batch {steps}"
        self.both("batch_update_points", steps)

    def index(self):
        """Only the node has payload indexes; no answer may depend on one, not even on one of an unfitting type."""
        key = self.rng.choice(list(values.INDEXABLE))
        kind = values.INDEXABLE[key] if self.rng.random() < 0.85 else self.rng.choice(list(values.INDEXABLE.values()))
        if self.rng.random() < 0.7:
            self.last = f"create index {key} {kind}"
            self.remote.create_payload_index(self.name, key, kind)
        else:
            self.last = f"drop index {key}"
            self.remote.delete_payload_index(self.name, key)

    def facet(self):
        """Of a key that has a fitting index. The in-memory client counts values of every type, an index those of its own."""
        kinds = {"keyword": str, "integer": int, "bool": bool, "uuid": str}
        key = self.rng.choice([k for k, kind in values.INDEXABLE.items() if isinstance(kind, str) and kind in kinds])
        kind, wanted, limit = values.INDEXABLE[key], self.maybe_filter(), self.rng.choice([1, 3, 10, 100])
        exact = self.rng.random() < 0.5
        self.last = f"facet {key} {wanted} {limit} {exact}"
        self.remote.create_payload_index(self.name, key, kind)
        ours = self.remote.facet(self.name, key, facet_filter=wanted, limit=limit, exact=exact).hits
        theirs = self.local.facet(self.name, key, facet_filter=wanted, limit=EVERYTHING).hits
        theirs = [h for h in theirs if type(h.value) is kinds[kind] and (kind != "uuid" or h.value in values.UUIDS)][:limit]
        if [(h.value, h.count) for h in ours] != [(h.value, h.count) for h in theirs]:
            raise Differs(f"{self.last}: {ours}, should be {theirs}")

    # --- reads

    def maybe_filter(self):
        return values.filter(self.rng, self.names) if self.rng.random() < 0.6 else None

    def scroll(self):
        asked = {"scroll_filter": self.maybe_filter(), "limit": self.rng.choice([1, 3, 10, 1000]), "with_payload": values.selector(self.rng),
                 "with_vectors": self.rng.choice([False, True, self.names[:1]]), "offset": self.rng.choice([None, None, *self.some_ids(1)])}
        self.last = f"scroll {asked}"
        if answers := self.both("scroll", **asked):
            (ours, next_ours), (theirs, next_theirs) = answers
            if [r.id for r in ours] != [r.id for r in theirs] or next_ours != next_theirs:
                extra, lacking = {r.id for r in ours} - {r.id for r in theirs}, {r.id for r in theirs} - {r.id for r in ours}
                shown = self.local.retrieve(self.name, list(extra | lacking)[:3])
                raise Differs(f"{self.last}: too many {extra}, missing {lacking}, next {next_ours} and {next_theirs}; {shown}")
            for a, b in zip(ours, theirs):
                same_record(a, b, self.last)

    def count(self):
        wanted = self.maybe_filter()
        self.last = f"count {wanted}"
        ours, theirs = self.both("count", count_filter=wanted, exact=True)
        if ours.count != theirs.count:
            raise Differs(f"{self.last}: {ours.count}, should be {theirs.count}")

    def retrieve(self):
        asked = {"ids": self.some_ids(8), "with_payload": values.selector(self.rng), "with_vectors": self.rng.choice([False, True, self.names[:1]])}
        self.last = f"retrieve {asked}"
        if answers := self.both("retrieve", **asked):
            ours, theirs = ({r.id: r for r in a} for a in answers)
            if ours.keys() != theirs.keys():
                raise Differs(f"{self.last}: {sorted(map(str, ours))}, should be {sorted(map(str, theirs))}")
            for i in ours:
                same_record(ours[i], theirs[i], self.last)

    def request(self) -> dict:
        """A random search. Few points and a large hnsw_ef: the graph has no excuse to miss one."""
        using = self.rng.choice(self.names)
        draw = self.rng.random()
        query = values.vector(self.rng, self.sizes[using]) if draw < 0.85 else self.some_ids(1)[0] if draw < 0.95 else None
        return {"query": query, "using": using or None, "filter": self.maybe_filter(), "limit": self.rng.choice([1, 3, 10, 300]),
                "offset": self.rng.choice([None, None, 1, 7]), "with_payload": values.selector(self.rng), "with_vector": self.rng.choice([False, True, self.names[:1]]),
                "score_threshold": round(self.rng.uniform(-1, 3), 2) if query is not None and self.rng.random() < 0.2 else None,
                "params": models.SearchParams(hnsw_ef=512, exact=self.rng.random() < 0.3)}

    def all_scored(self, asked: dict):
        """Every point that may be answered, best first, from the in-memory client."""
        return self.local.query_points(self.name, query=asked["query"], using=asked["using"], query_filter=asked["filter"], limit=EVERYTHING,
                                       with_payload=asked["with_payload"], with_vectors=asked["with_vector"]).points

    def same_hits(self, ours: list, asked: dict, what: str) -> None:
        """Ties have no order, so: each hit has the score it should have, and the scores are the best that there are."""
        reference = self.all_scored(asked)
        start, threshold = asked["offset"] or 0, asked["score_threshold"]
        if asked["query"] is None:
            reference = sorted(reference, key=lambda p: (isinstance(p.id, str), p.id))
            if [p.id for p in ours] != [p.id for p in reference[start : start + asked["limit"]]]:
                raise Differs(f"{what}: {[p.id for p in ours]}, should be {[p.id for p in reference[start : start + asked['limit']]]}")
        known = {p.id: p for p in reference}
        if len({p.id for p in ours}) != len(ours):
            raise Differs(f"{what}: a point is answered twice")
        for hit in ours:
            if hit.id not in known:
                raise Differs(f"{what}: point {hit.id} may not be answered; {self.local.retrieve(self.name, [hit.id])}")
            if not same_number(hit.score, known[hit.id].score):
                raise Differs(f"{what}: point {hit.id} scores {hit.score}, should score {known[hit.id].score}")
            same_record(hit, known[hit.id], what)
        far_side = (lambda s: s - threshold) if self.distances[asked["using"] or ""] in values.DISTANCES[:2] else (lambda s: threshold - s)
        sure = [p.score for p in reference if threshold is None or far_side(p.score) > TOLERANCE]
        doubtful = sum(1 for p in reference if threshold is not None and abs(far_side(p.score)) <= TOLERANCE)
        want = sure[start : start + asked["limit"]]
        if not len(want) <= len(ours) <= len(want) + doubtful:
            raise Differs(f"{what}: {len(ours)} hits, should be {len(want)}; the best missing: {[p for p in reference if p.id not in {h.id for h in ours}][:2]}")
        for hit, score in zip(ours, want):
            if not doubtful and not same_number(hit.score, score):
                raise Differs(f"{what}: scores {[h.score for h in ours]}, should be {want}")

    def query(self):
        asked = self.request()
        self.last = f"query {asked}"
        if not self.refused_alike(asked):
            ours = self.remote.query_points(self.name, query=asked["query"], using=asked["using"], query_filter=asked["filter"], limit=asked["limit"], offset=asked["offset"],
                                            with_payload=asked["with_payload"], with_vectors=asked["with_vector"], score_threshold=asked["score_threshold"], search_params=asked["params"]).points
            self.same_hits(ours, asked, self.last)

    def refused_alike(self, asked: dict) -> bool:
        answers = self.both("query_points", query=asked["query"], using=asked["using"], query_filter=asked["filter"], limit=1)
        return answers is None

    def query_batch(self):
        requests = [asked for asked in (self.request() for _ in range(self.rng.randint(0, 4))) if not isinstance(asked["query"], (int, str))]
        self.last = f"query_batch {requests}"
        ours = self.remote.query_batch_points(self.name, [models.QueryRequest(**asked) for asked in requests])
        if len(ours) != len(requests):
            raise Differs(f"{self.last}: {len(ours)} answers to {len(requests)} requests")
        for answer, asked in zip(ours, requests):
            self.same_hits(answer.points, asked, self.last)

    def search(self):
        """The older form of a search, which the newest clients no longer send."""
        asked = self.request()
        self.last = f"search {asked}"
        if not isinstance(asked["query"], list):
            return
        vector = asked["query"] if asked["using"] is None else {"name": asked["using"], "vector": asked["query"]}
        body = {"vector": vector, **{k: v for k, v in asked.items() if k not in ("query", "using")}}
        body = {k: v.model_dump(by_alias=True, exclude_none=True, mode="json") if hasattr(v, "model_dump") else v for k, v in body.items() if v is not None}
        batch = self.rng.random() < 0.3
        code, answer = self.node.request("POST", f"/collections/{self.name}/points/search{'/batch' if batch else ''}", {"searches": [body]} if batch else body)
        if code != 200:
            raise Differs(f"{self.last}: {code} {answer}")
        found = answer["result"][0] if batch else answer["result"]
        self.same_hits([models.ScoredPoint(**hit) for hit in found], asked, self.last)

    def everything(self):
        """The whole collection, in pages."""
        self.last = "the whole collection"
        theirs = self.local.scroll(self.name, limit=EVERYTHING, with_vectors=True)[0]
        ours, offset = [], None
        while True:
            page, offset = self.remote.scroll(self.name, limit=37, offset=offset, with_vectors=True)
            ours += page
            if offset is None:
                break
        if [r.id for r in ours] != [r.id for r in theirs]:
            raise Differs(f"{self.last}: {[r.id for r in ours]}, should be {[r.id for r in theirs]}")
        for a, b in zip(ours, theirs):
            same_record(a, b, self.last)


WEIGHTS = {Pair.upsert: 12, Pair.delete: 5, Pair.set_payload: 6, Pair.overwrite_payload: 3, Pair.delete_payload: 3, Pair.clear_payload: 1, Pair.update_vectors: 4,
           Pair.delete_vectors: 2, Pair.batch: 3, Pair.index: 6, Pair.facet: 4, Pair.scroll: 16, Pair.count: 10, Pair.retrieve: 5, Pair.query: 16, Pair.query_batch: 3, Pair.search: 6}


@contextmanager
def told(pair: Pair, seed: int, step: int):
    """Says which seed and which step, whatever goes wrong."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"seed {seed}, step {step}: {error if isinstance(error, Differs) else f'{pair.last}: {error!r}'}") from (None if isinstance(error, Differs) else error)


def run(pair: Pair, seed: int, steps: int, middle=None) -> None:
    """`steps` operations from a seed; `middle` is done once half-way."""
    operations, weights = list(WEIGHTS), list(WEIGHTS.values())
    for step in range(steps):
        with told(pair, seed, step):
            if step == steps // 2 and middle:
                middle()
            if step % 40 == 0:
                pair.upsert(most=200)
            else:
                pair.rng.choices(operations, weights)[0](pair)
    with told(pair, seed, steps):
        pair.everything()
