"""Answers in which a node agrees with others that speak the protocol: what is refused, in which order, and what a report holds."""
import pytest
from harness.node import Node, wait_until

C = "/collections/agreed"
QUERY, RECOMMEND = f"{C}/points/query", f"{C}/points/recommend"
V = [1, 0, 0, 0]
LONG = "n" * 256
FUSED = {"query": {"fusion": "rrf"}, "using": "s"}
NO_CENTRE = {"relevance_feedback": {"target": V, "feedback": [], "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}}

# method, path, body, code, what the text of the error holds.
REFUSED = [
    ("POST", RECOMMEND, {"positive": [], "limit": 1}, 400, "At least one positive vector ID required"),
    ("POST", RECOMMEND, {"positive": [], "limit": 1, "strategy": "best_score"}, 400, "At least one positive or negative vector ID required"),
    ("POST", RECOMMEND, {"positive": [V], "limit": 1, "lookup_from": {"collection": "away"}}, 404, "Collection away not found"),
    ("POST", f"{RECOMMEND}/batch", {"searches": [{"positive": [V], "limit": 1, "lookup_from": {"collection": "away"}}]}, 404, "Collection away not found"),
    ("POST", QUERY, {**FUSED, "prefetch": {"query": V}}, 400, "Fusion queries cannot be combined with the 'using' field."),
    ("POST", QUERY, FUSED, 400, "Fusion queries cannot be combined with the 'using' field."),
    # A value out of range, then a collection that is not there, then a point that is not there, then a contradiction.
    ("POST", "/collections/away/points/query", {**FUSED, "limit": 0}, 422, "[internal.limit: value 0 invalid, must be 1 or larger]"),
    ("POST", "/collections/away/points/query", FUSED, 404, "Collection `away` doesn't exist!"),
    ("POST", "/collections/away/points/query/groups", {**FUSED, "group_by": "a"}, 404, "Collection `away` doesn't exist!"),
    ("POST", QUERY, {**FUSED, "prefetch": [{"query": 99}]}, 404, "No point with id 99 found"),
    ("POST", f"{QUERY}/groups", {**FUSED, "prefetch": [{"query": 99}], "group_by": "a"}, 404, "No point with id 99 found"),
    ("POST", f"{QUERY}/batch", {"searches": [{**FUSED, "prefetch": [{"query": 99}]}]}, 404, "No point with id 99 found"),
    ("PUT", "/collections/away/points", {"points": [{"id": 1, "vector": []}]}, 422, "[points[0].vector.vector: dense vector must not be empty]"),
    ("PUT", "/collections/away/points/vectors", {"points": []}, 422, "[points: must specify points to update]"),
    ("POST", "/collections/away/points/batch", {"operations": [{"delete_vectors": {"points": [1], "vector": []}}]}, 422, "[operations[0].delete_vectors.vector: must specify vector names to delete]"),
    ("POST", QUERY, {"query": NO_CENTRE}, 422, "feedback elements must be non-empty"),
    ("GET", f"/collections/{LONG}/points/1", None, 422, "Validation error in path parameters: [name: must be from 1 to 255 characters]"),
    ("PUT", "/collections/more?timeout=0", {}, 422, "[timeout: value 0 invalid, must be 1 or larger]"),
    ("DELETE", "/collections/more?timeout=0", None, 422, "[timeout: value 0 invalid, must be 1 or larger]"),
    ("POST", "/collections/aliases?timeout=0", {"actions": []}, 422, "[timeout: value 0 invalid, must be 1 or larger]"),
]


def ask(node, method, path, body=None, code=200):
    got, answer = node.request(method, path, body)
    assert got == code, answer
    return answer.get("result")


@pytest.fixture(scope="module")
def agreed(shared_node):
    ask(shared_node, "PUT", C, {"vectors": {"size": 4, "distance": "Dot"}, "sparse_vectors": {"s": {}}})
    payloads = [{"price": 2.0}, {"price": None}, {"price": []}, {}]
    points = [{"id": i, "vector": V, "payload": payload} for i, payload in enumerate(payloads)]
    ask(shared_node, "PUT", f"{C}/points?wait=true", {"points": points})
    return shared_node


@pytest.mark.parametrize("method,path,body,code,text", REFUSED, ids=[f"{i} {row[1][:60]}" for i, row in enumerate(REFUSED)])
def test_a_request_is_refused_for_the_reason_that_comes_first(agreed, method, path, body, code, text):
    got, answer = agreed.request(method, path, body)
    assert got == code and text in answer["status"]["error"], answer


@pytest.mark.parametrize("method,path,body", [("POST", "points/delete", {"points": [99]}), ("PUT", "points", {"points": [{"id": 0, "vector": V, "payload": {"price": 2.0}}]})])
def test_a_time_limit_of_0_does_not_matter_to_writes_of_points(agreed, method, path, body):
    ask(agreed, method, f"{C}/{path}?wait=true&timeout=0", body)


UPSERT = {"upsert": {"points": [{"id": 7, "vector": V}]}}


@pytest.mark.parametrize("operation,path", [
    ({"upsert": {"points": [{"id": 8, "vector": {"s": {"indices": [1, 1], "values": [1, 2]}}}]}}, "upsert.points[0].vector.?.indices"),
    ({"upsert": {"batch": {"ids": [8], "vectors": []}}}, "upsert.batch.batch"),
    ({"update_vectors": {"points": []}}, "update_vectors.points"),
    ({"delete": {"filter": {"must": {"key": "a"}}}}, "delete.filter.must[0].__all__"),
])
def test_a_batch_with_a_value_out_of_range_is_refused_as_a_whole(agreed, operation, path):
    got, answer = agreed.request("POST", f"{C}/points/batch?wait=true", {"operations": [UPSERT, operation]})
    assert got == 422 and f"[operations[1].{path}: " in answer["status"]["error"], answer
    assert ask(agreed, "POST", f"{C}/points", {"ids": [7]}) == []


def test_a_batch_that_fails_later_keeps_what_it_did_before(agreed):
    missing = {"set_payload": {"payload": {"a": 1}, "points": [99]}}
    got, answer = agreed.request("POST", f"{C}/points/batch?wait=true", {"operations": [UPSERT, missing, {"delete": {"points": [7]}}]})
    assert (got, answer["status"]["error"]) == (404, "Not found: No point with id 99 found")
    assert ask(agreed, "POST", f"{C}/points", {"ids": [7]}) == [{"id": 7}]
    ask(agreed, "POST", f"{C}/points/delete?wait=true", {"points": [7]})


@pytest.mark.parametrize("body", [
    # No name and an empty one are the default vector's.
    {"query": {"fusion": "rrf"}, "using": "", "prefetch": {"query": V}},
    {"query": V, "prefetch": {"query": V, "limit": 10**12}},
    {"query": {"nearest": V, "mmr": {"candidates_limit": 1}}},
])
def test_a_query_is_answered(agreed, body):
    assert ask(agreed, "POST", QUERY, body)["points"]


def test_of_no_candidates_none_is_chosen(agreed):
    assert ask(agreed, "POST", QUERY, {"query": {"nearest": V, "mmr": {"candidates_limit": 0}}}) == {"points": []}


def test_a_sample_of_more_points_than_there_are_is_all_of_them(agreed):
    found = ask(agreed, "POST", f"{C}/points/search/matrix/offsets", {"sample": 10**9, "limit": 10**9})
    assert found["ids"] == [0, 1, 2, 3] and len(found["scores"]) == 4 * 3


def test_a_formula_takes_its_default_where_a_field_is_null_or_empty(agreed):
    query = {"formula": {"sum": ["price", 1.0]}, "defaults": {"price": 10.0}}
    found = ask(agreed, "POST", QUERY, {"prefetch": {"query": V}, "query": query})["points"]
    assert {p["id"]: p["score"] for p in found} == {0: 3.0, 1: 11.0, 2: 11.0, 3: 11.0}


@pytest.mark.parametrize("params,warned", [
    ({}, False),
    ({"hnsw_config": {"inline_storage": True}}, True),
    ({"hnsw_config": {"inline_storage": True}, "quantization_config": {"scalar": {"type": "int8"}}}, False),
    ({"hnsw_config": {"inline_storage": True}, "multivector_config": {"comparator": "max_sim"}}, True),
])
def test_inline_storage_that_is_not_as_asked_for_is_warned_of(shared_node, params, warned):
    ask(shared_node, "PUT", "/collections/inline", {"vectors": {"a": {"size": 4, "distance": "Dot", **params}}})
    warnings = ask(shared_node, "GET", "/collections/inline").get("warnings", [])
    ask(shared_node, "DELETE", "/collections/inline")
    assert len(warnings) == warned and all("'a'" in w["message"] for w in warnings)


def test_quantization_of_a_new_collection_may_have_its_older_name(shared_node):
    scalar = {"scalar": {"type": "int8", "quantile": 0.5}}
    ask(shared_node, "PUT", "/collections/older", {"vectors": {"size": 4, "distance": "Dot"}, "quantization": scalar})
    assert ask(shared_node, "GET", "/collections/older")["config"]["quantization_config"] == scalar


def test_a_snapshot_is_deleted_in_the_background_if_nobody_waits(agreed):
    path = f"{C}/snapshots"
    name = ask(agreed, "POST", f"{path}?wait=true")["name"]
    ask(agreed, "DELETE", f"{path}/{name}?wait=false", code=202)
    wait_until(lambda: ask(agreed, "GET", path) == [], 30, "the snapshot is gone")


@pytest.mark.parametrize("limits,first,again,text", [
    ({"read_rate_limit": 1}, 200, 429, "Rate limiting exceeded: Read rate limit exceeded, retry later"),
    # A filter that no index knows of is taken to find half of the four points.
    ({"write_rate_limit": 3}, 200, 429, "Write rate limit exceeded: Operation requires 2 tokens but only 1."),
])
def test_what_a_request_costs(tmp_path, limits, first, again, text):
    node = Node(tmp_path / "node").start()
    try:
        ask(node, "PUT", C, {"vectors": {"size": 4, "distance": "Dot"}})
        ask(node, "PUT", f"{C}/points?wait=true", {"points": [{"id": i, "vector": V} for i in range(4)]})
        ask(node, "PATCH", C, {"strict_mode_config": {"enabled": True, **limits}})
        is_read = "read_rate_limit" in limits
        call = ("POST", QUERY, {"query": V}) if is_read else ("PUT", f"{C}/points/payload?wait=true", {"payload": {}, "filter": {"must": [{"key": "a", "match": {"value": 1}}]}})
        answers = [node.request(*call) for _ in range(2)]
        assert [code for code, _ in answers] == [first, again] and text in answers[1][1]["status"]["error"], answers
    finally:
        node.kill()


ALWAYS = {"id", "app", "collections", "cluster", "requests"}
SHARD = {"variant_name", "status", "total_optimized_points", "vectors_size_bytes", "payloads_size_bytes", "num_points", "num_vectors", "optimizations", "async_scorer"}


@pytest.mark.parametrize("level,parts,collection,shard", [
    (0, ALWAYS, None, None),
    (1, ALWAYS | {"memory", "hardware"}, {"vectors", "optimizers_status", "params"}, None),
    (2, ALWAYS | {"memory", "hardware"}, {"id", "init_time_ms", "config"}, None),
    (3, ALWAYS | {"memory", "hardware"}, {"id", "init_time_ms", "config", "shards", "transfers", "resharding"}, SHARD),
    (10, ALWAYS | {"memory", "hardware"}, {"id", "init_time_ms", "config", "shards", "transfers", "resharding"}, SHARD | {"segments"}),
])
def test_telemetry_tells_more_at_every_level(agreed, level, parts, collection, shard):
    told = ask(agreed, "GET", f"/telemetry?details_level={level}")
    assert set(told) == parts
    if collection is None:
        assert set(told["collections"]) == {"number_of_collections"}
        return
    entries = told["collections"]["collections"]
    assert len(entries) == told["collections"]["number_of_collections"] and all(set(e) == collection for e in entries)
    if shard:
        local = next(e for e in entries if e["id"] == "agreed")["shards"][0]["local"]
        assert set(local) == shard and local["num_points"] == 4
        assert sum(s["info"]["num_points"] for s in local.get("segments", [{"info": {"num_points": 4}}])) == 4


def test_telemetry_says_when_a_route_was_last_answered(agreed):
    routes = ask(agreed, "GET", "/telemetry")["requests"]["rest"]["responses"]
    assert routes["PUT /collections/{collection_name}/points"]["200"]["last_responded"].startswith("2")
