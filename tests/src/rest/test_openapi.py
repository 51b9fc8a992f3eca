"""`GET /openapi.json`: the document that a node makes of its own types means what the contract says. Fields of requests that differ are listed
in `docs/compatibility.md`, with a reason for each, by `test_contract.py`."""
import copy

import pytest
from harness import contract, openapi
from rest.test_contract import UNDOCUMENTED, served

# Of ours alone.
OWN = {("GET", "/openapi.json")}


@pytest.fixture(scope="module")
def document(shared_node):
    assert shared_node.request("PUT", "/collections/c", {"vectors": {"size": 4, "distance": "Dot"}})[0] == 200
    code, made = shared_node.request("GET", "/openapi.json")
    assert code == 200
    return made


def operations(document: dict) -> dict[tuple[str, str], dict]:
    return {(m.upper(), path): operation for path, of in document["paths"].items() for m, operation in of.items()}


def test_the_document_has_a_title_and_the_version_of_the_protocol(document):
    assert document["openapi"].startswith("3.0.")
    assert document["info"] == {"title": "Quiver", "version": "1.19.0"}


def test_the_document_has_every_operation_that_is_served_and_no_other(shared_node, document):
    ours = operations(document)
    asked = {(m, path) for m, path, _ in contract.operations()} | set(UNDOCUMENTED) | OWN
    asked |= {(m.upper(), path) for m in contract.METHODS for path in document["paths"]}
    found = {(m, path) for m, path in asked if served(shared_node, m, path)}
    assert found == ours.keys()


def test_parameters_are_those_of_the_contract(document):
    ours = operations(document)
    for method, path, theirs in contract.operations():
        if (method, path) in ours:
            assert openapi.parameters(ours[method, path]) == openapi.parameters(theirs), f"{method} {path}"


def test_every_operation_of_the_contract_that_takes_a_body_takes_one_here(document):
    ours = operations(document)
    for method, path, theirs in contract.operations():
        if (method, path) in ours:
            assert ours[method, path].get("requestBody", {}).get("content", {}).keys() == theirs.get("requestBody", {}).get("content", {}).keys(), f"{method} {path}"


def test_results_have_the_fields_of_the_contract(document):
    found, seen = set(), {}
    for method, path, theirs in contract.operations():
        result, expected = openapi.answer(document, operations(document).get((method, path), {"responses": {}})), openapi.answer(contract.document(), theirs)
        # The contract says of some reports no more than that they are objects.
        if expected.kinds - {"object"} or expected.fields:
            openapi.differences(expected, result, f"{method} {path}: ", seen, found)
    assert not found


def test_every_result_has_a_type_of_its_own(document):
    free = set()
    for (method, path), operation in operations(document).items():
        result = openapi.answer(document, operation)
        if result.open or (result.kinds == {"object"} and not result.fields and not result.rest):
            free.add((method, path))
    assert free == OWN


def test_every_reference_leads_to_a_schema_and_every_schema_is_named(document):
    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(v) for v in value.values()))
        return set().union(*(references(v) for v in value)) if isinstance(value, list) else set()

    assert references(document) == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


@pytest.mark.parametrize("change, expected", [
    (lambda s: s["CountRequest"]["properties"].pop("exact"), ("count: .exact", "is not in ours")),
    (lambda s: s["CountRequest"]["properties"].update(other={"type": "string"}), ("count: .other", "is not in the contract")),
    (lambda s: s["CountRequest"]["properties"].update(exact={"type": "string"}), ("count: .exact", "does not take: boolean")),
    (lambda s: s["GeoRadius"]["properties"]["radius"].update(type="integer"), ("count: .filter.must.geo_radius.radius", "does not take: number")),
])
def test_a_difference_is_found(document, change, expected):
    changed, path, found = copy.deepcopy(document), "/collections/{collection_name}/points/count", set()
    change(changed["components"]["schemas"])
    theirs = contract.document()
    bodies = openapi.body(theirs, theirs["paths"][path]["post"]), openapi.body(changed, changed["paths"][path]["post"])
    openapi.differences(*bodies, "count: ", {}, found)
    assert len(found) == 1 and {what for _, what in found} == {expected[1]}
    assert next(iter(found))[0].split(".")[-1] == expected[0].split(".")[-1]
