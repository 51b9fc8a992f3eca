"""Compares two OpenAPI documents by what they allow, not by how they say it: variants of a schema are taken together, so that neither the
names of schemas nor the way in which they are cut into variants matters."""

class Forms:
    """What any of the variants of some schemas allows."""

    def __init__(self, document: dict, schemas: list):
        self.document, self.kinds, self.values, self.fields = document, set(), set(), {}
        self.items, self.rest, self.open, self.ids = [], [], False, set()
        for schema in schemas:
            self.add(schema)

    def add(self, schema: object) -> None:
        if not isinstance(schema, dict) or id(schema) in self.ids:
            self.open |= schema is True
            return
        self.ids.add(id(schema))
        if "$ref" in schema:
            self.add(self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
        for inner in [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]:
            self.add(inner)
        if not schema.keys() & {"$ref", "anyOf", "oneOf", "allOf", "type", "properties", "enum", "nullable"}:
            self.open = True
        if kind := schema.get("type"):
            self.kinds.add(kind)
        if kind == "string" and "enum" not in schema:
            self.values.add("any")
        self.values |= {v for v in schema.get("enum", ()) if v is not None}
        for name, inner in schema.get("properties", {}).items():
            self.fields.setdefault(name, []).append(inner)
        if isinstance(schema.get("items"), dict):
            self.items.append(schema["items"])
        if isinstance(schema.get("additionalProperties"), dict):
            self.rest.append(schema["additionalProperties"])

    def inner(self, schemas: list) -> "Forms":
        return Forms(self.document, schemas)

    def takes(self, kind: str) -> bool:
        return self.open or kind in self.kinds or (kind == "integer" and "number" in self.kinds)


def differences(theirs: Forms, ours: Forms, owner: str, seen: dict, found: set) -> None:
    """Adds (where, what differs) for every field at which `ours` takes less than `theirs`, or has a field that `theirs` lacks."""
    key = (frozenset(theirs.ids), frozenset(ours.ids))
    if key in seen or ours.open:
        return
    seen[key] = owner
    if missing := sorted(k for k in theirs.kinds if not ours.takes(k)):
        found.add((owner, f"does not take: {', '.join(missing)}"))
    if "any" not in ours.values and ours.values and (missing := sorted(map(str, theirs.values - ours.values))):
        found.add((owner, f"does not take the values: {', '.join(missing)}"))
    if theirs.open:
        return
    found.update((f"{owner}.{f}", "is not in ours") for f in theirs.fields.keys() - ours.fields.keys())
    found.update((f"{owner}.{f}", "is not in the contract") for f in ours.fields.keys() - theirs.fields.keys())
    for field in theirs.fields.keys() & ours.fields.keys():
        differences(theirs.inner(theirs.fields[field]), ours.inner(ours.fields[field]), f"{owner}.{field}", seen, found)
    for part in ("items", "rest"):
        if getattr(theirs, part) and getattr(ours, part):
            differences(theirs.inner(getattr(theirs, part)), ours.inner(getattr(ours, part)), f"{owner}[]", seen, found)


def parameters(operation: dict) -> dict[str, tuple]:
    return {p["name"]: (p["in"], bool(p.get("required"))) for p in operation.get("parameters", ())}


def body(document: dict, operation: dict) -> Forms | None:
    content = operation.get("requestBody", {}).get("content", {})
    return Forms(document, [c["schema"] for c in content.values()]) if content else None


def answer(document: dict, operation: dict) -> Forms:
    """The schema of the result, without the envelope around it."""
    responses = operation["responses"]
    content = responses.get("200", responses.get("202", {})).get("content", {})
    whole = Forms(document, [c["schema"] for c in content.values()])
    return whole.inner(whole.fields["result"]) if "result" in whole.fields else whole
