"""`docs/compatibility.md` says what of the contract a node serves and reads; here a node is asked.

An endpoint is served if its answer isn't the one of unknown routes: 404 without a body. A field is read if a value of the wrong type is
refused where the same request without it (or with a good value, if it is required) is not.

usage: `tests/run rest` compares; with QUIVER_WRITE_COMPATIBILITY=1 the generated part of the page is written anew. What stands in the
last column of its tables is kept, for it is written by hand.
"""
import json
import os
import re

import pytest
from harness import contract, openapi
from harness.cache import ROOT

PAGE = ROOT / "docs/compatibility.md"
MARKERS = "<!-- generated: begin -->", "<!-- generated: end -->"
WRONG = [{"no": ["such"]}, "no such", -1.5, True, [["no"]], [-1]]
WRONG_PARAMETER = "no-such"
# No longer in the document, but older clients call them.
UNDOCUMENTED = [("POST", f"/collections/{{collection_name}}/points/{path}") for path in ("search", "search/batch", "search/groups", "recommend", "recommend/batch", "recommend/groups", "discover", "discover/batch")]


@pytest.fixture(scope="module")
def prepared(shared_node):
    """A node with the collection `c`."""
    assert shared_node.request("PUT", "/collections/c", {"vectors": {"size": 4, "distance": "Dot"}})[0] == 200
    assert shared_node.request("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]})[0] == 200
    return shared_node


def filled(path: str) -> str:
    names = {"collection_name": "c", "id": "1", "shard_id": "0", "peer_id": "1"}
    return re.sub(r"\{(\w+)\}", lambda m: names.get(m[1], "none"), path)


def target(method: str, path: str) -> str:
    """The path of a request that leaves the collection in place."""
    return "/collections/none" if (method, path) == ("DELETE", "/collections/{collection_name}") else filled(path)


def minimal_body(operation: dict) -> object:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return contract.minimal(content["schema"]) if content else None


def answer(node, method: str, path: str, body: object = None) -> tuple[int, str]:
    """The code, and the error's text or nothing."""
    code, decoded = node.request(method, path, body)
    status = decoded.get("status") if isinstance(decoded, dict) else None
    return code, "" if code < 400 else str(status["error"] if isinstance(status, dict) else decoded)


def refused(node, method: str, path: str, good: tuple[int, str], bodies: list) -> bool:
    """Whether a body is refused for its form in a way that the good one isn't."""
    answers = [answer(node, method, path, body) for body in bodies]
    return any(a[0] in (400, 422) and a != good for a in answers)


def served(node, method: str, path: str) -> bool:
    """Bodies are refused before anything is done."""
    return node.request(method, target(method, path), [] if method in ("PUT", "POST", "PATCH") else None, decode=False) != (404, b"")


def unread_fields(node, known: set) -> list[str]:
    found = []
    for method, path, owner, field, steps, schema in contract.request_fields():
        if (method, path) not in known or contract.resolve(schema)[1] == {}:
            continue
        url, value = filled(path), contract.minimal(schema, field)
        candidates = [contract.body_with(steps, value, field in steps[-1][1].get("required", ())), contract.body_with(steps, value)]
        good = next((a for a in (answer(node, method, url, body) for body in candidates) if "Format error" not in a[1]), None)
        assert good, f"{method} {path} {owner}.{field}: no good request: {answer(node, method, url, candidates[1])}: {json.dumps(candidates[1])}"
        if not refused(node, method, url, good, [contract.body_with(steps, wrong) for wrong in WRONG]):
            found.append(f"`{owner}.{field}`")
    return sorted(set(found))


def unread_parameters(node, known: set) -> list[str]:
    found = []
    for method, path, operation in contract.operations():
        for name in [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]:
            if (method, path) not in known:
                continue
            url, body = target(method, path), minimal_body(operation)
            good, wrong = answer(node, method, url, body), answer(node, method, f"{url}?{name}={WRONG_PARAMETER}", body)
            if wrong == good or wrong[0] not in (400, 422):
                found.append(f"`{method} {path}?{name}`")
    return sorted(found)


def differing_fields(node) -> list[tuple[str, str]]:
    """Fields of bodies where the node's own document takes less than the contract, or has what the contract lacks."""
    ours, found, seen = node.request("GET", "/openapi.json")[1], set(), {}
    for method, path, theirs in contract.operations():
        operation = ours["paths"].get(path, {}).get(method.lower(), {})
        bodies = openapi.body(contract.document(), theirs), openapi.body(ours, operation)
        if all(bodies):
            openapi.differences(*bodies, f"{method} {path}: ", seen, found)
    return sorted(found)


def rows(page: str) -> dict[str, str]:
    """The last column of every row of the generated tables, by the first."""
    cells = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return {c[0].strip(): c[-1].strip() for c in cells if len(c) > 1}


def generated(node, notes: dict[str, str]) -> str:
    endpoints = [(m, p) for m, p, _ in contract.operations()] + UNDOCUMENTED
    known = {e for e in endpoints if served(node, *e)}
    lines = [f"{len(known)} of {len(endpoints)} endpoints are served.", "", "| endpoint | served | difference |", "|---|---|---|"]
    for method, path in sorted(endpoints, key=lambda e: (e[1], e[0])):
        name = f"`{method} {path}`"
        lines.append(f"| {name} | {'yes' if (method, path) in known else '**no**'} | {notes.get(name, '')} |")
    lines += ["", "## Fields of requests that are not read", "", "| field | what happens |", "|---|---|"]
    lines += [f"| {f} | {notes.get(f, '')} |" for f in unread_fields(node, known)]
    lines += ["", "## Parameters of requests that are not read", "", "| parameter | what happens |", "|---|---|"]
    lines += [f"| {p} | {notes.get(p, '')} |" for p in unread_parameters(node, known)]
    lines += ["", "## Fields that the node's own document has otherwise", "", "| field | difference | why |", "|---|---|---|"]
    lines += [f"| `{f}` | {what} | {notes.get(f'`{f}`', '')} |" for f, what in differing_fields(node)]
    return "\n".join(lines)


def test_the_page_says_what_the_node_serves_and_reads(prepared):
    page = PAGE.read_text()
    head, rest = page.split(MARKERS[0])
    old, tail = rest.split(MARKERS[1])
    new = generated(prepared, rows(old))
    if "QUIVER_WRITE_COMPATIBILITY" in os.environ:
        PAGE.write_text(f"{head}{MARKERS[0]}\n{new}\n{MARKERS[1]}{tail}")
    else:
        assert old.strip().splitlines() == new.splitlines()
    assert not [row for row in new.splitlines() if row.startswith("| `") and row.endswith("|  |") and "| yes |" not in row], "rows without a word on what happens"
