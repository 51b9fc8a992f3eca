"""Fields with two names, and names that no collection can have."""
import pytest

VECTOR = [1.0, 2.0, 3.0, 4.0]
PART = {"score_threshold": None, "limit": 2}
GROUPED = {"group_by": "g", "group_size": 2, "limit": 2}
# Every call that shows vectors: its path, its body, and where in its result the records are.
CALLS = [
    ("", {"ids": [1, 2]}, lambda r: r),
    ("/scroll", {}, lambda r: r["points"]),
    ("/query", {"query": VECTOR}, lambda r: r["points"]),
    ("/query/batch", {"searches": [{"query": VECTOR}]}, lambda r: r[0]["points"]),
    ("/query/groups", {"query": VECTOR, **GROUPED}, lambda r: r["groups"][0]["hits"]),
    ("/search", {"vector": VECTOR, **PART}, lambda r: r),
    ("/search/batch", {"searches": [{"vector": VECTOR, **PART}]}, lambda r: r[0]),
    ("/search/groups", {"vector": VECTOR, **GROUPED}, lambda r: r["groups"][0]["hits"]),
    ("/recommend", {"positive": [1], **PART}, lambda r: r),
    ("/recommend/batch", {"searches": [{"positive": [1], **PART}]}, lambda r: r[0]),
    ("/recommend/groups", {"positive": [1], **GROUPED}, lambda r: r["groups"][0]["hits"]),
    ("/discover", {"target": VECTOR, **PART}, lambda r: r),
    ("/discover/batch", {"searches": [{"target": VECTOR, **PART}]}, lambda r: r[0]),
]


@pytest.fixture(scope="module")
def c(shared_node):
    assert shared_node.request("PUT", "/collections/c", {"vectors": {"size": 4, "distance": "Dot"}})[0] == 200
    points = [{"id": i, "vector": VECTOR, "payload": {"g": 1}} for i in (1, 2)]
    assert shared_node.request("PUT", "/collections/c/points?wait=true", {"points": points})[0] == 200
    return shared_node


def with_field(body: dict, field: dict) -> dict:
    """The body, or each search of a batch, with one more field."""
    return {"searches": [{**s, **field} for s in body["searches"]]} if "searches" in body else {**body, **field}


@pytest.mark.parametrize("path, body, records", CALLS, ids=[path or "retrieve" for path, _, _ in CALLS])
def test_with_vectors_is_with_vector(c, path, body, records):
    for field in ("with_vector", "with_vectors"):
        for value, shown in ((True, [VECTOR]), (False, [None])):
            code, answer = c.request("POST", f"/collections/c/points{path}", with_field(body, {field: value}))
            assert code == 200, answer
            found = records(answer["result"])
            assert found and [r.get("vector") for r in found] == shown * len(found), (field, value)
        code, answer = c.request("POST", f"/collections/c/points{path}", with_field(body, {field: ["none"]}))
        assert code == 400 and answer["status"]["error"] == "Wrong input: Not existing vector name error: none", (field, answer)


@pytest.mark.parametrize("field", ["with_vector", "with_vectors"])
def test_a_lookup_shows_vectors_by_either_name(c, field):
    body = {"query": VECTOR, **GROUPED, "with_lookup": {"collection": "c", field: True}}
    code, answer = c.request("POST", "/collections/c/points/query/groups", body)
    assert code == 200 and answer["result"]["groups"][0]["lookup"]["vector"] == VECTOR, answer


@pytest.mark.parametrize("field", ["using", "vector_name"])
def test_a_matrix_knows_its_vector_by_either_name(c, field):
    for form in ("pairs", "offsets"):
        code, answer = c.request("POST", f"/collections/c/points/search/matrix/{form}", {"sample": 2, "limit": 1, field: "none"})
        assert (code, answer["status"]["error"]) == (400, "Wrong input: Not existing vector name error: none")


@pytest.mark.parametrize("method, path, code, start, part", [
    ("GET", "/collections//exists", 422, "Validation error in path parameters: ", "must be from 1 to 255 characters"),
    ("GET", f"/collections/{'x' * 256}/exists", 422, "Validation error in path parameters: ", "must be from 1 to 255 characters"),
    ("GET", "/collections/%09/exists", 422, "Validation error in path parameters: ", "collection name cannot contain"),
    ("GET", "/collections/a%0Ab/exists", 422, "Validation error in path parameters: ", "collection name cannot contain"),
    ("PUT", "/collections/a%09b", 422, "Validation error in path parameters: ", "collection name cannot contain"),
    ("GET", "/cluster/telemetry", 405, "Method not allowed: ", "standalone mode"),
    ("POST", "/cluster/recover", 405, "Method not allowed: ", "standalone mode"),
    ("DELETE", "/cluster/peer/1", 405, "Method not allowed: ", "standalone mode"),
    ("DELETE", "/cluster/peer/1?force=true", 405, "Method not allowed: ", "standalone mode"),
])
def test_what_cannot_be_asked_for(c, method, path, code, start, part):
    got, answer = c.request(method, path, {} if method == "PUT" else None)
    text = answer["status"]["error"]
    assert got == code and text.startswith(start) and part in text, answer


def test_a_name_that_is_refused_for_new_collections_only_may_be_asked_for(c):
    assert c.request("GET", "/collections/a:b/exists")[1]["result"] == {"exists": False}


def test_slices_need_a_number_of_parts(c):
    body = {"filter": {"must": [{"slice": {"total": 0, "index": 0}}]}}
    code, answer = c.request("POST", "/collections/c/points/scroll", body)
    assert code == 400 and answer["status"]["error"].startswith("Format error in JSON body: invalid value: integer `0`, expected a nonzero u32"), answer
