"""Second spellings of fields, which fault wins where a request has two, and places in memory that nothing can be kept in."""
import pytest

C = "/collections/people"
V = [1.0, 0.0]
POINTS = [{"id": i, "vector": {"face": [float(i), 1.0], "voice": [1.0, float(i)]}, "payload": {"team": i % 2}} for i in range(1, 5)]
GROUPS = {"using": "face", "group_by": "team", "limit": 2}


@pytest.fixture(scope="module")
def people(shared_node):
    def put(path, body):
        assert shared_node.request("PUT", path, body)[0] == 200, path

    size = {"size": 2, "distance": "Dot"}
    put(C, {"vectors": {"face": size, "voice": size}})
    put(f"{C}/points?wait=true", {"points": POINTS})
    return shared_node


def points_of(result) -> list[dict]:
    if isinstance(result, list):
        return [p for part in result for p in (part if isinstance(part, list) else [part])]
    return result.get("points") or [h for g in result["groups"] for h in g["hits"]]


FACE = {"name": "face", "vector": V}


@pytest.mark.parametrize("field", ["with_vector", "with_vectors"])
@pytest.mark.parametrize("path,body", [
    ("", {"ids": [1, 2]}),
    ("/scroll", {}),
    ("/query", {"query": V, "using": "face"}),
    ("/query", {"query": {"recommend": {"positive": [1]}}, "using": "face"}),
    ("/query/groups", {"query": V, **GROUPS}),
    ("/search", {"vector": FACE, "limit": 2}),
    ("/search/groups", {"vector": FACE, "group_by": "team", "limit": 2, "group_size": 1}),
    ("/recommend", {"positive": [1], "using": "face", "limit": 2}),
    ("/recommend/groups", {"positive": [1], "group_size": 1, **GROUPS}),
    ("/discover", {"target": 1, "using": "face", "limit": 2}),
])
def test_vectors_are_asked_for_in_singular_and_plural(people, path, body, field):
    code, answer = people.request("POST", f"{C}/points{path}", body | {field: ["voice"]})
    assert code == 200, answer
    found = points_of(answer["result"])
    assert found and all(list(p["vector"]) == ["voice"] for p in found), found


@pytest.mark.parametrize("field", ["with_vector", "with_vectors"])
@pytest.mark.parametrize("wanted,shown", [(True, ["face", "voice"]), (["face"], ["face"]), (False, [])])
def test_vectors_beside_a_group_are_asked_for_in_singular_and_plural(people, field, wanted, shown):
    body = {"query": V, **GROUPS, "filter": {"must": [{"key": "team", "match": {"value": 1}}]}}
    code, answer = people.request("POST", f"{C}/points/query/groups", body | {"with_lookup": {"collection": "people", field: wanted}})
    assert code == 200, answer
    assert [sorted(g["lookup"].get("vector", {})) for g in answer["result"]["groups"]] == [shown]


@pytest.mark.parametrize("lookup,shown", [
    ("people", {"team": 1}),
    ({"collection": "people"}, {"team": 1}),
    ({"collection": "people", "with_payload": ["none"]}, {}),
    ({"collection": "people", "with_payload": None}, None),
    ({"collection": "people", "with_payload": False}, None),
])
def test_payload_beside_a_group_is_shown_unless_it_is_not_wanted(people, lookup, shown):
    body = {"query": V, **GROUPS, "filter": {"must": [{"key": "team", "match": {"value": 1}}]}, "with_lookup": lookup}
    groups = people.request("POST", f"{C}/points/query/groups", body)[1]["result"]["groups"]
    assert [g["lookup"].get("payload") for g in groups] == [shown]


@pytest.mark.parametrize("item,payload", [
    ({"set_payload": {"points": [9], "payload": {"a": 1}}, "delete": {"points": [8]}}, [(9, {})]),
    ({"clear_payload": {"points": [9]}, "overwrite_payload": {"points": [9], "payload": {"b": 2}}}, [(8, {}), (9, {"b": 2})]),
    ({"nobody": 1, "set_payload": {"points": [9], "payload": {"a": 1}}}, [(8, {}), (9, {"a": 1})]),
    ({"delete": None, "set_payload": {"points": [9], "payload": {"a": 1}}}, [(8, {}), (9, {"a": 1})]),
])
def test_of_several_operations_in_an_item_one_is_done_and_their_order_is_fixed(people, item, payload):
    points = [{"id": i, "vector": {}} for i in (8, 9)]
    body = {"operations": [{"upsert": {"points": points}}, {"clear_payload": {"points": [8, 9]}}, item]}
    assert people.request("POST", f"{C}/points/batch?wait=true", body)[0] == 200
    found = people.request("POST", f"{C}/points", {"ids": [8, 9], "with_payload": True})[1]["result"]
    assert [(p["id"], p["payload"]) for p in found] == payload
    assert people.request("POST", f"{C}/points/delete?wait=true", {"points": [8, 9]})[0] == 200


@pytest.mark.parametrize("batch", [False, True])
def test_vectors_are_removed_of_points_that_are_named_and_of_those_that_pass(people, batch):
    points = [{"id": i, "vector": {"face": V, "voice": V}, "payload": {"room": i}} for i in (11, 12, 13)]
    assert people.request("PUT", f"{C}/points?wait=true", {"points": points})[0] == 200
    body = {"points": [11], "filter": {"must": [{"key": "room", "match": {"value": 12}}]}, "vector": ["voice"]}
    path, body = ("batch", {"operations": [{"delete_vectors": body}]}) if batch else ("vectors/delete", body)
    assert people.request("POST", f"{C}/points/{path}?wait=true", body)[0] == 200
    found = people.request("POST", f"{C}/points", {"ids": [11, 12, 13], "with_vector": True})[1]["result"]
    assert {p["id"]: sorted(p["vector"]) for p in found} == {11: ["face"], 12: ["face"], 13: ["face", "voice"]}
    assert people.request("POST", f"{C}/points/delete?wait=true", {"points": [11, 12, 13]})[0] == 200


WITH, EXAMPLES = {"collection": "people", "vector": "none"}, f"{C}/points/recommend"


@pytest.mark.parametrize("path,body,code,text", [
    # A point that is missing is said before a vector that nobody has.
    (EXAMPLES, {"positive": [1], "using": "face", "limit": 1, "lookup_from": WITH}, 400, "Wrong input: Not existing vector name error: none"),
    (EXAMPLES, {"positive": [99], "using": "face", "limit": 1, "lookup_from": WITH}, 404, "Not found: No point with id 99 found"),
    # Where groups are asked for, the other collection has to be there though no example is taken from it.
    (f"{C}/points/query/groups", {"query": V, **GROUPS, "lookup_from": {"collection": "elsewhere"}}, 404, "Not found: Collection elsewhere not found"),
])
def test_which_fault_is_said(people, path, body, code, text):
    got, answer = people.request("POST", path, body)
    assert (got, answer["status"]["error"]) == (code, text)


@pytest.mark.parametrize("vector,path", [({"face": []}, "vector.?.vector"), ([], "vector.vector")])
def test_an_empty_vector_is_refused_by_its_place(people, vector, path):
    code, answer = people.request("PUT", f"{C}/points?wait=true", {"points": [{"id": 1, "vector": vector}]})
    assert (code, answer["status"]["error"]) == (422, f"Validation error in JSON body: [points[0].{path}: dense vector must not be empty]")


SIZE, PINNED = {"size": 2, "distance": "Dot"}, {"memory": "pinned"}
VECTORS, PAYLOADS = "dense vector storage", "payload storage"


@pytest.mark.parametrize("method,path,body,where,what", [
    ("PUT", "/collections/pinned", {"vectors": SIZE | PINNED}, "vectors", VECTORS),
    ("PUT", "/collections/pinned", {"vectors": {"a": SIZE | PINNED}}, "vectors.a", VECTORS),
    ("PUT", "/collections/pinned", {"vectors": SIZE, "payload": PINNED}, "payload", PAYLOADS),
    ("PUT", f"{C}/vectors/gait", {"dense": SIZE | PINNED}, "dense", VECTORS),
    ("PATCH", C, {"vectors": {"face": PINNED}}, "vectors.face", VECTORS),
    ("PATCH", C, {"params": {"payload": PINNED}}, "params.payload", PAYLOADS),
])
def test_what_is_read_from_files_is_not_pinned(people, method, path, body, where, what):
    text = f"Validation error in JSON body: [{where}.memory: `pinned` memory placement is not supported for {what}]"
    code, answer = people.request(method, path, body)
    assert (code, answer["status"]["error"]) == (422, text)


def test_indexes_may_be_pinned(people):
    body = {"vectors": SIZE | {"memory": "cached", "hnsw_config": PINNED}, "sparse_vectors": {"s": {"index": PINNED}}, "payload": {"memory": "cold"}}
    assert people.request("PUT", "/collections/placed", body)[0] == 200


@pytest.mark.parametrize("given,shown", [
    ({"hnsw_config": {"full_scan_threshold_kb": 20}}, ("hnsw_config", "full_scan_threshold", 20)),
    ({"optimizers_config": {"max_segment_size_kb": 5}}, ("optimizer_config", "max_segment_size", 5)),
    ({"optimizers_config": {"memmap_threshold_kb": 6}}, ("optimizer_config", "memmap_threshold", 6)),
    ({"optimizers_config": {"indexing_threshold_kb": 7}}, ("optimizer_config", "indexing_threshold", 7)),
    ({"optimizer_config": {"indexing_threshold": 8}}, ("optimizer_config", "indexing_threshold", 8)),
    ({"quantization_config": {"binary": {"always_ram": True}, "nobody": 1}}, ("quantization_config", "binary", {"always_ram": True})),
])
def test_settings_have_second_spellings_and_fields_that_nobody_knows(shared_node, given, shown):
    vectors, (part, field, value) = {"vectors": {"size": 2, "distance": "Dot"}}, shown
    for first, then in ((vectors | given, {}), (vectors, given)):
        shared_node.request("DELETE", "/collections/spelled")
        assert shared_node.request("PUT", "/collections/spelled", first)[0] == 200
        assert shared_node.request("PATCH", "/collections/spelled", then)[0] == 200
        assert shared_node.request("GET", "/collections/spelled")[1]["result"]["config"][part][field] == value
