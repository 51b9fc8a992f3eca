"""Random writes and plain reads, done to both clients; reads are compared at once. Queries are in `searches`.

Where the in-memory client itself departs from the protocol, the generator leaves the case out and says so here:
- set_payload with a null at the top level: the protocol removes the key, the client keeps a null;
- update_mode inside a batch: the client drops it;
- update_mode for a point that was deleted: the client takes it for one that is still there;
- creating a vector name again with the same configuration: the protocol says yes, the client refuses;
- dropping a vector name beside the unnamed vector: the client refuses whatever the name is.
"""
import random

from qdrant_client import models

from . import values
from .compare import Differs, same_record
from .schema import LATE, Schema

EVERYTHING = 10_000


class Pair:
    """The node's client, the in-memory one, and what is known of the collection in both."""

    def __init__(self, rng: random.Random, node, remote, local, name: str):
        self.rng, self.node, self.remote, self.local, self.name = rng, node, remote, local, name
        self.last, self.written, self.schema, self.dropped = "", set(), Schema(rng), set()
        params = self.schema.params(rng)
        local.create_collection(name, **params)
        # Small settings, so that segments are sealed, indexed, merged and vacuumed while the operations run.
        remote.create_collection(
            name, **params, shard_number=rng.choice([1, 1, 2, 3]),
            hnsw_config=models.HnswConfigDiff(m=16, ef_construct=64, full_scan_threshold=10),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1, max_segment_size=rng.choice([None, 20]), vacuum_min_vector_number=100,
                                                          deleted_threshold=0.1, default_segment_number=rng.choice([0, 1, 2]), flush_interval_sec=1),
        )

    @property
    def names(self) -> list[str]:
        return self.schema.names()

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

    def there(self, wanted: models.Filter | None = None) -> list:
        """The ids of the points that exist, or of those that match."""
        return [r.id for r in self.local.scroll(self.name, scroll_filter=wanted, limit=EVERYTHING, with_payload=False)[0]]

    def some_ids(self, most: int) -> list:
        """Mostly ids that exist."""
        there = self.there()
        pool = there if there and self.rng.random() < 0.9 else values.IDS
        return self.rng.sample(pool, min(len(pool), self.rng.randint(1, most)))

    def existing(self, most: int):
        """Ids of which mostly all exist, or a filter; None while the collection is empty."""
        if self.rng.random() < 0.35:
            return values.filter(self.rng, self.names)
        there = self.there()
        chosen = self.rng.sample(there, min(len(there), self.rng.randint(1, most)))
        if chosen and self.rng.random() < 0.04:
            # One that is missing is an error, but the others are written.
            chosen.insert(self.rng.randint(0, len(chosen)), 777)
        return chosen or None

    def points(self, most: int) -> list[models.PointStruct]:
        ids = [self.rng.choice(values.IDS) for _ in range(self.rng.randint(1, most))]
        self.written.update(ids)
        return [models.PointStruct(id=i, vector=self.schema.vectors(self.rng), payload=values.payload(self.rng)) for i in ids]

    # --- writes

    def upsert(self, most: int = 40):
        # Something is written first: some queries of the in-memory client fail where there was never a point.
        options, first = {}, not self.written
        if not first and self.rng.random() < 0.15:
            options["update_mode"] = self.rng.choice(list(models.UpdateMode))
        if self.rng.random() < 0.1:
            options["update_filter"] = values.filter(self.rng, self.names)
        deleted = self.written - set(self.there())
        points = self.points(most)
        if "update_mode" in options:
            points = [p for p in points if p.id not in deleted] or [models.PointStruct(id=500, vector=self.schema.vectors(self.rng), payload={})]
        if self.rng.random() < 0.3:
            points = self.by_column(points)
        self.last = f"upsert {options}"
        self.both("upsert", points, **options)

    def by_column(self, points: list[models.PointStruct]) -> models.Batch:
        if self.schema.bare():
            columns = [p.vector for p in points]
        else:
            columns = {n: [kind.make(self.rng) for _ in points] for n, kind in self.schema.kinds.items() if self.rng.random() < 0.9}
        return models.Batch(ids=[p.id for p in points], vectors=columns, payloads=[p.payload for p in points])

    def delete(self):
        chosen = self.some_ids(6) if self.rng.random() < 0.85 else values.filter(self.rng, self.names)
        if self.rng.random() < 0.3:
            chosen = models.FilterSelector(filter=chosen) if isinstance(chosen, models.Filter) else models.PointIdsList(points=chosen)
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

    def vectors_of(self, ids: list) -> list[models.PointVectors]:
        name = self.rng.choice(self.names)
        return [models.PointVectors(id=i, vector=self.schema.vectors(self.rng) or {name: self.schema.kinds[name].make(self.rng)}) for i in ids]

    def update_vectors(self):
        there = self.there()
        made = self.vectors_of(self.rng.sample(there, min(len(there), self.rng.randint(1, 6))))
        if made and self.rng.random() < 0.05:
            made.insert(self.rng.randint(0, len(made)), self.vectors_of([777])[0])
        options = {"update_filter": values.filter(self.rng, self.names)} if self.rng.random() < 0.2 else {}
        self.last = f"update_vectors of {[m.id for m in made]} {options}"
        if made:
            self.both("update_vectors", made, **options)

    def delete_vectors(self):
        chosen = self.existing(4)
        names = self.rng.sample(self.names, self.rng.randint(1, min(2, len(self.names))))
        self.last = f"delete_vectors {names} of {chosen}"
        if chosen is not None:
            self.both("delete_vectors", names, chosen)

    def vector_names(self):
        """A named vector is added, or one that was added is dropped with all its values."""
        if "" in self.names:
            return
        name = self.rng.choice(LATE)
        if name in self.names:
            self.last = f"drop the vector {name}"
            self.both("delete_vector_name", name)
            del self.schema.kinds[name]
        else:
            kind = Schema.late(self.rng)
            self.last = f"add the vector {name}: {kind}"
            self.both("create_vector_name", name, kind.late_config())
            self.schema.kinds[name] = kind

    def modifier(self):
        """IDF of a sparse vector goes on or off."""
        if sparse := [name for name, kind in self.schema.kinds.items() if kind.kind == "sparse"]:
            name = self.rng.choice(sparse)
            kind = self.schema.kinds[name]
            kind.idf = not kind.idf
            self.last = f"IDF of {name} is {kind.idf}"
            modifier = models.Modifier.IDF if kind.idf else models.Modifier.NONE
            self.both("update_collection", sparse_vectors_config={name: models.SparseVectorParams(modifier=modifier)})

    def batch_step(self):
        """One operation of a batch; of ids that exist, as one that fails would stop the rest."""
        target = self.existing(3)
        while target is None or (isinstance(target, list) and 777 in target):
            target = values.filter(self.rng, self.names)
        at = {"filter": target} if isinstance(target, models.Filter) else {"points": target}
        match self.rng.randrange(9):
            case 0:
                filtered = {"update_filter": values.filter(self.rng, self.names)} if self.rng.random() < 0.3 else {}
                return models.UpsertOperation(upsert=models.PointsList(points=self.points(5), **filtered))
            case 1:
                return models.UpsertOperation(upsert=models.PointsBatch(batch=self.by_column(self.points(5))))
            case 2:
                return models.SetPayloadOperation(set_payload=models.SetPayload(payload={"n": 3, "kw": "red"}, key=self.rng.choice([None, None, "obj", "rows[]"]), **at))
            case 3:
                return models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload=values.payload(self.rng), **at))
            case 4:
                return models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["f"], **at))
            case 5:
                return models.ClearPayloadOperation(clear_payload=models.FilterSelector(filter=target) if "filter" in at else models.PointIdsList(points=target))
            case 6:
                return models.DeleteVectorsOperation(delete_vectors=models.DeleteVectors(vector=[self.rng.choice(self.names)], **at))
            case 7:
                return models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=self.vectors_of(self.there()[:3]) or self.vectors_of([777])))
            case _:
                return models.DeleteOperation(delete=models.FilterSelector(filter=target) if "filter" in at else models.PointIdsList(points=target))

    def batch(self):
        """Several operations in one request. A point may be deleted in one and be missing in the next, which stops both clients there."""
        steps = [self.batch_step() for _ in range(self.rng.randint(1, 4))]
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


WEIGHTS = {Pair.upsert: 11, Pair.delete: 5, Pair.set_payload: 6, Pair.overwrite_payload: 3, Pair.delete_payload: 3, Pair.clear_payload: 1, Pair.update_vectors: 4, Pair.delete_vectors: 2,
           Pair.vector_names: 3, Pair.modifier: 1, Pair.batch: 4, Pair.index: 6, Pair.scroll: 14, Pair.count: 9, Pair.retrieve: 5}
