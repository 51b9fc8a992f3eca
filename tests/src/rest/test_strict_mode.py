"""Strict mode as the protocol's client meets it, and the header that says when to come back."""
import urllib.error
import urllib.request

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import UnexpectedResponse


@pytest.fixture(scope="module")
def client(shared_node):
    return QdrantClient(url=shared_node.url, check_compatibility=False)


def create(client, name, **limits):
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection(name, vectors, strict_mode_config=models.StrictModeConfig(enabled=True, **limits))


def refused(call) -> str:
    with pytest.raises(UnexpectedResponse) as error:
        call()
    assert error.value.status_code == 400
    return error.value.content.decode()


def test_a_limit_holds_until_it_is_switched_off(client):
    create(client, "limits", max_query_limit=5)
    text = refused(lambda: client.query_points("limits", query=[1.0, 1.0], limit=6))
    assert 'Limit exceeded 6 > 5 for \\"limit\\". Help: Reduce the \\"limit\\" parameter to or below 5.' in text
    client.query_points("limits", query=[1.0, 1.0], limit=5)
    client.update_collection("limits", strict_mode_config=models.StrictModeConfig(enabled=False))
    client.query_points("limits", query=[1.0, 1.0], limit=6)


def test_an_index_is_what_a_filter_waits_for(client):
    create(client, "indexes", unindexed_filtering_retrieve=False)
    city = models.Filter(must=[models.FieldCondition(key="city", match=models.MatchValue(value="x"))])
    assert "of one of the following types: [keyword]" in refused(lambda: client.count("indexes", count_filter=city))
    client.create_payload_index("indexes", "city", models.PayloadSchemaType.KEYWORD)
    assert client.count("indexes", count_filter=city).count == 0


def test_too_many_writes_are_told_when_to_come_back(client, shared_node):
    create(client, "rates", write_rate_limit=4)
    points = [models.PointStruct(id=i, vector=[1, 1]) for i in range(4)]
    client.upsert("rates", points)
    with pytest.raises(ResourceExhaustedResponse):
        client.upsert("rates", points)
    request = urllib.request.Request(
        f"{shared_node.url}/collections/rates/points",
        data=b'{"points":[{"id":1,"vector":[1,1]},{"id":2,"vector":[1,1]},{"id":3,"vector":[1,1]},{"id":4,"vector":[1,1]}]}',
        method="PUT",
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    assert error.value.code == 429
    assert 1 <= int(error.value.headers["Retry-After"]) <= 60
    assert b"Rate limiting exceeded: Write rate limit exceeded: Operation requires 4 tokens but only" in error.value.read()
    assert client.count("rates").count == 4, "reads go on"
