"""Tokens over the wire: signed here with the standard library alone, as anybody could. Every route with every kind of token is tested in
`node/src/rest/access_tests.rs`."""
import base64
import hashlib
import hmac
import json
import socket
import time

import pytest
from harness.node import Node
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse
from qdrant_client.models import PointStruct, PayloadSchemaType

KEY = "a-key-that-nobody-guesses"
MASTER = {"api-key": KEY}
FREE = {("GET", path) for path in ("/", "/healthz", "/livez", "/readyz")}


def signed(claims: dict, key: str = KEY, algorithm: str = "HS256") -> str:
    def part(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    head = part(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()) + "." + part(json.dumps(claims).encode())
    return head + "." + part(hmac.digest(key.encode(), head.encode(), hashlib.sha256))


def bearer(claims: dict, **how) -> dict:
    return {"Authorization": f"Bearer {signed(claims, **how)}"}


def grant(collection: str, access: str, **more) -> dict:
    return {"access": [{"collection": collection, "access": access, **more}]}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    settings = {"API_KEY": KEY, "ALT_API_KEY": "the-next-key", "READ_ONLY_API_KEY": "a-readers-key", "JWT_RBAC": "true"}
    node = Node(tmp_path_factory.mktemp("tokens") / "node", {f"QUIVER__SERVICE__{k}": v for k, v in settings.items()}).start()
    for name in "cd":
        assert node.request("PUT", f"/collections/{name}", {"vectors": {"size": 2, "distance": "Dot"}}, MASTER)[0] == 200
        assert node.request("PUT", f"/collections/{name}/points?wait=true", {"points": [{"id": 1, "vector": [1, 0]}]}, MASTER)[0] == 200
    yield node
    node.kill()


def test_nothing_but_the_probes_is_answered_without_a_key(node):
    code, document = node.request("GET", "/openapi.json", headers=MASTER)
    assert code == 200
    for path, methods in document["paths"].items():
        for method in map(str.upper, methods):
            code, text = node.request(method, path.replace("{", "").replace("}", ""))
            expected = (200, None) if (method, path) in FREE else (401, "Must provide an API key or an Authorization bearer token")
            assert (code, text if code == 401 else None) == expected, (method, path)


@pytest.mark.parametrize(
    "headers, expected",
    [
        (bearer({"access": "r"}), (200, None)),
        ({"api-key": signed({"access": "m"})}, (200, None)),
        (bearer({}, key="the-next-key"), (200, None)),
        (bearer({"access": "r", "exp": int(time.time()) + 3600}), (200, None)),
        (bearer({"access": "r", "exp": 1}), (403, "ExpiredSignature")),
        (bearer({"access": "r"}, key="a-readers-key"), (403, "InvalidSignature")),
        (bearer({"access": "m"}, algorithm="none"), (401, "Invalid API key or JWT")),
        (bearer({"access": "m"}, algorithm="HS384"), (401, "Invalid API key or JWT")),
        # Not understood with the key that signed it, and no signature of the other: the protocol tells of the signature.
        (bearer({"access": "rw"}), (403, "InvalidSignature")),
        (bearer(grant("c", "r", payload={"user": 1})), (401, "access[0].payload: The 'payload' constraint is deprecated and should not be used")),
    ],
)
def test_what_counts_as_a_token(node, headers, expected):
    code, text = node.request("GET", "/collections", headers=headers)
    assert (code, None if code == 200 else text) == expected


def check(node, claims, method, path, body, expected):
    """`expected` is 200, or the text of a 403."""
    code, answer = node.request(method, path, body, bearer(claims))
    assert (200 if code == 200 else answer["status"]["error"].removeprefix("Forbidden: ")) == expected, (claims, method, path, code)


def test_frequent_calls_need_the_same_rights_as_all_others(node):
    read, write = {"query": [1, 0]}, {"points": [{"id": 2, "vector": [0, 1]}]}
    for access in ("r", "rw", "prw"):
        check(node, grant("c", access), "POST", "/collections/c/points/query", read, 200)
        check(node, grant("c", access), "GET", "/collections/c/points/1", None, 200)
        check(node, grant("c", access), "POST", "/collections/d/points/query", read, "Access to collection d is required")
        check(node, grant("c", access), "PUT", "/collections/d/points", write, "Access to collection d is required")
    check(node, grant("c", "r"), "PUT", "/collections/c/points", write, "Write access to collection c is required")
    check(node, grant("c", "prw"), "PUT", "/collections/c/points", write, 200)
    check(node, {"access": "r"}, "PUT", "/collections/c/points", write, "Global manage access is required")
    lookup = {"query": 1, "lookup_from": {"collection": "d"}}
    check(node, grant("c", "rw"), "POST", "/collections/c/points/query", lookup, "Access to collection d is required")
    check(node, grant("c", "rw"), "POST", "/collections/c/points/query/batch", {"searches": [lookup]}, "Access to collection d is required")
    both = {"access": [{"collection": name, "access": "r"} for name in "cd"]}
    check(node, both, "POST", "/collections/c/points/query", lookup, 200)


def test_an_upload_is_refused_before_its_body_is_sent(node):
    head = f"POST /collections/c/snapshots/upload HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer(grant('c', 'rw'))['Authorization']}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", node.port), timeout=30) as s:
        s.sendall(head.encode())
        assert s.recv(1 << 16).startswith(b"HTTP/1.1 403 ")


def test_a_token_that_depends_on_a_point_ends_with_it(node):
    assert node.request("PUT", "/collections/tokens", {}, MASTER)[0] == 200
    claims = {"access": "r", "value_exists": {"collection": "tokens", "matches": [{"key": "id", "value": "t1"}]}}
    ask = {"query": [1, 0]}
    assert node.request("POST", "/collections/c/points/query", ask, bearer(claims)) == (401, "Invalid JWT, stateful validation failed")
    point = {"points": [{"id": 7, "vectors": {}, "payload": {"id": "t1"}}]}
    assert node.request("PUT", "/collections/tokens/points?wait=true", point, MASTER)[0] == 200
    assert node.request("POST", "/collections/c/points/query", ask, bearer(claims))[0] == 200
    assert node.request("POST", "/collections/tokens/points/delete?wait=true", {"points": [7]}, MASTER)[0] == 200
    assert node.request("POST", "/collections/c/points/query", ask, bearer(claims))[0] == 401
    claims["value_exists"]["collection"] = "missing"
    assert node.request("GET", "/collections", headers=bearer(claims)) == (403, "Invalid JWT, stateful validation failed")


def test_the_client_works_with_a_token(node):
    client = QdrantClient(node.url, api_key=signed(grant("c", "prw")), check_compatibility=False)
    client.upsert("c", [PointStruct(id=5, vector=[1, 1])])
    assert client.query_points("c", query=[1.0, 1.0], limit=1).points[0].id == 5
    assert [c.name for c in client.get_collections().collections] == ["c"]
    with pytest.raises(UnexpectedResponse, match="Only points access is allowed for collection c"):
        client.create_payload_index("c", "k", PayloadSchemaType.KEYWORD)


def test_refusals_are_counted_and_no_key_is_logged(node):
    wrong, token = "no-key-of-this-node", signed({"access": "r"})
    assert node.request("GET", "/collections", headers={"api-key": wrong})[0] == 401
    assert node.request("DELETE", "/issues", headers={"api-key": token})[0] == 403
    text = node.request("GET", "/metrics", headers=MASTER)[1]
    counts = {reason: float(text.split(f'quiver_auth_refused_total{{reason="{reason}"}} ')[1].split()[0]) for reason in ("credentials", "rights")}
    assert all(n >= 1 for n in counts.values()), counts
    log = node.log.read_text()
    assert not [secret for secret in (KEY, "the-next-key", "a-readers-key", wrong, token) if secret in log]
