"""Conditions on places and texts, payload indexes with their parameters, facets: answers, echoes and the texts of refusals."""
import pytest
from harness.node import wait_until
from qdrant_client import QdrantClient, models

TEXTS = ["The quick brown Fox", "a quick, quick hare", "Ação rápida", "running foxes", "brown quick"]


@pytest.fixture
def client(shared_node):
    made = QdrantClient(url=shared_node.url, timeout=30)
    made.create_collection("f", vectors_config={}, shard_number=2)
    made.upsert("f", [models.PointStruct(id=i, vector={}, payload={"t": text, "n": i % 2}) for i, text in enumerate(TEXTS)])
    yield made
    made.delete_collection("f")
    made.close()


def found(client, **condition) -> list:
    chosen = models.Filter(must=[models.FieldCondition(key="t", match=condition["match"])])
    return [r.id for r in client.scroll("f", scroll_filter=chosen, limit=100)[0]]


def text(t: str):
    return models.MatchText(text=t)


@pytest.mark.parametrize("params, wanted, ids", [
    (None, text("quick brown"), [0, 4]),
    (None, models.MatchPhrase(phrase="quick brown"), [0]),
    (None, models.MatchTextAny(text_any="hare fox"), [0, 1]),
    (None, text("quic"), []),
    ({}, text("QUICK brown"), [0, 4]),
    ({}, models.MatchPhrase(phrase="quick brown"), []),
    ({"phrase_matching": True}, models.MatchPhrase(phrase="quick, brown"), [0]),
    ({"lowercase": False}, text("fox"), []),
    ({"lowercase": False}, text("Fox"), [0]),
    ({"tokenizer": "whitespace"}, text("quick"), [0, 1, 4]),
    ({"tokenizer": "whitespace"}, text("quick,"), [1]),
    ({"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4}, text("quickest"), [0, 1, 4]),
    ({"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 8}, text("fo"), [0, 3]),
    ({"tokenizer": "multilingual"}, text("hare"), [1]),
    ({"ascii_folding": True}, text("acao"), [2]),
    ({}, text("acao"), []),
    ({"stemmer": {"type": "snowball", "language": "english"}}, text("fox run"), [3]),
    ({"stemmer": {"type": "none"}}, text("run"), []),
    ({"stopwords": "english"}, text("the hare"), [1]),
    ({"stopwords": {"languages": ["english"], "custom": ["Hare"]}}, text("hare"), []),
    ({"min_token_len": 2}, text("a"), []),
])
def test_texts_are_cut_as_the_index_says(client, params, wanted, ids):
    if params is not None:
        client.create_payload_index("f", "t", models.TextIndexParams(type="text", **params), wait=True)
    assert found(client, match=wanted) == ids


PARAMS = [
    {"type": "text", "tokenizer": "prefix", "min_token_len": 2, "max_token_len": 9, "lowercase": True, "ascii_folding": True, "phrase_matching": True,
     "stopwords": {"languages": ["english", "japanese"], "custom": ["x"]}, "stemmer": {"type": "snowball", "language": "german"}, "on_disk": True},
    {"type": "text", "stopwords": "german", "stemmer": {"type": "none"}, "memory": "cold"},
    {"type": "geo", "on_disk": True, "enable_hnsw": False},
    {"type": "keyword", "is_tenant": True, "prefix": True, "memory": "cached"},
    {"type": "integer", "lookup": True, "range": False, "is_principal": True},
    {"type": "uuid", "is_tenant": False},
    {"type": "bool", "on_disk": False},
    {"type": "datetime", "is_principal": True},
    {"type": "float"},
]


def test_parameters_are_echoed_as_they_were_given_and_survive_a_restart(client, shared_node):
    for i, params in enumerate(PARAMS):
        code, answer = shared_node.request("PUT", "/collections/f/index?wait=true", {"field_name": f"k{i}", "field_schema": params})
        assert code == 200, answer
    shared_node.request("PUT", "/collections/f/index?wait=true", {"field_name": "plain", "field_schema": "geo"})
    client.get_collection("f")
    for _ in range(2):
        schema = shared_node.request("GET", "/collections/f")[1]["result"]["payload_schema"]
        assert schema["plain"] == {"data_type": "geo", "points": 0}
        for i, params in enumerate(PARAMS):
            assert schema[f"k{i}"] == {"data_type": params["type"], "params": params, "points": 0}
        shared_node.kill()
        shared_node.start()


@pytest.mark.parametrize("given, kept", [
    ({"type": "keyword", "lookup": True, "range": False, "is_principal": True, "is_tenant": True, "tokenizer": "word"}, {"type": "keyword", "is_tenant": True}),
    ({"type": "integer", "is_tenant": True, "prefix": True, "lookup": True, "nobody": 1}, {"type": "integer", "lookup": True}),
    ({"type": "text", "is_tenant": True, "lowercase": False}, {"type": "text", "lowercase": False}),
    ({"type": "geo", "is_principal": True, "on_disk": True}, {"type": "geo", "on_disk": True}),
])
def test_parameters_of_other_types_are_passed_over(client, shared_node, given, kept):
    """Clients refuse answers with fields that a type doesn't have."""
    assert shared_node.request("PUT", "/collections/f/index?wait=true", {"field_name": "k", "field_schema": given})[0] == 200
    assert shared_node.request("GET", "/collections/f")[1]["result"]["payload_schema"]["k"]["params"] == kept
    client.get_collection("f")


REFUSED = [
    ("/points/scroll", {"filter": {"must": {"key": "a", "geo_radius": {"center": {"lat": 152.5, "lon": 1.0}, "radius": 1}}}}, 400,
     "Format error in JSON body: Wrong format of GeoPoint payload: expected `lat` = 152.5 within [-90;90] and `lon` = 1 within [-180;180]"),
    ("/points/scroll", {"filter": {"must": {"key": "a", "geo_polygon": {"exterior": {"points": [{"lat": 1, "lon": 1}]}}}}}, 400,
     "Format error in JSON body: Validation failed: polygon invalid, the size must be at least 4, got 1"),
    ("/points/scroll", {"filter": {"must": {"key": "a", "geo_polygon": {"exterior": {"points": [{"lat": i, "lon": 1} for i in range(4)]}}}}}, 400,
     "Format error in JSON body: Validation failed: polygon invalid, the first and the last points should be the same to form a closed line"),
    ("/points/scroll", {"filter": {"must": {"key": "a", "match": {"text": 1}}}}, 400,
     "Format error in JSON body: data did not match any variant of untagged enum MatchInterface"),
    ("/points/scroll", {"filter": {"must": {"slice": {"total": 2, "index": 2}}}}, 422,
     "Validation error in JSON body: [scroll_request.filter.must[0].slice.index: value 2 invalid, must be from 0 to 1]"),
    ("/points/count", {"filter": {"must": {"key": "a", "match": {"phrase": "x" * 70_000}}}}, 422,
     "Validation error in JSON body: [count_request.filter.must[0].match: a text of 70000 bytes is too long, at most 65536 are allowed]"),
    ("/points/count", {"filter": {"should": [{"is_empty": {"key": "a"}}] * 70_000}}, 422,
     "Validation error in JSON body: [count_request.filter: 70000 conditions are too many, at most 65536 are allowed]"),
    ("/facet", {"key": "n", "limit": 0}, 422, "Validation error in JSON body: [limit: value 0 invalid, must be 1 or larger]"),
    ("/facet", {"key": "n"}, 400,
     "Wrong input: No appropriate index for faceting: `n`. Please create one to facet on this field. Check "
     "https://qdrant.tech/documentation/concepts/indexing/#payload-index to see which payload schemas support Match conditions"),
    ("/facet", {"key": "a b"}, 400, "Format error in JSON body: Invalid json path: 'a b'"),
    ("/facet", {"limit": 1}, 400, "Format error in JSON body: missing field `key`"),
]


@pytest.mark.parametrize("path, body, code, error", REFUSED)
def test_what_is_refused(client, shared_node, path, body, code, error):
    answer = shared_node.request("POST", f"/collections/f{path}", body)
    assert answer[0] == code
    assert answer[1]["status"]["error"].startswith(error)


@pytest.mark.parametrize("schema, code, error", [
    (None, 400, "Bad request: Can't auto-detect field type, please specify `field_schema` in the request"),
    ({"type": "text", "stopwords": "klingon"}, 400, "Format error in JSON body: data did not match any variant of untagged enum PayloadFieldSchema"),
    ({"type": "text", "tokenizer": "x"}, 400, "Format error in JSON body: data did not match any variant of untagged enum PayloadFieldSchema"),
    ({"type": "text", "min_token_len": 5, "max_token_len": 2}, 422,
     "Validation error in JSON body: [field_schema.min_token_len: value 5 invalid, must be from 0 to 2]"),
    ({"type": "integer", "lookup": False, "range": False}, 422,
     "Validation error in JSON body: [field_schema.lookup: Validation error: the 'lookup' and 'range' capabilities can't be both disabled [{}]]"),
])
def test_indexes_that_are_refused(client, shared_node, schema, code, error):
    answer = shared_node.request("PUT", "/collections/f/index", {"field_name": "t", "field_schema": schema})
    assert answer[0] == code
    assert answer[1]["status"]["error"].startswith(error)


def test_facets_are_those_of_most_points_over_all_shards(client):
    client.create_payload_index("f", "n", models.PayloadSchemaType.INTEGER)
    client.upsert("f", [models.PointStruct(id=100 + i, vector={}, payload={"n": [i % 3, i % 3, 7]}) for i in range(300)])
    hits = client.facet("f", "n", limit=3, exact=True).hits
    assert [(h.value, h.count) for h in hits] == [(7, 300), (0, 103), (1, 102)]
    client.delete("f", models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=0))]))
    chosen = models.Filter(must_not=[models.HasIdCondition(has_id=[101])])
    assert [(h.value, h.count) for h in client.facet("f", "n", facet_filter=chosen).hits] == [(7, 199), (1, 101), (2, 100)]
    assert client.count("f").count == 202


def test_filters_on_places_name_the_index_that_would_serve_them(client, shared_node):
    area = models.GeoRadius(center=models.GeoPoint(lat=1, lon=1), radius=5)
    client.scroll("f", scroll_filter=models.Filter(must=[models.FieldCondition(key="where", geo_radius=area)]))

    def told() -> bool:
        return any("where" in str(issue) and "geo" in str(issue) for issue in shared_node.request("GET", "/issues")[1]["result"]["issues"])

    wait_until(told, 10, "an issue about the key")
