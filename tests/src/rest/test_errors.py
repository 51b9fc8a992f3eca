"""Codes and texts of errors, as clients of the protocol know them. Backquotes and quotes count."""
import pytest

# method, path, body (a str is sent as it is), code, what the text starts with, what it contains.
TABLE = [
    ("GET", "/collections/nowhere", None, 404, "Not found: Collection `nowhere` doesn't exist!", ""),
    ("POST", "/collections/nowhere/points/search", {"vector": [1], "limit": 1}, 404, "Not found: Collection `nowhere` doesn't exist!", ""),
    ("PUT", "/collections/c", {"vectors": {"size": 4, "distance": "Dot"}}, 409, "Wrong input: Collection `c` already exists!", ""),
    ("PUT", "/collections/new", {"vectors": {"size": 65537, "distance": "Dot"}}, 422, "Validation error in JSON body: [vectors.size: value 65537 invalid, must be from 1 to 65536]", ""),
    ("PUT", "/collections/new", {"vectors": {"size": 4, "distance": "Blah"}}, 400, "Format error in JSON body: ", ""),
    ("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1, "vector": [1, 2, 3]}]}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 3", ""),
    ("PUT", "/collections/c/points", {"points": [{"id": 1, "vector": [1, 2, 3]}]}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 3", ""),
    ("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1, "vector": {"foo": [1, 2, 3, 4]}}]}, 400, "Wrong input: Not existing vector name error: foo", ""),
    ("PUT", "/collections/c/points?wait=true", {"points": [{"id": "abc", "vector": [1, 2, 3, 4]}]}, 400, "Format error in JSON body: ", "value abc is not a valid point ID, valid values are either an unsigned integer or a UUID"),
    ("PUT", "/collections/c/points?wait=true", {"points": [{"id": -1, "vector": [1, 2, 3, 4]}]}, 400, "Format error in JSON body: ", ""),
    ("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1.5, "vector": [1, 2, 3, 4]}]}, 400, "Format error in JSON body: ", ""),
    ("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1}]}, 400, "Format error in JSON body: ", "missing field `vector`"),
    ("PUT", "/collections/c/points?wait=true", {"points": []}, 400, "Bad request: Empty update request", ""),
    ("PUT", "/collections/c/points?wait=true", {}, 400, "Format error in JSON body: ", ""),
    ("PUT", "/collections/c/points?wait=true", '{"points": [', 400, "Format error in JSON body: ", "EOF while parsing a list at line 1 column 12"),
    ("PUT", "/collections/c/points?wait=true", {"batch": {"ids": [1, 2], "vectors": [[1, 2, 3, 4]]}}, 422, "Validation error in JSON body: ", "number of ids and vectors must be equal (2 != 1)"),
    ("PUT", "/collections/c/points?wait=1", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}, 400, "Deserialize error in query parameters: ", "provided string was not `true` or `false`"),
    ("PUT", "/collections/c/points?ordering=foo", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}, 400, "Deserialize error in query parameters: ", "unknown variant `foo`, expected one of `weak`, `medium`, `strong`"),
    ("POST", "/collections/c/points/delete", {"points": []}, 400, "Bad request: Empty update request", ""),
    ("POST", "/collections/c/points/delete", {}, 400, "Format error in JSON body: ", "data did not match any variant of untagged enum PointsSelector"),
    ("POST", "/collections/c/points/payload", {"payload": {"a": 1}}, 400, "Format error in JSON body: ", "Either list of point ids or filter must be provided"),
    ("POST", "/collections/c/points/payload?wait=true", {"payload": {"a": 1}, "points": [999]}, 404, "Not found: No point with id 999 found", ""),
    ("PUT", "/collections/c/points/vectors?wait=true", {"points": [{"id": 9999, "vector": [1, 2, 3, 4]}]}, 404, "Not found: No point with id 9999 found", ""),
    ("POST", "/collections/c/points/vectors/delete?wait=true", {"vector": [""]}, 400, "Bad request: No filter or points provided", ""),
    ("POST", "/collections/c/points/vectors/delete?wait=true", {"vector": ["foo"], "points": [1]}, 400, "Wrong input: Not existing vector name error: foo", ""),
    ("GET", "/collections/c/points/999", None, 404, "Not found: Point with id 999 does not exists!", ""),
    ("GET", "/collections/c/points/abc", None, 400, "Wrong input: Can not recognize \"abc\" as point id", ""),
    ("POST", "/collections/c/points/query", {"query": [1, 2, 3]}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 3", ""),
    ("POST", "/collections/c/points/query", {"query": 999}, 404, "Not found: No point with id 999 found", ""),
    ("POST", "/collections/c/points/query", {"query": [1, 2, 3, 4], "using": "foo"}, 400, "Wrong input: Not existing vector name error: foo", ""),
    ("POST", "/collections/c/points/query", {"query": [1, 2, 3, 4], "limit": 0}, 422, "Validation error in JSON body: ", "limit: value 0 invalid, must be 1 or larger"),
    ("POST", "/collections/c/points/query", {"query": [1, 2, 3, 4], "params": {"hnsw_ef": 0}}, 422, "Validation error in JSON body: ", "value 0 invalid, must be 1 or larger"),
    ("POST", "/collections/c/points/query?timeout=0", {"query": [1, 2, 3, 4]}, 400, "Deserialize error in query parameters: ", "invalid value: integer `0`, expected a nonzero u64"),
    ("POST", "/collections/c/points/search", {"vector": [1, 2, 3, 4]}, 400, "Format error in JSON body: ", "missing field `limit`"),
    ("POST", "/collections/c/points/scroll", {"limit": 0}, 422, "Validation error in JSON body: ", "limit: value 0 invalid, must be 1 or larger"),
    ("POST", "/collections/c/points/scroll", {"filter": {"foo": []}}, 400, "Format error in JSON body: ", "unknown field `foo`, expected one of `should`, `min_should`, `must`, `must_not`"),
    ("POST", "/collections/c/points/scroll", {"filter": {"must": [{"foo": 1}]}}, 400, "Format error in JSON body: ", "Expected some form of condition"),
    ("POST", "/collections/c/points/scroll", {"filter": {"must": [{"key": "a"}]}}, 422, "Validation error in JSON body: ", "At least one field condition must be specified"),
    ("POST", "/collections/c/points/scroll", {"filter": {"must": [{"key": "a b", "match": {"value": 1}}]}}, 400, "Format error in JSON body: ", "Invalid json path: 'a b'"),
    ("POST", "/collections/c/points/scroll", {"filter": {"must": [{"key": "a", "match": {"value": 1.5}}]}}, 400, "Format error in JSON body: ", "data did not match any variant of untagged enum MatchInterface"),
    ("POST", "/collections/c/points/scroll", {"filter": {"must": [{"key": "a", "range": {"gt": "2023-13-01"}}]}}, 400, "Format error in JSON body: ", "'2023-13-01' does not match accepted datetime format (RFC3339). Example: 2014-01-01T00:00:00Z"),
    ("POST", "/collections/c/points/scroll", {"filter": {"min_should": {"conditions": [{"has_id": [1]}], "min_count": 0}}}, 422, "Validation error in JSON body: ", ""),
    ("PUT", "/collections/c/index?wait=true", {"field_name": "a"}, 400, "Bad request: Can't auto-detect field type, please specify `field_schema` in the request", ""),
    ("PUT", "/collections/c/index?wait=true", {"field_name": "a", "field_schema": {"type": "integer", "lookup": False, "range": False}}, 422, "Validation error in JSON body: ", "the 'lookup' and 'range' capabilities can't be both disabled"),
    ("POST", "/collections/aliases", {"actions": [{"rename_alias": {"old_alias_name": "zz", "new_alias_name": "yy"}}]}, 404, "Not found: Alias zz does not exists!", ""),
    ("PATCH", "/collections/c", {"vectors": {"zzz": {"on_disk": True}}}, 400, "Wrong input: Not existing vector name error: zzz", ""),
    ("GET", "/collections/a%2Fb", None, 422, "Validation error in path parameters: [name: collection name cannot contain \"/\" char]", ""),
    ("GET", "/collections/a%2Fb/exists", None, 422, "Validation error in path parameters: [name: collection name cannot contain \"/\" char]", ""),
    ("DELETE", "/collections/a%2Fb", None, 422, "Validation error in path parameters: [name: collection name cannot contain \"/\" char]", ""),
    ("PUT", f"/collections/c/vectors/{'x' * 201}", {"dense": {"size": 4, "distance": "Dot"}}, 422, "Validation error in path parameters: [vector_name: vector name must be at most 200 bytes long]", ""),
    ("DELETE", "/collections/c/index/a%20b?wait=true", None, 400, "Deserialize error in path parameters: Invalid json path: 'a b'", ""),
    ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "a:b"}}]}, 422, "Validation error in JSON body: [actions[0].create_alias.alias_name: collection name cannot contain \":\" char]", ""),
    ("POST", "/collections/aliases", {"actions": [{"delete_alias": {"alias_name": "a:b"}}, {"rename_alias": {"old_alias_name": "a", "new_alias_name": ""}}]}, 422, "Validation error in JSON body: [actions[1].rename_alias.new_alias_name: must be from 1 to 255 characters]", ""),
    ("POST", "/collections/c/snapshots/upload?checksum=abc", b"", 422, "Validation error in query parameters: [checksum: ", ""),
    ("PUT", "/collections/c/snapshots/recover", {"location": "file:///x", "checksum": "abc"}, 422, "Validation error in JSON body: [checksum: ", ""),
    ("PATCH", "/collections/c", {"strict_mode_config": {"multivector_config": {"m": {"max_vectors": 0}}}}, 422, "Validation error in JSON body: [strict_mode_config.multivector_config.m.max_vectors: value 0 invalid, must be 1 or larger]", ""),
    ("PATCH", "/collections/c", {"strict_mode_config": {"sparse_config": {"s": {"max_length": 0}}}}, 422, "Validation error in JSON body: [strict_mode_config.sparse_config.s.max_length: value 0 invalid, must be 1 or larger]", ""),
    ("PUT", "/collections/new", {"vectors": {"size": 4, "distance": "Dot"}, "quantization_config": {}}, 400, "Format error in JSON body: data did not match any variant of untagged enum QuantizationConfig", ""),
    ("PUT", "/collections/c/snapshots/recover", {"location": "file:///whatever.snapshot"}, 403, "Forbidden: ", "must be inside the snapshots directory"),
]


@pytest.fixture(scope="module")
def c(shared_node):
    code, _ = shared_node.request("PUT", "/collections/c", {"vectors": {"size": 4, "distance": "Dot"}})
    assert code == 200
    assert shared_node.request("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1, "vector": [1, 2, 3, 4], "payload": {"a": 1}}]})[0] == 200
    return shared_node


@pytest.mark.parametrize("method,path,body,code,start,part", TABLE, ids=[f"{m} {p} {c} {i}" for i, (m, p, _, c, _, _) in enumerate(TABLE)])
def test_error_has_its_code_and_text(c, method, path, body, code, start, part):
    got, answer = c.request(method, path, body.encode() if isinstance(body, str) else body)
    assert got == code, answer
    text = answer["status"]["error"]
    assert text.startswith(start), text
    assert part in text
    assert "result" not in answer and answer["time"] >= 0


def test_unknown_routes_and_wrong_methods_are_404_without_a_body(c):
    for method, path in (("GET", "/nothing"), ("PATCH", "/collections/c/points"), ("DELETE", "/healthz")):
        assert c.request(method, path, decode=False) == (404, b"")


def test_deleting_what_is_not_there(c):
    assert c.request("DELETE", "/collections/nowhere")[1]["result"] is False
    assert c.request("DELETE", "/collections/c/index/nothing?wait=true")[0] == 200
    assert c.request("POST", "/collections/c/points/delete?wait=true", {"points": [12345]})[0] == 200


def test_missing_snapshot_is_plain_text(c):
    code, text = c.request("GET", "/collections/c/snapshots/zz")
    assert (code, text) == (404, "Not found: Snapshot zz not found")
    assert c.request("GET", "/collections/c/snapshots/..%2F..%2Fetc%2Fpasswd")[0] == 404


def test_welcome_has_exactly_three_keys(c):
    code, hello = c.request("GET", "/")
    assert code == 200 and hello.keys() == {"title", "version", "commit"}
    assert hello["version"] == "1.19.0" and len(hello["commit"]) == 40


def test_health_probes(c):
    for path, text in (("/healthz", "healthz check passed"), ("/livez", "healthz check passed"), ("/readyz", "all shards are ready")):
        assert c.request("GET", path) == (200, text)


def test_numbers_at_the_edge_come_back_as_they_were(c):
    """An id of 2^64 - 1, and a payload with large and small numbers."""
    payload = {"big": 9007199254740993, "neg": -9223372036854775808, "e": 1e300, "one": 1.0, "text": "ä\u0000😀"}
    point = {"id": 2**64 - 1, "vector": [1, 2, 3, 4], "payload": payload}
    assert c.request("PUT", "/collections/c/points?wait=true", {"points": [point]})[0] == 200
    got = c.request("GET", f"/collections/c/points/{2**64 - 1}")[1]["result"]
    assert got["id"] == 2**64 - 1 and got["payload"] == payload
