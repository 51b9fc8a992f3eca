"""Shard keys of a node that is stopped in between, and what the protocol's client makes of them."""
from harness.node import Node
from qdrant_client import QdrantClient, models


def count(node, key=None) -> int:
    return node.request("POST", "/collections/c/points/count", {"shard_key": key})[1]["result"]["count"]


def points(ids) -> list:
    return [{"id": i, "vector": [i, 1], "payload": {"n": i}} for i in ids]


def test_keys_are_there_after_a_restart(tmp_path):
    node = Node(tmp_path / "node").start()
    try:
        body = {"vectors": {"size": 2, "distance": "Dot"}, "sharding_method": "custom"}
        assert node.request("PUT", "/collections/c", body)[0] == 200
        for key, n in (("eu", 2), ("us", 1), (7, 1)):
            assert node.request("PUT", "/collections/c/shards", {"shard_key": key, "shards_number": n})[0] == 200
            assert node.request("PUT", "/collections/c/points?wait=true", {"points": points(range(10)), "shard_key": key})[0] == 200
        assert node.request("POST", "/collections/c/shards/delete", {"shard_key": "us"})[0] == 200
        node.kill()
        node.start()
        assert (count(node), count(node, "eu"), count(node, 7)) == (20, 10, 10)
        assert node.request("POST", "/collections/c/points/count", {"shard_key": "us"})[0] == 400
        local = node.request("GET", "/collections/c/cluster")[1]["result"]["local_shards"]
        assert [(s["shard_id"], s["shard_key"]) for s in local] == [(0, "eu"), (1, "eu"), (3, 7)]
        assert node.request("PUT", "/collections/c/shards", {"shard_key": "us"})[0] == 200
        assert count(node, "us") == 0
    finally:
        node.kill()


def test_the_client_reads_and_writes_by_key(shared_node):
    client = QdrantClient(url=shared_node.url, check_compatibility=False)
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection("k", vectors, sharding_method=models.ShardingMethod.CUSTOM)
    client.create_shard_key("k", "a", shards_number=1)
    client.create_shard_key("k", "b", shards_number=1)
    for key in "ab":
        upserted = [models.PointStruct(id=i, vector=[i, 1], payload={"k": key}) for i in range(1, 4)]
        client.upsert("k", upserted, shard_key_selector=key)
    assert client.count("k").count == 6
    assert client.count("k", shard_key_selector=["a", "b"]).count == 6
    found = client.query_points("k", query=[1.0, 0.0], shard_key_selector="b", limit=1).points[0]
    assert (found.id, found.shard_key) == (3, "b")
    fallback = models.ShardKeyWithFallback(target="new", fallback="a")
    assert client.query_points("k", query=[1.0, 0.0], shard_key_selector=fallback).points[0].shard_key == "a"
    client.delete_shard_key("k", "a")
    assert {p.shard_key for p in client.scroll("k")[0]} == {"b"}
