"""Random queries of every kind over vectors of every kind, and the prefetches that they merge or score again.

Left out, as the in-memory client has it wrong or not at all:
- examples of `recommend` without the vector: the protocol passes over them, the client refuses;
- a bare `should` or `min_should` in the filter of a query and in that of its prefetch: the client, as the original, makes alternatives of them, here
  both have to hold as the protocol says; so every filter of a query is a `must` of the one that was drawn;
- points of the collection itself that a prefetch names: none of them is in the whole answer, to the client only not in that prefetch's;
- relevance feedback over sparse vectors and multivectors: the client has it for dense ones only;
- `lookup_from` of relevance feedback, and ids in it over prefetches: the client looks them up in the collection itself, and lets them take places in
  the prefetches;
- discovery of points that are as near to one side of a pair as to the other: rounding decides which counts, and the client scales vectors of length
  one again at each look;
- a score threshold of a prefetch whose scores are not those of its distance, over Euclid and Manhattan: the client compares the wrong way round
  (qdrant-client issue 1370). Of the query itself the threshold is computed here, so there it is compared.
"""
import random
from dataclasses import dataclass, field

from qdrant_client import models as m

from . import values
from .formulas import Formula
from .schema import Schema

# More than a collection here can have.
ALL = 1000
# Scores that are nearer to each other, relative to 1 or their size, are one.
ALIKE = 2e-5


def alike(a: float, b: float) -> bool:
    return abs(a - b) <= ALIKE * max(1.0, abs(a))


@dataclass
class Asked:
    """One query: what both clients are asked, and in which direction its scores are good."""

    query: object = None
    using: str | None = None
    filter: m.Filter | None = None
    prefetch: list[m.Prefetch] | None = None
    lookup: m.LookupLocation | None = None
    params: m.SearchParams | None = None
    lower_is_better: bool = False
    # Its scores are no distances.
    derived: bool = False
    # What the query needs of the points that it is asked of.
    needs: list[m.Filter] = field(default_factory=list)

    def given(self) -> dict:
        made = {"query": self.query, "using": self.using, "query_filter": self.whole_filter(), "prefetch": self.prefetch, "lookup_from": self.lookup, "search_params": self.params}
        return {k: v for k, v in made.items() if v is not None}

    def whole_filter(self) -> m.Filter | None:
        parts = [f for f in (self.filter, *self.needs) if f is not None]
        return m.Filter(must=parts) if parts else None


class Queries:
    """Draws queries for a collection; `examples(using, lookup)` gives the ids of points that have the vector, `answer` what the in-memory client says."""

    def __init__(self, rng: random.Random, schema: Schema, examples, answer, other: str | None):
        self.rng, self.schema, self.examples, self.answer, self.other = rng, schema, examples, answer, other
        # While it is set, examples are no ids, prefetches have no limits, and contexts are lists.
        self.whole = False
        # While a prefetch is drawn, which names no points of the collection.
        self.inside = False

    # --- queries of vectors

    def example(self, using: str, lookup=None):
        """A vector, or a point that has one."""
        if not self.whole and (lookup or not self.inside) and self.rng.random() < 0.5 and (ids := self.examples(using, lookup)):
            return self.rng.choice(ids)
        return self.schema.kinds[using].make(self.rng)

    def some(self, using: str, least: int, most: int, lookup) -> list:
        return [self.example(using, lookup) for _ in range(self.rng.randint(least, most))]

    def pairs(self, using: str, lookup, least: int = 1):
        made = [m.ContextPair(positive=self.example(using, lookup), negative=self.example(using, lookup)) for _ in range(self.rng.randint(least, 3))]
        return made[0] if len(made) == 1 and not self.whole and self.rng.random() < 0.5 else made

    def recommend(self, using: str, lookup, strategy):
        least = 1 if strategy in (None, m.RecommendStrategy.AVERAGE_VECTOR) or self.rng.random() < 0.7 else 0
        positive, negative = self.some(using, least, 3, lookup), self.some(using, 1 - least, 2, lookup)
        return m.RecommendQuery(recommend=m.RecommendInput(positive=positive, negative=negative or self.rng.choice([[], None]), strategy=strategy))

    def feedback(self, using: str, lookup):
        items = [m.FeedbackItem(example=self.example(using, lookup), score=round(self.rng.random(), 2)) for _ in range(self.rng.randint(1, 4))]
        strategy = m.NaiveFeedbackStrategy(naive=m.NaiveFeedbackStrategyParams(a=self.rng.choice([0.7, 1, -0.5]), b=self.rng.choice([0, 1, 1.5]), c=self.rng.choice([0.4, 2])))
        return m.RelevanceFeedbackQuery(relevance_feedback=m.RelevanceFeedbackInput(target=self.example(using, lookup), feedback=items, strategy=strategy))

    def of_vectors(self) -> Asked:
        """nearest, recommend with each strategy, discover, context or feedback."""
        rng = self.rng
        using = rng.choice(self.schema.names())
        kind, lookup = self.schema.kinds[using], None
        if self.other and not self.whole and rng.random() < 0.15:
            lookup = m.LookupLocation(collection=self.other, vector=rng.choice([using or None, using]) if using else None)
        asked = Asked(using=using or None, lookup=lookup, filter=values.filter(rng, self.schema.names()) if rng.random() < 0.5 else None)
        if kind.idf and rng.random() < 0.4:
            asked.params = m.SearchParams(idf=rng.choice([m.IdfScope.GLOBAL, m.IdfCorpusParams(corpus=values.filter(rng, self.schema.names()))]))
        draw = rng.randrange(10 if kind.kind == "dense" else 9)
        match draw:
            case 0 | 1 | 2:
                asked.query = self.example(using, lookup)
                if rng.random() < 0.3:
                    asked.query = m.NearestQuery(nearest=asked.query)
            case 3:
                asked.query = self.recommend(using, lookup, rng.choice([None, m.RecommendStrategy.AVERAGE_VECTOR]))
            case 4:
                asked.query = self.recommend(using, lookup, m.RecommendStrategy.BEST_SCORE)
            case 5:
                asked.query = self.recommend(using, lookup, m.RecommendStrategy.SUM_SCORES)
            case 6 | 7:
                asked.query = m.DiscoverQuery(discover=m.DiscoverInput(target=self.example(using, lookup), context=self.pairs(using, lookup, least=rng.choice([0, 1]))))
                if asked.query.discover.context == []:
                    asked.query.discover.context = self.pairs(using, lookup)
                asked.needs += self.decided(asked)
            case 8:
                asked.query = m.ContextQuery(context=self.pairs(using, lookup))
            case _:
                asked.lookup = None
                asked.query = self.feedback(using, None)
        asked.derived = draw > 3
        asked.lower_is_better = draw <= 3 and kind.lower_is_better()
        return asked

    def decided(self, asked: Asked) -> list[m.Filter]:
        """Without the points that a pair of a discovery can't tell apart."""
        context, undecided = asked.query.discover.context, set()
        for pair in context if isinstance(context, list) else [context]:
            near, far = self.nearness(asked, pair.positive), self.nearness(asked, pair.negative)
            undecided |= {i for i in near.keys() & far.keys() if alike(near[i], far[i])}
        return [m.Filter(must_not=[m.HasIdCondition(has_id=sorted(undecided, key=str))])] if undecided else []

    def nearness(self, asked: Asked, example) -> dict:
        """Scores of all points against one example, by id."""
        nearest = Asked(query=m.NearestQuery(nearest=example), using=asked.using, lookup=asked.lookup, params=asked.params)
        return {p.id: p.score for p in self.answer(nearest.given()) or []}

    # --- prefetches

    def scores(self, prefetch: m.Prefetch, root: m.Filter | None) -> list[float] | None:
        """Of a prefetch without its limit; None if it is refused."""
        parts = [f for f in (root, prefetch.filter) if f is not None]
        asked = {"query": prefetch.query, "using": prefetch.using, "query_filter": m.Filter(must=parts) if parts else None, "prefetch": prefetch.prefetch,
                 "lookup_from": prefetch.lookup_from, "search_params": prefetch.params, "score_threshold": prefetch.score_threshold}
        points = self.answer({k: v for k, v in asked.items() if v is not None})
        return None if points is None else [p.score for p in points]

    def one_prefetch(self, depth: int, root: m.Filter | None, ordered: bool) -> m.Prefetch:
        outer, self.inside = self.inside, True
        try:
            return self.draw_prefetch(depth, root, ordered)
        finally:
            self.inside = outer

    def draw_prefetch(self, depth: int, root: m.Filter | None, ordered: bool) -> m.Prefetch:
        """`ordered`: the places of its points count, so no two may score alike."""
        rng = self.rng
        for _ in range(6):
            asked = self.merging(depth - 1, root) if depth and rng.random() < 0.3 else self.of_vectors()
            made = m.Prefetch(query=asked.query, using=asked.using, filter=asked.whole_filter(), prefetch=asked.prefetch, lookup_from=asked.lookup, params=asked.params,
                              limit=ALL if self.whole else rng.choice([ALL, ALL, 5, 30, None]))
            found = self.scores(made, root)
            if found is None:
                continue
            clear = not any(alike(a, b) for a, b in zip(found, found[1:]))
            if not clear and (ordered or made.limit != ALL):
                continue
            # Scores that are nearly, but not quite, the same spread the last digit over the whole range when they are normalized.
            if found and 0 < abs(found[0] - found[-1]) < 0.02:
                continue
            if clear and len(found) > 3 and not (asked.derived and self.distance_is_low(asked)) and rng.random() < 0.2:
                place = rng.randrange(len(found) - 1)
                made.score_threshold = (found[place] + found[place + 1]) / 2
            return made
        return m.Prefetch(filter=values.filter(rng, self.schema.names()), limit=ALL) if not ordered else m.Prefetch(filter=m.Filter(must=[m.HasIdCondition(has_id=[1])]), limit=1)

    def distance_is_low(self, asked: Asked) -> bool:
        return not isinstance(asked.query, (m.FusionQuery, m.RrfQuery, m.FormulaQuery)) and self.schema.kinds[asked.using or ""].lower_is_better()

    def merging(self, depth: int, root: m.Filter | None = None, whole: bool = False) -> Asked:
        """A query over prefetches: fusion, a formula, or a query of vectors that scores the prefetched points again."""
        rng, count = self.rng, self.rng.randint(1, 3)
        draw, outer = rng.randrange(8), self.whole
        self.whole |= whole
        asked = Asked(filter=values.filter(rng, self.schema.names()) if rng.random() < 0.3 else None, derived=True)
        if draw >= 5:
            asked = self.of_vectors()
            if isinstance(asked.query, m.RelevanceFeedbackQuery):
                self.whole = True
                asked.query = self.feedback(asked.using or "", None)
                self.whole = outer or whole
        elif draw >= 3:
            formula = Formula(rng, self.schema.names(), count)
            asked.query = formula.query()
            asked.needs = [f for f in [formula.filter()] if f is not None]
        elif draw == 2:
            asked.query = m.FusionQuery(fusion=m.Fusion.DBSF)
        elif draw == 1:
            asked.query = m.RrfQuery(rrf=m.Rrf(k=rng.choice([None, 1, 60]), weights=rng.choice([None, [rng.choice([0.5, 1, 3, 0]) for _ in range(count)]])))
        else:
            asked.query = m.FusionQuery(fusion=m.Fusion.RRF)
        whole = [f for f in (root, asked.whole_filter()) if f is not None]
        asked.prefetch = [self.one_prefetch(depth, m.Filter(must=whole) if whole else None, ordered=draw < 2) for _ in range(count)]
        self.whole = outer
        return asked
