"""Reads that find: queries of every kind, in pages, batches and groups, samples, orders, facets and matrices; each is compared at once.

Left out, as the in-memory client has it wrong or not at all:
- the name alone as `with_lookup` of groups: the protocol shows payloads then, the client none;
- `offset` of a sample: the client ignores it;
- `params` of groups: the client drops them, so there is no corpus for IDF;
- ids, limits and contexts of a single pair in the prefetches of groups: the client takes them as they are, but for the limits, which it lifts to the
  size of the collection;
- a score threshold of queries without scores (none, order_by, sample): the protocol refuses it, the client ignores it;
- `using` beside fusion and formula: the protocol refuses it, the client ignores it;
- MMR of points among which two are equally good: which comes first has no order, and decides what follows (`test_calls` has the ties that have one);
- facets and orders count values of every type in the client, those of the index in the protocol; its answer is cut to them here.
"""
from qdrant_client import models as m

from . import values
from .compare import TOLERANCE, Differs, same_hits, same_json, same_number, same_record, same_scores
from .operations import EVERYTHING, Pair
from .queries import ALL, Asked, Queries

GROUPED = ["kw", "n", "f", "flag", "who", "obj.a", "obj", "tags", "tags[]", "rows[].x", "rows[].y", "place", "missing", "nul", "when"]
FACETS = {"keyword": str, "integer": int, "bool": bool, "uuid": str}
ORDERED = {"n": "integer", "obj.a": "integer", "rows[].x": "integer", "f": "float", "when": "datetime"}


def held(payload: dict, path: str) -> list:
    """The values at a path such as `rows[].x`, those of arrays one by one."""
    found = [payload]
    for part in path.split("."):
        name = part.removesuffix("[]")
        found = [f[name] for f in found if isinstance(f, dict) and name in f]
        if part.endswith("[]"):
            found = [v for f in found if isinstance(f, list) for v in f]
    return [v for f in found for v in (f if isinstance(f, list) else [f])]


class Searches(Pair):
    """The collection of a pair, and in some a second one with the same vectors, of which examples and records are taken."""

    def __init__(self, rng, node, remote, local, name: str):
        super().__init__(rng, node, remote, local, name)
        self.other = f"{name}-other" if rng.random() < 0.3 else None
        if self.other:
            ids = [*range(0, 12), *values.UUIDS]
            points = [m.PointStruct(id=i, vector=self.schema.vectors(rng), payload={"named": str(i)}) for i in ids]
            for client in (local, remote):
                client.create_collection(self.other, **self.schema.params(rng))
                client.upsert(self.other, points)
        self.at_first = set(self.names)
        self.queries = Queries(rng, self.schema, self.examples, self.answer, self.other)

    def examples(self, using: str, lookup) -> list:
        """Ids of points with the vector, of the collection that the lookup names."""
        wanted = m.Filter(must=[m.HasVectorCondition(has_vector=using)])
        return [r.id for r in self.local.scroll(lookup.collection if lookup else self.name, scroll_filter=wanted, limit=EVERYTHING, with_payload=False)[0]]

    def answer(self, asked: dict) -> list | None:
        """Every hit from the in-memory client, or None if it refuses."""
        try:
            return self.local.query_points(self.name, limit=ALL, with_payload=False, **asked).points
        except Exception:  # the client has no error type of its own
            return None

    def draw(self) -> Asked:
        return self.queries.merging(depth=2) if self.rng.random() < 0.35 else self.queries.of_vectors()

    # --- queries

    def shown(self) -> dict:
        return {"with_payload": values.selector(self.rng), "with_vectors": self.rng.choice([False, True, self.names[:1], self.names[-1:]])}

    def sent(self, asked: Asked) -> dict:
        """What is added for the node. Few points and a large hnsw_ef: the graph has no excuse to miss one."""
        idf = asked.params.idf if asked.params else None
        return asked.given() | {"search_params": m.SearchParams(hnsw_ef=512, exact=self.rng.random() < 0.3, idf=idf)}

    def reference(self, asked: Asked, shown: dict):
        """Every hit that there is; None if both refuse, and an error if only one does."""
        answers = self.both("query_points", **asked.given(), **shown, limit=ALL)
        return None if answers is None else answers[1].points

    def threshold(self, asked: Asked, found: list):
        """A score between two that are apart, and the hits on its good side."""
        gaps = [n for n in range(1, len(found)) if abs(found[n - 1].score - found[n].score) > 10 * TOLERANCE * max(1.0, abs(found[n].score))]
        if not gaps or self.rng.random() < 0.75:
            return None, found
        place = self.rng.choice(gaps)
        return (found[place - 1].score + found[place].score) / 2, found[:place]

    def query(self):
        asked, shown = self.draw(), self.shown()
        self.last = f"query {asked.given()}"
        found = self.reference(asked, shown)
        if found is None:
            return
        limit, offset = self.rng.choice([1, 3, 10, 300]), self.rng.choice([None, None, 1, 7])
        threshold, found = self.threshold(asked, found)
        self.last = f"query {asked.given()} {shown} limit {limit} offset {offset} threshold {threshold}"
        ours = self.remote.query_points(self.name, **self.sent(asked), **shown, limit=limit, offset=offset, score_threshold=threshold).points
        same_hits(ours, found, offset or 0, limit, self.last)

    def query_batch(self):
        all_asked = [self.draw() for _ in range(self.rng.randint(0, 3))]
        founds = [(asked, self.answer(asked.given())) for asked in all_asked]
        founds = [(asked, found) for asked, found in founds if found is not None]
        self.last = f"query_batch {[asked.given() for asked, _ in founds]}"
        requests = []
        for asked, _ in founds:
            sent = self.sent(asked)
            requests.append(m.QueryRequest(**{{"query_filter": "filter", "search_params": "params"}.get(k, k): v for k, v in sent.items()}, limit=9))
        ours = self.remote.query_batch_points(self.name, requests)
        if len(ours) != len(requests):
            raise Differs(f"{self.last}: {len(ours)} answers to {len(requests)} requests")
        for answer, (_, found) in zip(ours, founds):
            for hit in found:
                hit.payload = None
            same_hits(answer.points, found, 0, 9, self.last)

    def without_query(self):
        """Points in the order of their ids."""
        asked, shown = {"query_filter": self.maybe_filter(), "limit": self.rng.choice([1, 5, ALL]), "offset": self.rng.choice([None, 3])}, self.shown()
        self.last = f"query without a query {asked} {shown}"
        if answers := self.both("query_points", **asked, **shown):
            self.same_list(*(a.points for a in answers))

    def same_list(self, ours: list, theirs: list) -> None:
        if [r.id for r in ours] != [r.id for r in theirs]:
            raise Differs(f"{self.last}: {[r.id for r in ours]}, should be {[r.id for r in theirs]}")
        for a, b in zip(ours, theirs):
            same_record(a, b, self.last)

    def search(self):
        """The older form of a search, which the newest clients no longer send."""
        using = self.rng.choice(self.names)
        vector, wanted, limit = self.schema.kinds[using].make(self.rng), self.maybe_filter(), self.rng.choice([1, 4, 300])
        self.last = f"search {vector} in {using!r} {wanted} {limit}"
        plain = vector.model_dump() if isinstance(vector, m.SparseVector) else vector
        body = {"vector": {"name": using, "vector": plain} if using else plain, "limit": limit, "with_payload": True}
        if wanted:
            body["filter"] = wanted.model_dump(by_alias=True, exclude_none=True, mode="json")
        if self.rng.random() < 0.3:
            code, answer = self.node.request("POST", f"/collections/{self.name}/points/search/batch", {"searches": [body]})
            answer["result"] = answer["result"][0] if code == 200 else None
        else:
            code, answer = self.node.request("POST", f"/collections/{self.name}/points/search", body)
        if code != 200:
            raise Differs(f"{self.last}: {code} {answer}")
        found = self.local.query_points(self.name, query=vector, using=using or None, query_filter=wanted, limit=ALL).points
        same_hits([m.ScoredPoint(**hit) for hit in answer["result"]], found, 0, limit, self.last)

    def mmr(self):
        using = self.rng.choice(self.names)
        wanted, limit = self.maybe_filter(), self.rng.choice([1, 4, 12])
        options = m.Mmr(diversity=self.rng.choice([None, 0, 0.3, 0.9, 1]), candidates_limit=self.rng.choice([None, 5, 60]))
        example = self.queries.example(using)
        asked = {"query": m.NearestQuery(nearest=example, mmr=options), "using": using or None, "query_filter": wanted, "limit": limit, "offset": self.rng.choice([None, 2])}
        self.last = f"mmr {asked}"
        plain = self.local.query_points(self.name, query=example, using=using or None, query_filter=wanted, limit=ALL).points
        tied = any(same_number(a.score, b.score) for a, b in zip(plain, plain[1:]))
        if answers := self.both("query_points", **asked):
            ours, theirs = (a.points for a in answers)
            known = {p.id: p.score for p in plain}
            for hit in ours:
                if not same_number(hit.score, known.get(hit.id, float("inf"))):
                    raise Differs(f"{self.last}: {hit} should score {known.get(hit.id)}")
            same_scores([0.0] * len(ours) if tied else [p.score for p in ours], [0.0] * len(theirs) if tied else [p.score for p in theirs], self.last)

    def sample(self):
        wanted, limit = self.maybe_filter(), self.rng.choice([1, 6, ALL])
        self.last = f"sample {wanted} {limit}"
        drawn = self.remote.query_points(self.name, query=m.SampleQuery(sample=m.Sample.RANDOM), query_filter=wanted, limit=limit).points
        ids, allowed = [p.id for p in drawn], set(self.there(wanted))
        if len(set(ids)) != len(ids) or not set(ids) <= allowed or len(ids) != min(limit, len(allowed)) or {p.score for p in drawn} - {1.0}:
            raise Differs(f"{self.last}: {drawn} of {allowed}")

    def groups(self):
        asked = self.queries.merging(depth=2, whole=True) if self.rng.random() < 0.35 else self.queries.of_vectors()
        asked.params = None
        key, size, limit = self.rng.choice(GROUPED), self.rng.randint(1, 3), self.rng.choice([2, ALL, ALL])
        # The protocol leaves out points without the key before lists are merged, the client after: places and spreads are others then.
        asked.needs.append(m.Filter(must_not=[m.IsEmptyCondition(is_empty=m.PayloadField(key=key))]))
        lookup = self.other and self.rng.choice([None, m.WithLookup(collection=self.other, with_payload=True, with_vectors=self.rng.random() < 0.5)])
        given = asked.given() | {"group_by": key, "group_size": size, "with_payload": values.selector(self.rng), "with_lookup": lookup}
        self.last = f"groups {given} {limit}"
        if answers := self.both("query_points_groups", **given, limit=ALL):
            theirs = answers[1].groups
            ours = answers[0].groups if limit == ALL else self.remote.query_points_groups(self.name, **given, limit=limit).groups
            same_scores([g.hits[0].score for g in ours], [g.hits[0].score for g in theirs[:limit]], f"{self.last}, the best of each group")
            known = {(type(g.id), g.id): g for g in theirs}
            for group in ours:
                right = known.get((type(group.id), group.id))
                if right is None:
                    raise Differs(f"{self.last}: there is no group {group.id!r}")
                same_scores([h.score for h in group.hits], [h.score for h in right.hits], f"{self.last}, group {group.id!r}")
                if bool(group.lookup) != bool(right.lookup):
                    raise Differs(f"{self.last}: beside group {group.id!r} is {group.lookup}, should be {right.lookup}")
                if group.lookup:
                    same_record(group.lookup, right.lookup, f"{self.last}, beside group {group.id!r}")

    def matrix(self):
        """Of few points, as the in-memory client searches once for each."""
        using, few = self.rng.choice(self.names), m.HasIdCondition(has_id=self.some_ids(25))
        wanted = m.Filter(must=[few, values.filter(self.rng, self.names)] if self.rng.random() < 0.5 else [few])
        asked = {"using": using or None, "query_filter": wanted, "sample": ALL, "limit": self.rng.choice([1, 3])}
        self.last = f"matrix {asked}"
        if self.rng.random() < 0.5:
            if answers := self.both("search_matrix_offsets", **asked):
                ours, theirs = answers
                if (ours.ids, ours.offsets_row) != (theirs.ids, theirs.offsets_row):
                    raise Differs(f"{self.last}: {ours}, should be {theirs}")
                same_scores(ours.scores, theirs.scores, self.last)
        elif answers := self.both("search_matrix_pairs", **asked):
            ours, theirs = ([(p.a, p.score) for p in a.pairs] for a in answers)
            if [i for i, _ in ours] != [i for i, _ in theirs]:
                raise Differs(f"{self.last}: {ours}, should be {theirs}")
            same_scores([s for _, s in ours], [s for _, s in theirs], self.last)

    # --- values

    def order(self):
        """By a key with a fitting index, in a scroll and in a query."""
        key = self.rng.choice(list(ORDERED))
        kind, wanted, limit = ORDERED[key], self.maybe_filter(), self.rng.choice([1, 7, ALL])
        start = self.rng.choice([None, {"integer": self.rng.randint(-4, 12), "float": 0.25, "datetime": "2022-01-01T00:00:00Z"}[kind]])
        order = m.OrderBy(key=key, direction=self.rng.choice([None, *m.Direction]), start_from=start)
        self.last = f"order by {order} {wanted} {limit}"
        self.remote.create_payload_index(self.name, key, kind)
        theirs = [(r, r.order_value) for r in self.local.scroll(self.name, order_by=order, scroll_filter=wanted, limit=EVERYTHING)[0]]
        # To the client 1.0 and 1 are one value, and it tells whichever a point has first.
        whole = lambda r, v: v == int(v) and any(type(h) is int and h == v for h in held(r.payload, key))  # noqa: E731
        fits = {"integer": lambda r, v: abs(v) < 10**15 and whole(r, v), "float": lambda _, v: abs(v) < 10**15, "datetime": lambda _, v: abs(v) > 10**15}[kind]
        theirs = [(r.id, v) for r, v in theirs if fits(r, v)]
        for ours in (self.remote.scroll(self.name, order_by=order, scroll_filter=wanted, limit=limit)[0],
                     self.remote.query_points(self.name, query=m.OrderByQuery(order_by=order), query_filter=wanted, limit=limit).points):
            found = [(r.id, r.order_value) for r in ours]
            if [v for _, v in found] != [v for _, v in theirs[:limit]] or not set(found) <= set(theirs) or len(set(found)) != len(found):
                raise Differs(f"{self.last}: {found}, should be {theirs[:limit]}")

    def facet(self):
        """Of a key that has a fitting index."""
        key = self.rng.choice([k for k, kind in values.INDEXABLE.items() if isinstance(kind, str) and kind in FACETS])
        kind, wanted, limit = values.INDEXABLE[key], self.maybe_filter(), self.rng.choice([1, 3, 10, 100])
        exact = self.rng.random() < 0.5
        self.last = f"facet {key} {wanted} {limit} {exact}"
        self.remote.create_payload_index(self.name, key, kind)
        ours = self.remote.facet(self.name, key, facet_filter=wanted, limit=limit, exact=exact).hits
        theirs = self.local.facet(self.name, key, facet_filter=wanted, limit=EVERYTHING).hits
        theirs = [h for h in theirs if type(h.value) is FACETS[kind] and (kind != "uuid" or h.value in values.UUIDS)][:limit]
        if not same_json([[h.value, h.count] for h in ours], [[h.value, h.count] for h in theirs]):
            raise Differs(f"{self.last}: {ours}, should be {theirs}")


WEIGHTS = {Searches.query: 34, Searches.query_batch: 3, Searches.without_query: 2, Searches.search: 5, Searches.mmr: 4, Searches.sample: 2, Searches.groups: 7, Searches.matrix: 3,
           Searches.order: 4, Searches.facet: 4}
