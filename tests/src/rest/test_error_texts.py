"""Exact texts of errors that clients know, a row each. Where serde found the fault in a body, line and column are left out of the comparison."""
import re

import pytest

C = "/collections/c"
QUERY, SCROLL, UPSERT = f"{C}/points/query", f"{C}/points/scroll", f"{C}/points?wait=true"
FORMAT, VALIDATION, QUERY_STRING = "Format error in JSON body: ", "Validation error in JSON body: ", "Deserialize error in query parameters: "
V = [1, 2, 3, 4]
INDEX_HELP = "Please create one to {}. Check https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support {} conditions"
CONDITION = ('Expected some form of condition, which can be a field condition (like {"key": ..., "match": ... }), or some other mentioned in the '
             "documentation: https://qdrant.tech/documentation/concepts/filtering/#filtering-conditions")

# method, path, body (a str is sent as it is), code, text.
TABLE = [
    # Other collections.
    ("POST", QUERY, {"query": 1, "lookup_from": {"collection": "none"}}, 404, "Not found: Collection none not found"),
    ("POST", f"{C}/points/query/groups", {"query": V, "group_by": "a", "with_lookup": "none"}, 404, "Not found: Collection none not found"),
    ("PATCH", "/collections/none", {}, 404, "Not found: Collection `none` doesn't exist!"),
    ("POST", "/collections/none/points/count", {}, 404, "Not found: Collection `none` doesn't exist!"),
    ("GET", "/collections/none/points/1", None, 404, "Not found: Collection `none` doesn't exist!"),
    # Vectors.
    ("POST", QUERY, {"query": []}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 0"),
    ("PUT", UPSERT, {"points": [{"id": 1, "vector": []}]}, 422, VALIDATION + "[points[0].vector.vector: dense vector must not be empty]"),
    ("PUT", UPSERT, {"points": [{"id": 1, "vector": {"": {"indices": [1], "values": [1.0]}}}]}, 400, "Wrong input: Conversion between sparse and regular vectors failed"),
    ("POST", QUERY, {"query": {"indices": [1], "values": [1.0]}}, 400, "Wrong input: Conversion between sparse and regular vectors failed"),
    ("PUT", UPSERT, {"points": [{"id": 1, "vector": {"s": {"indices": [1, 1], "values": [1.0, 2.0]}}}]}, 422, VALIDATION + "[points[0].vector.?.indices: Validation error: must be unique [{}]]"),
    ("POST", QUERY, {"query": 1, "using": "s"}, 404, 'Not found: Vector with name "s" for point not found'),
    ("PUT", UPSERT, {"points": [{"id": 1, "vector": None}]}, 400, FORMAT + "data did not match any variant of untagged enum VectorStruct"),
    ("PUT", UPSERT, {"points": [{"id": 1, "vector": ["a"]}]}, 400, FORMAT + "data did not match any variant of untagged enum VectorStruct"),
    ("PUT", UPSERT, {"points": [{"id": "abc", "vector": V}]}, 400, FORMAT + "value abc is not a valid point ID, valid values are either an unsigned integer or a UUID"),
    ("PUT", UPSERT, {"points": [{"id": 1}]}, 400, FORMAT + "missing field `vector`"),
    ("PUT", UPSERT, {}, 400, FORMAT + "Invalid PointInsertOperations format"),
    ("PUT", UPSERT, '{"points":[', 400, FORMAT + "EOF while parsing a list"),
    ("PUT", UPSERT, {"batch": {"ids": [1, 2], "vectors": [V]}}, 422, VALIDATION + "[batch.batch: number of ids and vectors must be equal (2 != 1)]"),
    # Collections.
    ("PUT", "/collections/new", {"vectors": {"size": 4, "distance": "Blah"}}, 400, FORMAT + "data did not match any variant of untagged enum VectorsConfig"),
    ("PUT", "/collections/new", {"vectors": {"size": 0, "distance": "Dot"}}, 400, FORMAT + "data did not match any variant of untagged enum VectorsConfig"),
    ("PUT", "/collections/new", {"vectors": {"size": 65537, "distance": "Dot"}}, 422, VALIDATION + "[vectors.size: value 65537 invalid, must be from 1 to 65536]"),
    ("PUT", "/collections/al", {"vectors": {"size": 4, "distance": "Dot"}}, 400, "Wrong input: Can't create collection with name al. Alias with the same name already exists"),
    ("PUT", "/collections/new", {"vectors": {"image": {"size": 4, "distance": "Dot"}}, "sparse_vectors": {"image": {}}}, 400, "Wrong input: Dense and sparse vector names must be unique - duplicate found with 'image'"),
    ("PUT", "/collections/new", {"sparse_vectors": {"": {}}}, 400, "Wrong input: Sparse vector name cannot be empty"),
    ("PATCH", C, {"vectors": {"zzz": {"on_disk": True}}}, 400, "Wrong input: Not existing vector name error: zzz"),
    ("POST", "/collections/aliases", {"actions": [{"rename_alias": {"old_alias_name": "zz", "new_alias_name": "y"}}]}, 404, "Not found: Alias zz does not exists!"),
    ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "c"}}]}, 409, "Wrong input: Collection `c` already exists!"),
    ("PUT", f"{C}/vectors/s", {"dense": {"size": 4, "distance": "Dot"}}, 400, "Wrong input: Vector `s` already exists as a sparse vector"),
    # Queries.
    ("POST", QUERY, {"query": {"foo": 1}}, 400, FORMAT + "Expected some form of vector, id, or a type of query"),
    ("POST", QUERY, {"query": V, "limit": 0}, 422, VALIDATION + "[internal.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", f"{C}/points/query/batch", {"searches": [{"query": V, "limit": 0}]}, 422, VALIDATION + "[searches[0].limit: value 0 invalid, must be 1 or larger]"),
    ("POST", QUERY, {"query": {"recommend": {}}}, 422, VALIDATION + "[internal.query.recommend.positives, negatives: Validation error: At least one positive or negative vector/id must be provided [{}]]"),
    ("POST", QUERY, {"prefetch": {"query": V}}, 400, "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query."),
    ("POST", QUERY, {"score_threshold": 1}, 400, "Bad request: A query is needed to use the score_threshold. Can't have score_threshold without defining a query."),
    ("POST", QUERY, {"query": {"order_by": "n"}, "score_threshold": 1}, 400, "Bad request: Can't use score_threshold with an order_by query."),
    ("POST", QUERY, {"query": {"fusion": "rrf"}, "prefetch": {"query": V}, "using": "s"}, 400, "Bad request: Fusion queries cannot be combined with the 'using' field."),
    ("POST", QUERY, {"query": {"fusion": "rrf"}}, 400, "Wrong input: Validation failed: cannot apply Fusion without prefetches"),
    ("POST", QUERY, {"query": {"formula": "$score"}}, 400, "Wrong input: Validation failed: cannot apply Formula without prefetches"),
    ("POST", QUERY, {"query": {"rrf": {"weights": [1, 2]}}, "prefetch": {"query": V}}, 400, "Wrong input: Validation failed: RRF weights length (2) does not match number of prefetches (1)"),
    ("POST", QUERY, {"query": {"formula": "zzz"}, "prefetch": {"query": V}}, 400, "Wrong input: Expected number value for zzz in the payload and/or in the formula defaults. Error: No value found in a payload nor defaults"),
    ("POST", QUERY, {"query": {"recommend": {"negative": [1], "strategy": "average_vector"}}}, 400, "Wrong input: Positive vectors should not be empty with `average` strategy"),
    ("POST", QUERY, {"query": {"order_by": "a"}}, 400, "Wrong input: No range index for `order_by` key: `a`. " + INDEX_HELP.format("use `order_by`", "Range")),
    ("POST", QUERY, {"query": {"text": "x", "model": "none"}}, 400, "InferenceService URL not configured - please provide valid address in config"),
    ("POST", SCROLL, {"order_by": "n", "offset": 1}, 400, "Wrong input: Cannot use an `offset` when using `order_by`. The alternative for paging is to use `order_by.start_from` and a filter to exclude the IDs that you've already seen for the `order_by.start_from` value"),
    ("POST", SCROLL, {"limit": 0}, 422, VALIDATION + "[scroll_request.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", f"{C}/facet", {"key": "zzz"}, 400, "Wrong input: No appropriate index for faceting: `zzz`. " + INDEX_HELP.format("facet on this field", "Match")),
    ("POST", QUERY, {"query": V, "shard_key": "zz"}, 400, 'Bad request: Shard key "zz" not found'),
    # Filters.
    ("POST", SCROLL, {"filter": {"must": [{"foo": 1}]}}, 400, FORMAT + CONDITION),
    ("POST", SCROLL, {"filter": {"foo": []}}, 400, FORMAT + "unknown field `foo`, expected one of `should`, `min_should`, `must`, `must_not`"),
    ("POST", SCROLL, {"filter": {"must": [{"key": "a"}]}}, 422, VALIDATION + "[scroll_request.filter.must[0].__all__: Validation error: At least one field condition must be specified [{}]]"),
    ("POST", SCROLL, {"filter": {"must": [{"key": "a", "match": {"any": [1, "a"]}}]}}, 400, FORMAT + "data did not match any variant of untagged enum MatchInterface"),
    # Writes.
    ("POST", f"{C}/points/payload", {"payload": {"a": 1}}, 400, FORMAT + "Either list of point ids or filter must be provided"),
    ("PUT", f"{C}/points/vectors", {"points": []}, 422, VALIDATION + "[points: must specify points to update]"),
    ("PUT", f"{C}/points/vectors", {"points": [{"id": 1, "vector": {}}]}, 422, VALIDATION + "[points[0].vector: must specify vectors to update for point]"),
    ("POST", f"{C}/points/vectors/delete", {"points": [1], "vector": []}, 422, VALIDATION + "[vector: must specify vector names to delete]"),
    ("PUT", f"{C}/points/payload?wait=true", {"payload": {"a": 1}, "points": [999]}, 404, "Not found: No point with id 999 found"),
    ("POST", f"{C}/points/payload/delete?wait=true", {"keys": ["a"], "points": [999]}, 404, "Not found: No point with id 999 found"),
    ("PUT", f"{C}/index", {"field_name": "a", "field_schema": {"type": "integer", "lookup": False, "range": False}}, 422, VALIDATION + "[field_schema.lookup: Validation error: the 'lookup' and 'range' capabilities can't be both disabled [{}]]"),
    ("PUT", UPSERT, {"batch": {"ids": [1, 2], "vectors": [V, V], "payloads": []}}, 422, VALIDATION + "[batch.batch: number of ids and payloads must be equal (2 != 0)]"),
    ("POST", f"{C}/points/payload", {"payload": {"a": 1}, "points": []}, 400, "Bad request: Empty update request"),
    ("PUT", f"{C}/points/payload", {"payload": {"a": 1}, "points": []}, 400, "Bad request: Empty update request"),
    ("POST", f"{C}/points/payload/delete", {"keys": ["a"], "points": []}, 400, "Bad request: Empty update request"),
    ("POST", f"{C}/points/payload/clear", {"points": []}, 400, "Bad request: Empty update request"),
    ("POST", f"{C}/points/vectors/delete", {"vector": ["s"], "points": []}, 400, "Bad request: Empty update request"),
    ("POST", f"{C}/points/payload", {"payload": None, "points": [1]}, 400, FORMAT + "invalid type: null, expected a map"),
    ("POST", f"{C}/points/batch", {"operations": [{"none": {}}]}, 400, FORMAT + "data did not match any variant of untagged enum UpdateOperation"),
    # Reads.
    ("POST", SCROLL, {"with_payload": {"include": ["a"], "exclude": ["n"]}}, 400, FORMAT + "data did not match any variant of untagged enum WithPayloadInterface"),
    ("POST", SCROLL, {"with_payload": {}}, 400, FORMAT + "data did not match any variant of untagged enum WithPayloadInterface"),
    ("POST", f"{C}/points/count", {"exact": None}, 400, FORMAT + "invalid type: null, expected a boolean"),
    ("POST", f"{C}/points/search/groups", {"vector": V, "group_by": "a", "group_size": 1, "limit": 1 << 32}, 400, FORMAT + "invalid value: integer `4294967296`, expected u32"),
    ("POST", f"{C}/points/recommend/groups", {"positive": [1], "group_by": "a", "group_size": 1 << 32, "limit": 1}, 400, FORMAT + "invalid value: integer `4294967296`, expected u32"),
    ("POST", f"{C}/points/recommend", {"limit": 0}, 422, VALIDATION + "[recommend_request.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", "/collections/none/points/recommend", {"limit": 1}, 404, "Not found: Collection `none` doesn't exist!"),
    ("POST", f"{C}/points/recommend", {"limit": 1, "lookup_from": {"collection": "none"}}, 404, "Not found: Collection none not found"),
    ("POST", f"{C}/points/recommend", {"limit": 1}, 400, "Bad request: At least one positive vector ID required with this strategy"),
    ("POST", f"{C}/points/recommend/batch", {"searches": [{"limit": 1}, {"limit": 0}]}, 422, VALIDATION + "[searches[1].recommend_request.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", "/collections/none/points/discover", {"limit": 1}, 404, "Not found: Collection `none` doesn't exist!"),
    ("POST", f"{C}/points/discover", {"limit": 1}, 400, "Bad request: Neither a target nor a context is given"),
    # Peers.
    ("DELETE", "/cluster/peer/x", None, 404, 'can not parse "x" to a u64'),
    # Query strings.
    ("POST", f"{SCROLL}?timeout=0", {}, 400, QUERY_STRING + "invalid value: integer `0`, expected a nonzero u64"),
    ("POST", f"{SCROLL}?consistency=foo", {}, 400, QUERY_STRING + "failed to deserialize read consistency query parameter value 'foo'"),
    ("POST", f"{C}/points/delete?ordering=foo", {"points": [9]}, 400, QUERY_STRING + "unknown variant `foo`, expected one of `weak`, `medium`, `strong`"),
    ("POST", f"{C}/points/delete?wait=1", {"points": [9]}, 400, QUERY_STRING + "provided string was not `true` or `false`"),
    # Snapshots.
    ("PUT", f"{C}/snapshots/recover", {"location": "file://elsewhere/x.snapshot"}, 400, "Bad request: Invalid snapshot URI, file path must be absolute or on localhost"),
    ("PUT", f"{C}/snapshots/recover", {"location": "http://127.0.0.1:1/x.snapshot"}, 403, "Forbidden: Snapshot recovery from remote URLs is disabled in the configuration"),
]


@pytest.fixture(scope="module")
def c(shared_node):
    def put(path, body):
        assert shared_node.request("PUT", path, body)[0] == 200

    put(C, {"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"s": {}}})
    put(UPSERT, {"points": [{"id": 1, "vector": V, "payload": {"a": 1, "n": 1}}]})
    put(f"{C}/index?wait=true", {"field_name": "n", "field_schema": "integer"})
    assert shared_node.request("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "al"}}]})[0] == 200
    return shared_node


@pytest.mark.parametrize("method,path,body,code,text", TABLE, ids=[f"{i} {m} {p} {c}" for i, (m, p, _, c, _) in enumerate(TABLE)])
def test_an_error_has_exactly_its_text(c, method, path, body, code, text):
    got, answer = c.request(method, path, body.encode() if isinstance(body, str) else body)
    shown = answer["status"]["error"] if isinstance(answer, dict) else answer
    assert (got, re.sub(r" at line \d+ column \d+$", "", shown)) == (code, text)
