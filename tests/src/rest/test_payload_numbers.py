"""A payload's numbers are answered as the same numbers, of the same type, whatever was done to the payload and its collection meanwhile."""
import json

import pytest

C, W = "/collections/n", "?wait=true"
FLOATS = [0.1, 0.30000000000000004, 1e-7, 1.2345678901234567, 123456789.12345679, 9007199254740993.0, 1e16, 1e21, 1e22, 1e23, 5e-324,
          2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308, 3.4028234663852886e38, 1.0, -2.5, 100.0]
INTEGERS = [0, -1, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1]
# As other printers write them; the value is what Python reads in the text.
TEXTS = ["1E5", "1e+5", "-0.0", "0.10", "1.5e0", "4.9406564584124654e-324", "123456789012345678901234567890", "0.1000000000000000055511151231257827"]
PAYLOADS = [f'{{"v":{json.dumps(n)},"list":[{json.dumps(n)}],"o":{{"v":{json.dumps(n)}}}}}' for n in FLOATS + INTEGERS]
PAYLOADS += [f'{{"v":{t},"list":[{t}],"o":{{"v":{t}}}}}' for t in TEXTS]


def shown(payload: dict) -> str:
    """Values and types: 1 is not 1.0, and 0.0 is not -0.0. What no integer of 64 bits can hold is a float."""
    def one(value):
        if isinstance(value, dict):
            return {key: one(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [one(inner) for inner in value]
        return value if isinstance(value, float) or -(2**63) <= value < 2**64 else float(value)

    return repr(one(payload))


EXPECTED = {i: shown(json.loads(text)) for i, text in enumerate(PAYLOADS)}


def body_of_points() -> bytes:
    points = ",".join(f'{{"id":{i},"vector":[1,2],"payload":{text}}}' for i, text in enumerate(PAYLOADS))
    return f'{{"points":[{points}]}}'.encode()


def ask(node, method, path, body=None):
    code, answer = node.request(method, path, body)
    assert code == 200, answer
    return answer["result"]


def check(node, collection=C, **wanted):
    """Every call that answers payloads answers the numbers that were sent."""
    ids, everything = list(EXPECTED), {"limit": 1000, "with_payload": True, **wanted}
    answers = {
        "scroll": ask(node, "POST", f"{collection}/points/scroll", everything)["points"],
        "retrieve": ask(node, "POST", f"{collection}/points", {"ids": ids, **everything}),
        "query": ask(node, "POST", f"{collection}/points/query", {"query": [1, 1], **everything})["points"],
        "search": ask(node, "POST", f"{collection}/points/search", {"vector": [1, 1], **everything}),
    }
    for call, points in answers.items():
        assert {p["id"]: shown(p["payload"]) for p in points} == EXPECTED, call
    if not wanted:
        assert {i: shown(ask(node, "GET", f"{collection}/points/{i}")["payload"]) for i in ids} == EXPECTED


@pytest.fixture
def filled(node):
    ask(node, "PUT", C, {"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 2})
    return node


def test_numbers_survive_an_upsert_a_restart_and_a_snapshot(filled):
    ask(filled, "PUT", f"{C}/points{W}", body_of_points())
    check(filled)
    # A part of a payload is printed anew.
    check(filled, with_payload=["v", "list", "o"])
    check(filled, with_payload={"exclude": ["nothing"]})
    filled.kill()
    filled.start()
    check(filled)
    made = ask(filled, "POST", f"{C}/snapshots{W}")
    tar = filled.request("GET", f"{C}/snapshots/{made['name']}", decode=False)[1]
    form = b'--x\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n' + tar + b"\r\n--x--\r\n"
    code, answer = filled.request("POST", f"/collections/copy/snapshots/upload{W}", form, {"Content-Type": "multipart/form-data; boundary=x"})
    assert code == 200, answer
    check(filled, "/collections/copy")
    # The snapshot sealed what was in memory: these are read from files.
    check(filled)


@pytest.mark.parametrize("method", ["POST", "PUT"], ids=["set", "overwrite"])
def test_numbers_survive_a_change_of_the_payload(filled, method):
    points = ",".join(f'{{"id":{i},"vector":[1,2],"payload":{{}}}}' for i in EXPECTED)
    ask(filled, "PUT", f"{C}/points{W}", f'{{"points":[{points}]}}'.encode())
    for i, text in enumerate(PAYLOADS):
        ask(filled, method, f"{C}/points/payload{W}", f'{{"payload":{text},"points":[{i}]}}'.encode())
    check(filled)
    # What is beside a changed key stays as it was.
    ask(filled, "POST", f"{C}/points/payload{W}", {"payload": {"more": 1}, "filter": {}})
    ask(filled, "POST", f"{C}/points/payload/delete{W}", {"keys": ["more"], "filter": {}})
    check(filled)
    filled.kill()
    filled.start()
    check(filled)


@pytest.mark.parametrize("kind,numbers", [("float", FLOATS), ("integer", [n for n in INTEGERS if -(2**63) <= n < 2**63])])
def test_numbers_are_found_by_their_exact_value(filled, kind, numbers):
    ask(filled, "PUT", f"{C}/points{W}", body_of_points())
    for indexed in (False, True):
        if indexed:
            ask(filled, "PUT", f"{C}/index{W}", {"field_name": "v", "field_schema": kind})
        for number in numbers:
            exactly = {"range": {"gte": number, "lte": number}} if kind == "float" else {"match": {"value": number}}
            found = ask(filled, "POST", f"{C}/points/scroll", {"filter": {"must": [{"key": "v", **exactly}]}, "limit": 100})["points"]
            assert number in [p["payload"]["v"] for p in found], (number, indexed)
            if kind == "integer":
                assert [p["payload"]["v"] for p in found] == [number], (number, indexed)
