"""Keys, limits, a full disk, settings, reports: what a node does beside the protocol's data calls."""
import json
import os
import subprocess
import threading

import pytest
from harness.node import Node, wait_until

POINT = {"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}
KEYS = {"QUIVER__SERVICE__API_KEY": "master", "QUIVER__SERVICE__READ_ONLY_API_KEY": "reader"}


@pytest.fixture
def start(tmp_path):
    nodes = []

    def started(env=None, folder="node", **options):
        nodes.append(Node(tmp_path / folder, env).start(**options))
        return nodes[-1]

    yield started
    for node in nodes:
        node.kill()


def create(node, name="c", headers=None, **more):
    assert node.request("PUT", f"/collections/{name}", {"vectors": {"size": 4, "distance": "Dot"}, **more}, headers)[0] == 200


def test_keys(start):
    node = start(KEYS)
    master, reader, bearer = {"api-key": "master"}, {"api-key": "reader"}, {"Authorization": "Bearer master"}
    create(node, headers=master)
    assert node.request("GET", "/collections") == (401, "Must provide an API key or an Authorization bearer token")
    assert node.request("GET", "/collections", headers={"api-key": "wrong"}) == (401, "Invalid API key or JWT")
    assert node.request("GET", "/nothing", decode=False)[0] == 401
    assert node.request("GET", "/collections", headers=bearer)[0] == 200
    assert node.request("POST", "/collections/c/points/scroll", {}, reader)[0] == 200
    code, answer = node.request("PUT", "/collections/c/points", POINT, reader)
    assert code == 403 and answer["status"]["error"].startswith("Forbidden: ")
    for path in ("/", "/healthz", "/livez", "/readyz"):
        assert node.request("GET", path)[0] == 200


def test_body_larger_than_allowed(start):
    node = start({"QUIVER__SERVICE__MAX_REQUEST_SIZE_MB": "1"})
    create(node)
    code, answer = node.request("PUT", "/collections/c/points", b'{"points": [' + b" " * (1 << 20) + b"]}")
    assert code == 400
    assert "is larger than allowed (limit: 1048576 bytes)" in answer["status"]["error"]


def test_filter_nested_too_deep_is_refused_and_the_node_lives(start):
    node = start()
    create(node)
    deep = '{"must":[' * 5000 + "]}" * 5000
    code, _ = node.request("POST", "/collections/c/points/scroll", f'{{"filter": {deep}}}'.encode())
    assert code in (400, 422)
    assert node.request("GET", "/healthz")[0] == 200


def test_unindexed_filter_is_reported(start):
    node = start()
    create(node)
    node.request("PUT", "/collections/c/points?wait=true", {"points": [{"id": 1, "vector": [1, 2, 3, 4], "payload": {"city": "Rome"}}]})
    asked = {"query": [1, 2, 3, 4], "filter": {"must": [{"key": "city", "match": {"value": "Rome"}}]}}
    assert len(node.request("POST", "/collections/c/points/query", asked)[1]["result"]["points"]) == 1
    issues = node.request("GET", "/issues")[1]["result"]["issues"]
    assert any("city" in json.dumps(i) and i["related_collection"] == "c" for i in issues), issues
    assert node.request("DELETE", "/issues")[0] == 200
    node.request("PUT", "/collections/c/index?wait=true", {"field_name": "city", "field_schema": "keyword"})
    node.request("POST", "/collections/c/points/query", asked)
    assert not any("city" in json.dumps(i) for i in node.request("GET", "/issues")[1]["result"]["issues"])


def test_metrics_have_the_names_people_know(start):
    node = start()
    create(node)
    node.request("PUT", "/collections/c/points?wait=true", POINT)
    node.request("DELETE", "/collections/c/index/nothing")
    text = node.request("GET", "/metrics")[1]
    for name in ("app_info", "collections_total", "collection_points", "collection_vectors", "rest_responses_total", "rest_responses_duration_seconds_bucket", "memory_resident_bytes"):
        assert f"\n{name}" in "\n" + text, name
    for counter in ("rest_responses_total", "snapshot_created_total", "process_minor_page_faults_total"):
        assert f"\n# TYPE {counter} counter\n" in text and f"\n# HELP {counter} " in text, counter
    assert 'endpoint="/collections/{collection_name}/index/{field_name}"' in text


def test_telemetry_says_what_runs(start):
    node = start()
    create(node)
    result = node.request("GET", "/telemetry?details_level=3")[1]["result"]
    assert result["app"]["version"] and result["collections"]["number_of_collections"] == 1


def test_unknown_setting_is_refused_by_name(tmp_path):
    done = subprocess.run([os.environ["QUIVER_NODE"]], cwd=tmp_path, capture_output=True, text=True, timeout=30, env={**os.environ, "QUIVER__SERVICE__HTTP_PROT": "1"})
    assert done.returncode != 0
    assert "http_prot" in (done.stdout + done.stderr).lower()


def test_second_node_on_the_same_folder_is_refused(start, tmp_path):
    start()
    second = Node(tmp_path / "node")
    second.start(ready=False)
    assert second.process.wait(20) != 0
    assert (tmp_path / "node" / "storage").exists()


def test_polite_stop_loses_nothing_and_ends_with_zero(start, tmp_path):
    node = start()
    create(node)
    for i in range(50):
        node.request("PUT", "/collections/c/points", {"points": [{"id": i, "vector": [1, 2, 3, 4]}]})
    assert node.stop() == 0
    node.start()
    assert node.request("POST", "/collections/c/points/count", {})[1]["result"]["count"] == 50


def test_writes_from_many_connections_are_all_there(start):
    node = start()
    create(node, shard_number=3)
    codes = []

    def write(part):
        for i in range(50):
            codes.append(node.request("PUT", "/collections/c/points?wait=true", {"points": [{"id": part * 1000 + i, "vector": [part, i, 0, 1]}]})[0])

    threads = [threading.Thread(target=write, args=(p,)) for p in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert codes == [200] * 400
    assert node.request("POST", "/collections/c/points/count", {})[1]["result"]["count"] == 400


def test_snapshot_comes_back_as_the_same_collection(start, tmp_path):
    node = start()
    create(node)
    points = [{"id": i, "vector": [i, 1, 2, 3], "payload": {"n": i}} for i in range(300)]
    node.request("PUT", "/collections/c/points?wait=true", {"points": points})
    node.request("PUT", "/collections/c/index?wait=true", {"field_name": "n", "field_schema": "integer"})
    made = node.request("POST", "/collections/c/snapshots?wait=true")[1]["result"]
    node.request("POST", "/collections/c/points/delete?wait=true", {"filter": {}})
    raw = node.request("GET", f"/collections/c/snapshots/{made['name']}", decode=False)[1]
    assert len(raw) == made["size"]
    other = start(folder="other")
    body, boundary = b"", "quiver-boundary"
    body += f'--{boundary}\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode() + raw + f"\r\n--{boundary}--\r\n".encode()
    code, answer = other.request("POST", "/collections/copy/snapshots/upload?priority=snapshot&wait=true", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
    assert code == 200, answer
    got = other.request("POST", "/collections/copy/points/scroll", {"limit": 1000, "with_vector": True})[1]["result"]["points"]
    assert [(p["id"], p["payload"], p["vector"]) for p in got] == [(p["id"], p["payload"], p["vector"]) for p in points]
    assert "n" in other.request("GET", "/collections/copy")[1]["result"]["payload_schema"]
    junk = b'--x\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\njunk\r\n--x--\r\n'
    code, answer = other.request("POST", "/collections/copy/snapshots/upload", junk, {"Content-Type": "multipart/form-data; boundary=x"})
    assert code >= 400 and other.request("POST", "/collections/copy/points/count", {})[1]["result"]["count"] == 300


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place]).returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_full_disk_refuses_writes_keeps_reading_and_recovers(small_disk):
    node = Node(small_disk).start()
    try:
        full_disk(node, small_disk)
    finally:
        node.kill()


def full_disk(node, place):
    dim = 512
    assert node.request("PUT", "/collections/c", {"vectors": {"size": dim, "distance": "Dot"}})[0] == 200
    acknowledged, code, answer = 0, 200, None
    while code == 200 and acknowledged < 100_000:
        points = [{"id": acknowledged + i, "vector": [1.0] * dim} for i in range(100)]
        code, answer = node.request("PUT", "/collections/c/points?wait=true", {"points": points})
        acknowledged += 100 if code == 200 else 0
    assert code == 507, (code, answer)
    assert "disk" in answer["status"]["error"].lower() or "space" in answer["status"]["error"].lower()
    # Reads go on, and nothing that was refused is there.
    assert node.request("POST", "/collections/c/points/count", {"exact": True})[1]["result"]["count"] == acknowledged
    assert node.request("POST", "/collections/c/points/query", {"query": [1.0] * dim, "limit": 3})[0] == 200
    # Room is made from outside; the node writes again without a restart.
    subprocess.run(["mount", "-o", "remount,size=256m", place], check=True)
    point = {"points": [{"id": 10_000_000, "vector": [1.0] * dim}]}
    wait_until(lambda: node.request("PUT", "/collections/c/points?wait=true", point)[0] == 200, 30, "writes are taken again", 0.5)
    node.kill()
    node.start()
    assert node.request("POST", "/collections/c/points/count", {"exact": True})[1]["result"]["count"] == acknowledged + 1
