"""The REST contract in a reduced form (paths, parameters, schemas without prose), and valid bodies made from its schemas."""
import copy
import json
from collections import deque
from functools import cache as once

from .cache import TESTS

FILE = TESTS / "fixtures/contract-1.19.json"
# What a schema can't say: names and values that mean something in a collection with one vector of four dimensions.
VALUES = {
    "ExtendedPointId": 1, "VectorStruct": [0.1, 0.2, 0.3, 0.4], "BatchVectorStruct": [[0.1, 0.2, 0.3, 0.4]], "VectorInput": [0.1, 0.2, 0.3, 0.4],
    "Vector": [0.1, 0.2, 0.3, 0.4], "NamedVectorStruct": [0.1, 0.2, 0.3, 0.4], "VectorsConfig": {"size": 4, "distance": "Dot"},
    "VectorParams": {"size": 4, "distance": "Dot"}, "QueryInterface": [0.1, 0.2, 0.3, 0.4], "Condition": {"has_id": [1]},
    "Match": {"value": "v"}, "PayloadFieldSchema": "keyword", "Payload": {"a": 1}, "GeoPoint": {"lat": 1.0, "lon": 1.0}, "ShardKey": "k",
    "ShardKeySelector": "k", "Expression": 1.0, "Direction": "asc", "SnapshotRecover": {"location": "file:///none/none.snapshot"},
    "GeoLineString": {"points": [{"lat": lat, "lon": lon} for lat, lon in [(0, 0), (0, 1), (1, 1), (0, 0)]]}, "StopwordsInterface": "english",
    "StartFrom": 1, "WithLookupInterface": "c", "OrderByInterface": "n",
}
# By the name of the field.
STRINGS = {"key": "a", "group_by": "n", "field_name": "a", "collection_name": "c", "collection": "c", "text": "words", "model": "bm25", "alias_name": "alias", "datetime": "2024-01-01T00:00:00Z"}
METHODS = ("get", "put", "post", "patch", "delete")


@once
def document() -> dict:
    return json.loads(FILE.read_text())


def operations() -> list[tuple[str, str, dict]]:
    """(METHOD, path, operation) of every endpoint, by path."""
    return [(m.upper(), path, of[m]) for path, of in sorted(document()["paths"].items()) for m in METHODS if m in of]


def resolve(schema: dict) -> tuple[str | None, dict]:
    """The schema behind a reference, with its name."""
    name = None
    while "$ref" in schema or len(schema.get("allOf", ())) == 1:
        schema = schema["allOf"][0] if "allOf" in schema else schema
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            schema = document()["components"]["schemas"][name]
    return name, schema


def variants(schema: dict) -> list[dict]:
    return [v for v in schema.get("anyOf", schema.get("oneOf", ())) if v != {"nullable": True}]


def required(schema: dict) -> dict:
    """An object's required fields. One of `points` and `filter` is required where payloads are edited, but no schema says so."""
    fields = schema.get("properties", {})
    made = {f: minimal(fields[f], f) for f in schema.get("required", ()) if f in fields}
    return {"points": [1]} | made if made.keys() & {"payload", "keys"} and {"points", "filter"} <= fields.keys() else made


def minimal(schema: dict, field: str = "") -> object:
    """A valid value with the fewest fields."""
    name, schema = resolve(schema)
    if name in VALUES:
        return copy.deepcopy(VALUES[name])
    if found := variants(schema):
        return minimal(found[0], field)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        made = required(schema)
        if not made and "properties" not in schema and isinstance(schema.get("additionalProperties"), dict):
            made = {"name": minimal(schema["additionalProperties"])}
        return made
    if kind == "array" and resolve(schema["items"])[0] == "GeoPoint":
        return copy.deepcopy(VALUES["GeoLineString"]["points"])
    if kind == "array":
        return [minimal(schema["items"], field) for _ in range(max(1, schema.get("minItems", 1)))]
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 0), 1) if "maximum" not in schema else min(schema["maximum"], max(schema.get("minimum", 0), 1))
    return {"boolean": True, "string": STRINGS.get(field, "name")}.get(kind, "any")


def request_fields() -> list[tuple[str, str, str, str, list, dict]]:
    """Every field of every schema of a request: (METHOD, path, schema, field, steps from the body to the field, its schema), each once,
    where it is nearest to a body."""
    seen, fields = set(), []
    queue = deque()
    for method, path, operation in operations():
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content:
            queue.append((method, path, content["schema"], "", []))
    while queue:
        method, path, schema, owner, steps = queue.popleft()
        name, plain = resolve(schema)
        if name:
            if (name, method, path) in seen or (name, None) in seen:
                continue
            seen |= {(name, None), (name, method, path)}
        owner = name or owner
        for i, variant in enumerate(variants(plain)):
            queue.append((method, path, variant, owner, [*steps, ("variant", plain, i)]))
        for field, inner in plain.get("properties", {}).items():
            at = [*steps, ("field", plain, field)]
            if (owner, field, id(plain)) not in seen:
                seen.add((owner, field, id(plain)))
                fields.append((method, path, owner, field, at, inner))
            queue.append((method, path, inner, f"{owner}.{field}", at))
        if isinstance(plain.get("items"), dict):
            queue.append((method, path, plain["items"], owner, [*steps, ("item", plain, None)]))
        if isinstance(plain.get("additionalProperties"), dict):
            queue.append((method, path, plain["additionalProperties"], owner, [*steps, ("value", plain, None)]))
    return fields


def body_with(steps: list, value: object, present: bool = True) -> object:
    """A body that is minimal but for the way to one field, which has `value`; without the field if it is not `present`."""
    (kind, schema, what), rest = steps[0], steps[1:]
    inner = body_with(rest, value, present) if rest else value
    if kind == "variant":
        return inner
    if kind == "item":
        return [inner]
    if kind == "value":
        return {"name": inner}
    made = required(schema)
    if not rest and not present:
        made.pop(what, None)
    else:
        made[what] = inner
    return made
