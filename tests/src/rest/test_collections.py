"""Collections, their settings, aliases, indexes and named vectors, as the pinned client reads them."""
import pytest
from harness.node import wait_until
from qdrant_client import QdrantClient, models

PARAMS = models.VectorParams(size=4, distance=models.Distance.DOT)


@pytest.fixture
def client(shared_node):
    made = QdrantClient(url=shared_node.url, timeout=30)
    yield made
    for collection in made.get_collections().collections:
        made.delete_collection(collection.name)
    made.close()


def test_defaults_are_the_documented_ones(client):
    client.create_collection("d", vectors_config=PARAMS)
    info = client.get_collection("d")
    assert info.status == models.CollectionStatus.GREEN and info.points_count == 0 and info.segments_count == 1
    assert info.config.params.model_dump(exclude_none=True, mode="json") == {
        "vectors": {"size": 4, "distance": "Dot"}, "shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
    hnsw, optimizers = info.config.hnsw_config, info.config.optimizer_config
    assert (hnsw.m, hnsw.ef_construct, hnsw.full_scan_threshold, hnsw.max_indexing_threads, hnsw.on_disk) == (16, 100, 10000, 0, False)
    assert (optimizers.deleted_threshold, optimizers.vacuum_min_vector_number, optimizers.default_segment_number, optimizers.indexing_threshold, optimizers.flush_interval_sec) == (0.2, 1000, 0, 10000, 5)
    assert info.config.quantization_config is None and info.payload_schema == {}


def test_settings_are_echoed_as_they_were_given_and_survive_a_restart(client, shared_node):
    client.create_collection(
        "e", shard_number=2, on_disk_payload=False, metadata={"owner": "me"},
        vectors_config={"a": models.VectorParams(size=8, distance=models.Distance.COSINE, on_disk=True, hnsw_config=models.HnswConfigDiff(m=8)), "b": PARAMS},
        hnsw_config=models.HnswConfigDiff(ef_construct=77),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=123),
        quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.95, always_ram=True)),
    )
    client.create_payload_index("e", "n", models.IntegerIndexParams(type="integer", lookup=True, range=False))
    client.create_payload_index("e", "k", "keyword")
    before = client.get_collection("e")
    vectors = before.config.params.vectors
    assert vectors["a"].hnsw_config.model_dump(exclude_none=True) == {"m": 8} and vectors["a"].on_disk is True and vectors["b"].hnsw_config is None
    assert before.config.hnsw_config.ef_construct == 77 and before.config.optimizer_config.indexing_threshold == 123
    assert before.config.quantization_config.scalar.quantile == pytest.approx(0.95) and before.config.metadata == {"owner": "me"}
    assert before.payload_schema["n"].params.range is False and before.payload_schema["k"].params is None
    shared_node.kill()
    shared_node.start()
    assert client.get_collection("e") == before


def test_update_changes_what_it_names(client):
    client.create_collection("u", vectors_config={"a": PARAMS}, metadata={"x": 1, "y": 2})
    client.update_collection("u", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=55), hnsw_config=models.HnswConfigDiff(m=24), metadata={"x": None, "z": 3},
                             vectors_config={"a": models.VectorParamsDiff(on_disk=True)})
    info = client.get_collection("u")
    assert info.config.optimizer_config.indexing_threshold == 55 and info.config.optimizer_config.deleted_threshold == 0.2
    assert info.config.hnsw_config.m == 24 and info.config.hnsw_config.ef_construct == 100
    assert info.config.metadata == {"y": 2, "z": 3} and info.config.params.vectors["a"].on_disk is True


def test_exists_list_and_delete(client):
    assert client.collection_exists("x") is False
    client.create_collection("x", vectors_config=PARAMS)
    assert client.collection_exists("x") is True
    assert [c.name for c in client.get_collections().collections] == ["x"]
    assert client.delete_collection("x") is True
    assert client.delete_collection("x") is False


def add(collection: str, alias: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))


def test_aliases_reach_the_collection_and_move_at_once(client):
    for name in ("one", "two"):
        client.create_collection(name, vectors_config=PARAMS)
    client.upsert("one", [models.PointStruct(id=1, vector=[1, 2, 3, 4])])
    client.update_collection_aliases([add("one", "current")])
    assert client.count("current").count == 1 and client.collection_exists("current")
    drop = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="current"))
    client.update_collection_aliases([drop, add("two", "current")])
    assert client.count("current").count == 0
    client.update_collection_aliases([models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name="current", new_alias_name="latest"))])
    assert [(a.alias_name, a.collection_name) for a in client.get_aliases().aliases] == [("latest", "two")]
    assert client.delete_collection("latest") is False, "an alias is not deleted as a collection"
    with pytest.raises(Exception, match="409"):
        client.update_collection_aliases([add("two", "one")])
    assert [a.alias_name for a in client.get_collection_aliases("two").aliases] == ["latest"]


def test_vector_names_come_and_go(client, shared_node):
    client.create_collection("v", vectors_config={"a": PARAMS})
    client.upsert("v", [models.PointStruct(id=1, vector={"a": [1, 2, 3, 4]})])

    def put(size):
        return shared_node.request("PUT", "/collections/v/vectors/b", {"dense": {"size": size, "distance": "Euclid"}})[0]

    assert put(3) == 200
    assert put(3) == 200, "the same again changes nothing"
    assert put(5) == 400
    client.update_vectors("v", [models.PointVectors(id=1, vector={"b": [1, 1, 1]})])
    assert client.retrieve("v", [1], with_vectors=True)[0].vector == {"a": [1, 2, 3, 4], "b": [1, 1, 1]}
    assert client.query_points("v", query=[1, 1, 2], using="b").points[0].score == pytest.approx(1)
    assert shared_node.request("DELETE", "/collections/v/vectors/b")[0] == 200
    assert client.retrieve("v", [1], with_vectors=True)[0].vector == {"a": [1, 2, 3, 4]}
    assert set(client.get_collection("v").config.params.vectors) == {"a"}


def test_names_that_a_file_system_would_not_like(client, shared_node):
    body = {"vectors": {"size": 4, "distance": "Dot"}}
    for name in ("a%20b", "x" * 255, "%C3%A4", "CON", "...", "-"):
        assert shared_node.request("PUT", f"/collections/{name}", body)[0] == 200, name
        assert shared_node.request("PUT", f"/collections/{name}/points?wait=true", {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]})[0] == 200, name
    for name in ("a%3Ab", "a%2Fb", "a%00b", "x" * 256, "%2E%2E%2Fup"):
        assert shared_node.request("PUT", f"/collections/{name}", body)[0] in (400, 404, 422), name
    shared_node.kill()
    shared_node.start()
    assert client.count("ä").count == 1 and client.count("a b").count == 1


def test_operation_ids_grow_and_say_completed(client):
    client.create_collection("o", vectors_config=PARAMS)
    first = client.upsert("o", [models.PointStruct(id=1, vector=[1, 2, 3, 4])])
    second = client.upsert("o", [models.PointStruct(id=2, vector=[1, 2, 3, 4])], wait=False)
    assert first.status == models.UpdateStatus.COMPLETED and second.status == models.UpdateStatus.ACKNOWLEDGED
    assert second.operation_id > first.operation_id


@pytest.mark.parametrize("method,path,body", [
    ("PUT", "/vectors/more", {"dense": {"size": 4, "distance": "Dot"}}),
    ("PUT", "/vectors/words", {"sparse": {}}),
    ("DELETE", "/vectors/b", None),
    ("PATCH", "", {"hnsw_config": {"m": 20}}),
    ("PUT", "/index", {"field_name": "k", "field_schema": "keyword"}),
])
def test_what_was_optimized_stays_known_when_settings_and_vectors_change(client, shared_node, method, path, body):
    client.create_collection("t", vectors_config={"a": PARAMS, "b": PARAMS}, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1))
    client.upsert("t", [models.PointStruct(id=i, vector={"a": [i, 1, 2, 3]}) for i in range(500)], wait=True)

    def completed():
        return [done["uuid"] for done in shared_node.request("GET", "/collections/t/optimizations?with=completed")[1]["result"]["completed"]]

    before = wait_until(lambda: shared_node.wait_indexed("t") and completed(), 60, "something was optimized")
    code, answer = shared_node.request(method, f"/collections/t{path}{'?wait=true' if path else ''}", body)
    assert code == 200, answer
    assert set(before) <= set(completed())


def test_first_lines_say_where_and_how(shared_node):
    told = "\n".join(shared_node.log.read_text().splitlines()[:12])
    assert str(shared_node.port) in told and str(shared_node.folder / "storage") in told and "curl" in told, told


def test_what_a_snapshot_seals_is_merged_without_another_write(client):
    """Green comes back by itself: nobody has to write for the optimizer to look again."""
    client.create_collection("s", vectors_config=PARAMS)

    greens = []

    def is_green() -> bool:
        return client.get_collection("s").status == models.CollectionStatus.GREEN

    def rests() -> bool:
        """Green for twenty looks in a row, a second and more: the optimizer has looked too, and found nothing to do."""
        greens.append(is_green())
        return len(greens) >= 20 and all(greens[-20:])

    for first, last in ((0, 1500), (1500, 1900)):
        client.upsert("s", models.Batch(ids=list(range(first, last)), vectors=[[float(i % 97), 1.0, 2.0, 3.0] for i in range(first, last)]), wait=True)
        greens.clear()
        wait_until(rests, 30, "s rests")
    client.create_snapshot("s")
    wait_until(lambda: is_green() and client.get_collection("s").segments_count == 1, 30, "one segment again")
