"""Random points, payloads and filters from a seeded generator. Knows nothing of any client's state but the ids in use."""
import random
import uuid

from qdrant_client import models

DISTANCES = [models.Distance.COSINE, models.Distance.DOT, models.Distance.EUCLID, models.Distance.MANHATTAN]
IDS = [*range(1, 140), *(str(uuid.UUID(int=7919 * i + (i << 100))) for i in range(30)), 2**64 - 1, 2**63]
WORDS = ["red", "green", "blue", "Grün", "a b", "", "red green", "7"]
UUIDS = [str(uuid.UUID(int=i << 64 | 5)) for i in range(5)]
DATES = ["2021-03-04T05:06:07Z", "2021-03-04", "2022-12-31T23:59:59.999999Z", "2023-01-01T01:00:00+02:00", "2020-02-29 12:00:00", "not a date"]
# Every field with the ways to address it. `n` and `f` mix integers and floats; anything may be missing, null or a list.
INDEXABLE = {"kw": "keyword", "tags": "keyword", "n": "integer", "f": "float", "flag": "bool", "when": "datetime", "who": "uuid",
             "obj.a": "integer", "obj.b": "keyword", "rows[].x": "integer", "rows[].y": "keyword", "place": "geo",
             "txt": models.TextIndexParams(type=models.TextIndexType.TEXT, phrase_matching=True)}
TEXTS = ["the red car", "red-car, RED", "Grün und blau", "a", "", "car the red", "7 cars"]
KEYS = [*INDEXABLE, "obj", "rows", "rows[0].x", "missing", "nul", "tags[]", "tags[1]", "obj.deep.er", '"odd key"']


def vector(rng: random.Random, size: int) -> list[float]:
    if rng.random() < 0.02:
        return [0.0] * size
    return [round(rng.gauss(0, 1), 3) for _ in range(size)]


def scalar(rng: random.Random, kind: str):
    match kind:
        case "kw":
            return rng.choice(WORDS)
        case "n":
            return rng.choice([rng.randint(-5, 20), rng.randint(-5, 20), 2**40, 1.0, 2.5])
        case "f":
            return rng.choice([round(rng.uniform(-2, 2), 2), rng.randint(-2, 2), 1.5])
        case "flag":
            return rng.random() < 0.5
        case "when":
            return rng.choice(DATES)
        case "txt":
            return rng.choice(TEXTS)
        case "place":
            point = {"lat": rng.choice([0, 10.5, round(rng.uniform(-90, 90), 4)]), "lon": rng.choice([0, 179.5, -179.5, round(rng.uniform(-180, 180), 4)])}
            return rng.choice([point, point, point, point, {"lat": 3}, "here"])
        case _:
            return rng.choice(UUIDS)


def value(rng: random.Random, kind: str):
    draw = rng.random()
    if draw < 0.06:
        return None
    if draw < 0.25:
        return [scalar(rng, kind) for _ in range(rng.randint(0, 3))]
    if draw < 0.28:
        return scalar(rng, rng.choice(["kw", "n", "flag"]))
    return scalar(rng, kind)


def payload(rng: random.Random) -> dict:
    made = {}
    for key in ("kw", "n", "f", "flag", "when", "who", "txt", "place"):
        if rng.random() < 0.6:
            made[key] = value(rng, key)
    if rng.random() < 0.4:
        made["tags"] = [rng.choice(WORDS) for _ in range(rng.randint(0, 4))]
    if rng.random() < 0.4:
        made["obj"] = {"a": value(rng, "n"), "b": rng.choice(WORDS)} | ({"deep": {"er": rng.randint(0, 3)}} if rng.random() < 0.3 else {})
    if rng.random() < 0.4:
        made["rows"] = [{"x": value(rng, "n"), "y": rng.choice(WORDS)} for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.1:
        made["odd key"] = rng.choice(WORDS)
    if rng.random() < 0.1:
        made["nul"] = None
    return made


def geo_point(rng: random.Random) -> models.GeoPoint:
    return models.GeoPoint(lat=rng.uniform(-90, 90), lon=rng.uniform(-180, 180))


def area(rng: random.Random) -> dict:
    draw = rng.random()
    if draw < 0.35:
        return {"geo_bounding_box": models.GeoBoundingBox(top_left=geo_point(rng), bottom_right=geo_point(rng))}
    if draw < 0.7:
        return {"geo_radius": models.GeoRadius(center=geo_point(rng), radius=rng.choice([1e4, 1e6, rng.uniform(0, 2e7)]))}

    def ring() -> models.GeoLineString:
        points = [geo_point(rng) for _ in range(rng.randint(3, 6))]
        return models.GeoLineString(points=[*points, points[0]])

    return {"geo_polygon": models.GeoPolygon(exterior=ring(), interiors=[ring() for _ in range(rng.randint(0, 2))] or None)}


def text_match(rng: random.Random):
    wanted = rng.choice(["red", "RED car", "car red", "the car", "grün", "gr", "", "7", "a"])
    return rng.choice([models.MatchText(text=wanted), models.MatchTextAny(text_any=wanted), models.MatchPhrase(phrase=wanted)])


def match(rng: random.Random, kind: str):
    if kind == "txt" or (kind == "kw" and rng.random() < 0.1):
        return text_match(rng)
    if kind == "kw" and rng.random() < 0.1:
        return models.MatchPrefix(prefix=rng.choice(["", "r", "red", "G", "g"]))
    if kind == "flag":
        return models.MatchValue(value=rng.random() < 0.5)
    pool = {"n": list(range(-5, 21)), "who": UUIDS}.get(kind, WORDS)
    draw = rng.random()
    if draw < 0.5:
        return models.MatchValue(value=rng.choice(pool))
    some = rng.sample(pool, min(len(pool), rng.randint(0, 4)))
    return models.MatchAny(any=some) if draw < 0.8 else models.MatchExcept(**{"except": some})


def bounds(rng: random.Random, low, high) -> dict:
    chosen = rng.sample(["gt", "gte", "lt", "lte"], rng.randint(1, 2))
    return {b: rng.choice([rng.randint(low, high), round(rng.uniform(low, high), 1)]) for b in chosen}


def field(rng: random.Random, key: str, kind: str):
    """One condition on a field whose values are mostly of that kind."""
    draw = rng.random()
    if draw < 0.08:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
    if draw < 0.14:
        return models.IsNullCondition(is_null=models.PayloadField(key=key))
    if draw < 0.18:
        return models.FieldCondition(key=key, is_empty=rng.random() < 0.5)
    if draw < 0.22:
        return models.FieldCondition(key=key, is_null=rng.random() < 0.5)
    if draw < 0.32:
        counts = {b: rng.randint(0, 3) for b in rng.sample(["gt", "gte", "lt", "lte"], rng.randint(1, 2))}
        return models.FieldCondition(key=key, values_count=models.ValuesCount(**counts))
    if kind == "place":
        return models.FieldCondition(key=key, **area(rng))
    if kind in ("n", "f") and rng.random() < (0.6 if kind == "n" else 1):
        return models.FieldCondition(key=key, range=models.Range(**bounds(rng, -3, 15) if kind == "n" else bounds(rng, -2, 2)))
    if kind == "when":
        chosen = rng.sample(["gt", "gte", "lt", "lte"], rng.randint(1, 2))
        return models.FieldCondition(key=key, range=models.DatetimeRange(**{b: rng.choice(DATES[:-1]) for b in chosen}))
    return models.FieldCondition(key=key, match=match(rng, kind))


KIND = {"kw": "kw", "tags": "kw", "n": "n", "f": "f", "flag": "flag", "when": "when", "who": "who", "txt": "txt", "place": "place", "obj.a": "n", "obj.b": "kw", "rows[].x": "n",
        "rows[].y": "kw", "rows[0].x": "n", "tags[]": "kw", "tags[1]": "kw", "obj.deep.er": "n", '"odd key"': "kw", "x": "n", "y": "kw"}


def inside_nested(rng: random.Random, names: list[str]):
    """Filters within count as they do outside; conditions on the point itself never match."""
    draw = rng.random()
    if draw < 0.3:
        return models.HasIdCondition(has_id=rng.sample(IDS, 60))
    if draw < 0.5:
        return models.HasVectorCondition(has_vector=rng.choice(names))
    some = [field(rng, key, KIND[key]) for key in ["x", "y", "x"]]
    return models.Filter(min_should=models.MinShould(conditions=some, min_count=rng.randint(1, 3))) if draw < 0.75 else models.Filter(should=some[:2], must_not=some[2:])


def condition(rng: random.Random, names: list[str], depth: int):
    draw = rng.random()
    if draw < 0.08:
        return models.HasIdCondition(has_id=rng.sample(IDS, rng.randint(0, 30)))
    if draw < 0.12:
        return models.HasVectorCondition(has_vector=rng.choice([*names, "nowhere"]))
    if draw < 0.14:
        total = rng.randint(1, 4)
        return models.SliceCondition(slice=models.Slice(total=total, index=rng.randrange(total)))
    if draw < 0.25:
        # Fields are those of one element.
        inner = [field(rng, key, KIND[key]) for key in rng.choices(["x", "y"], k=rng.randint(1, 2))]
        if rng.random() < 0.2:
            inner.append(inside_nested(rng, names))
        part = rng.choice(["must", "should", "must_not"])
        return models.NestedCondition(nested=models.Nested(key=rng.choice(["rows", "rows[]"]), filter=models.Filter(**{part: inner})))
    if draw < 0.36 and depth < 2:
        return filter(rng, names, depth + 1)
    key = rng.choice(KEYS)
    kind = KIND.get(key, rng.choice(["kw", "n"]))
    return field(rng, key, kind if rng.random() < 0.93 else rng.choice(["kw", "n", "f", "flag", "when"]))


def filter(rng: random.Random, names: list[str], depth: int = 0) -> models.Filter:
    if rng.random() < 0.3:
        return models.Filter(**{rng.choice(["must", "should", "must_not"]): [condition(rng, names, depth)]})
    clauses = {}
    for part, chance in (("must", 0.55), ("should", 0.4), ("must_not", 0.3)):
        if rng.random() < chance:
            clauses[part] = [condition(rng, names, depth) for _ in range(rng.randint(0 if rng.random() < 0.05 else 1, 3))]
    if rng.random() < 0.15:
        some = [condition(rng, names, depth) for _ in range(rng.randint(1, 4))]
        clauses["min_should"] = models.MinShould(conditions=some, min_count=rng.randint(1, 3))
    return models.Filter(**clauses) if clauses else models.Filter(must=[condition(rng, names, depth)])


def selector(rng: random.Random):
    """What `with_payload` may be."""
    paths = rng.sample(["kw", "n", "tags", "obj", "obj.a", "rows", "rows[].x", "when", "missing"], rng.randint(1, 3))
    return rng.choice([True, True, False, paths, models.PayloadSelectorInclude(include=paths), models.PayloadSelectorExclude(exclude=paths)])
