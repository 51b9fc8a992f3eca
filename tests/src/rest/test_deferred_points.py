"""`prevent_unoptimized`: points beyond the indexing threshold are hidden until they are indexed, and none is lost."""
import random

COLLECTION = "/collections/deferred"
POINTS, DIM = 4000, 4


def upsert(node, first: int, count: int, query: str) -> str:
    drawn = random.Random(first)
    points = [{"id": i, "vector": [drawn.random() for _ in range(DIM)], "payload": {"i": i}} for i in range(first, first + count)]
    status = [node.request("PUT", f"{COLLECTION}/points?{query}", {"points": points[at:at + 200]}) for at in range(0, count, 200)]
    assert all(code == 200 for code, _ in status), status
    return status[-1][1]["result"]["status"]


def result(node, method: str, path: str, body: object = None) -> object:
    code, answer = node.request(method, COLLECTION + path, body)
    assert code == 200, answer
    return answer["result"]


def check(node, visible: int, hidden: int, ids: range):
    """Every kind of read sees the same points."""
    info = result(node, "GET", "")
    assert (info["points_count"], info["update_queue"]["deferred_points"]) == (visible, hidden)
    assert result(node, "POST", "/points/count", {"exact": True})["count"] == visible
    assert result(node, "POST", "/points/count", {"filter": {"must": [{"key": "i", "range": {"gte": 0}}]}})["count"] == visible
    assert len(result(node, "POST", "/points/scroll", {"limit": len(ids)})["points"]) == visible
    assert len(result(node, "POST", "/points", {"ids": list(ids)})) == visible
    assert len(result(node, "POST", "/points/query", {"query": [0.5] * DIM, "limit": len(ids), "params": {"exact": True}})["points"]) == visible


def test_points_are_hidden_until_they_are_indexed(shared_node):
    # 10 kB are 640 vectors of 16 bytes.
    visible = 640
    optimizers = {"indexing_threshold": 10, "max_optimization_threads": 0, "prevent_unoptimized": True}
    body = {"vectors": {"size": DIM, "distance": "Cosine"}, "optimizers_config": optimizers}
    assert shared_node.request("PUT", COLLECTION, body)[0] == 200
    assert result(shared_node, "GET", "")["config"]["optimizer_config"]["prevent_unoptimized"] is True
    assert upsert(shared_node, 0, visible, "wait=true") == "completed"
    check(shared_node, visible, 0, range(visible))
    assert upsert(shared_node, visible, POINTS - visible, "wait=false") == "acknowledged"
    check(shared_node, visible, POINTS - visible, range(POINTS))
    assert upsert(shared_node, POINTS, 1, "wait=true&timeout=1") == "wait_timeout", "nobody optimizes"
    assert shared_node.request("PATCH", COLLECTION, {"optimizers_config": {"max_optimization_threads": 1}})[0] == 200
    assert upsert(shared_node, POINTS + 1, 1, "wait=true") == "completed"
    check(shared_node, POINTS + 2, 0, range(POINTS + 2))
    assert shared_node.request("DELETE", COLLECTION)[0] == 200
