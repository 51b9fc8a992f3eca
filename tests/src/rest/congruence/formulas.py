"""Random formulas of scores and payloads, with every expression that there is.

Two clients round alike only where an expression does not amplify the last digit of a score, so divisors, bases and the arguments of
`exp` come from payloads and constants, or are kept away from where they explode; everything else may be anything.
"""
import random

from qdrant_client import models as m

from . import values

# Numbers in payloads, with what stands in for one that is missing.
NUMBERS = {"f": 0.5, "n": 3, "obj.a": -1, "rows[0].x": 2}
# Two names of one score, so a default of either is that of both; to the in-memory client only where it is written alike.
FIRST = ("$score", "$score[0]")
# Matches what the key has to hold.
HELD = {"when": {"range": m.DatetimeRange(gte="1900-01-01T00:00:00Z")}, "place": {"geo_radius": m.GeoRadius(center=m.GeoPoint(lat=0, lon=0), radius=3e7)}}


def usable(key: str) -> m.Filter:
    """The key has one fitting value, or for numbers none at all: a list of two, a text or a null fail the whole query in both clients."""
    held = m.FieldCondition(key=key, **HELD.get(key, {"range": m.Range(gte=-1e15)}))
    one = m.Filter(must=[held, m.FieldCondition(key=key, values_count=m.ValuesCount(gte=1, lte=1))])
    none = m.Filter(must=[m.IsEmptyCondition(is_empty=m.PayloadField(key=key))], must_not=[m.IsNullCondition(is_null=m.PayloadField(key=key))])
    return one if key in HELD else m.Filter(should=[one, none])


class Formula:
    """One formula, what it assumes of payloads, and the defaults of its variables."""

    def __init__(self, rng: random.Random, names: list[str], prefetches: int):
        self.rng, self.names, self.prefetches = rng, names, prefetches
        self.keys, self.defaults = set(), {}
        self.expression = self.draw(3)

    def query(self) -> m.FormulaQuery:
        return m.FormulaQuery(formula=self.expression, defaults=self.defaults or None)

    def filter(self) -> m.Filter | None:
        """Points for which the formula has a value; sometimes one has not, and both refuse."""
        if not self.keys:
            return None
        return m.Filter(must=[usable(key) for key in sorted(self.keys)])

    def number(self, key: str | None = None) -> str:
        key = key or self.rng.choice(list(NUMBERS))
        self.keys.add(key)
        if self.rng.random() < 0.97:
            self.defaults[key] = NUMBERS[key]
        return key

    def score(self) -> str:
        name = self.rng.choice(["$score", *(f"$score[{n}]" for n in range(self.prefetches + 1))])
        if self.rng.random() < 0.3:
            self.defaults[name] = self.rng.choice([7.5, -1, 0])
            if name in FIRST:
                self.defaults |= dict.fromkeys(FIRST, self.defaults[name])
        return name

    def leaf(self):
        rng = self.rng
        match rng.randrange(8):
            case 0:
                return rng.choice([0, 1, 2.5, -3, 100])
            case 1:
                return self.number()
            case 2 | 3 | 4:
                return self.score()
            case 5:
                return values.condition(rng, self.names, 2)
            case 6:
                return values.filter(rng, self.names, 1)
            case _:
                self.keys.add("place")
                far = m.GeoDistance(geo_distance=m.GeoDistanceParams(origin=values.geo_point(rng), to="place"))
                return m.DivExpression(div=m.DivParams(left=far, right=1e6))

    def time(self):
        if self.rng.random() < 0.3:
            return m.DatetimeExpression(datetime=self.rng.choice(values.DATES[:-1]))
        self.keys.add("when")
        return m.DatetimeKeyExpression(datetime_key="when")

    def decay(self, depth: int):
        rng, x = self.rng, self.draw(depth - 1)
        options = {"midpoint": rng.choice([None, 0.1, 0.5, 0.9]), "scale": rng.choice([None, 1, 5.5, 400]), "target": rng.choice([None, 1, self.leaf()])}
        if rng.random() < 0.3:
            x, options["target"], options["scale"] = self.time(), self.time(), 86400 * 90
        params = m.DecayParamsExpression(x=x, **options)
        return rng.choice([m.LinDecayExpression(lin_decay=params), m.ExpDecayExpression(exp_decay=params), m.GaussDecayExpression(gauss_decay=params)])

    def above(self, least: float, inner):
        """|inner| + least"""
        return m.SumExpression(sum=[m.AbsExpression(abs=inner), least])

    def draw(self, depth: int):
        rng = self.rng
        if depth == 0 or rng.random() < 0.15:
            return self.leaf()
        some = lambda: [self.draw(depth - 1) for _ in range(rng.randint(1, 3))]  # noqa: E731
        match rng.randrange(11):
            case 0 | 1:
                return m.SumExpression(sum=some())
            case 2:
                return m.MultExpression(mult=some()[:2])
            case 3:
                return m.NegExpression(neg=self.draw(depth - 1))
            case 4:
                return m.AbsExpression(abs=self.draw(depth - 1))
            case 5:
                left, default = self.draw(depth - 1), rng.choice([None, -1, 0.5])
                right = rng.choice([self.number(), rng.choice([2, -0.5, 0 if default is not None else 4]), self.above(1, self.leaf())])
                return m.DivExpression(div=m.DivParams(left=left, right=right, by_zero_default=default))
            case 6:
                return m.SqrtExpression(sqrt=self.above(0.5, self.draw(depth - 1)))
            case 7:
                return m.PowExpression(pow=m.PowParams(base=self.above(0.5, self.leaf()), exponent=rng.choice([0, 2, -1, 0.5, 1.5])))
            case 8:
                # A decay is at most 1.
                return m.ExpExpression(exp=rng.choice([self.decay(1), m.NegExpression(neg=self.above(0, self.leaf())), 1.5]))
            case 9:
                inner = self.above(0.5, self.draw(depth - 1))
                return rng.choice([m.LnExpression(ln=inner), m.Log10Expression(log10=inner)])
            case _:
                return self.decay(depth)
