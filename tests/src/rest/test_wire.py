"""What a client does to a connection: slow, large, cut, many, compressed, and names of every kind."""
import gzip
import json
import socket
import zlib

import pytest
from harness.node import Node, wait_until

MEBI = 1 << 20


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A node with little patience."""
    patience = {"HEADER_TIMEOUT_SEC": "1", "REQUEST_TIMEOUT_SEC": "2", "MAX_REQUEST_SIZE_MB": "1", "MAX_CONNECTIONS": "20"}
    node = Node(tmp_path_factory.mktemp("strict"), {f"QUIVER__SERVICE__{key}": value for key, value in patience.items()}).start()
    create(node, "c")
    yield node
    node.kill()


def create(node, name):
    assert node.request("PUT", f"/collections/{name}", {"vectors": {"size": 4, "distance": "Dot"}})[0] == 200


class Wire:
    """A connection by hand."""

    def __init__(self, node):
        self.socket = socket.create_connection(("127.0.0.1", node.port), timeout=30)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def answer(self, has_body=True):
        """(code, headers, body); None if the other side closed the connection."""
        try:
            line = self.file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        headers = {}
        while (header := self.file.readline().strip()):
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers.get("content-length", 0))) if has_body else b""
        return int(line.split()[1]), headers, body


def head(method, path, length=None, **headers):
    lines = [f"{method} {path} HTTP/1.1", "host: x"] + [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"content-length: {length}")
    return "\r\n".join(lines) + "\r\n\r\n"


def test_a_head_that_never_ends_is_not_waited_for(strict):
    with Wire(strict) as wire:
        wire.send("GET /collections HTTP/1.1\r\nhost: x\r\n")
        got = wire.answer()
        assert got is None or got[0] == 408


def test_a_body_that_stops_in_the_middle_is_answered(strict):
    with Wire(strict) as wire:
        wire.send(head("PUT", "/collections/c/points", 1000) + '{"points": [')
        code, _, body = wire.answer()
        assert code == 408
        assert json.loads(body)["status"]["error"] == "Timeout: the body of the request did not arrive within 2s"


def test_a_client_that_goes_away_in_the_middle_of_a_body_harms_nobody(strict):
    with Wire(strict) as wire:
        wire.send(head("PUT", "/collections/c/points", 1000) + '{"points": [')
    assert strict.request("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_body_that_is_too_large_is_answered_though_the_client_sends_it_all(strict, announced):
    size = 24 * MEBI
    with Wire(strict) as wire:
        if announced:
            wire.send(head("PUT", "/collections/c/points", size))
        else:
            wire.send(head("PUT", "/collections/c/points", transfer_encoding="chunked"))
        for _ in range(size // MEBI):
            wire.send(b" " * MEBI if announced else b"100000\r\n" + b" " * MEBI + b"\r\n")
        wire.send(b"" if announced else b"0\r\n\r\n")
        code, _, body = wire.answer()
        text = json.loads(body)["status"]["error"]
        assert code == 400 and "is larger than allowed (limit: 1048576 bytes)" in text, text


def test_a_client_that_asks_first_is_told_before_it_sends(strict):
    with Wire(strict) as wire:
        wire.send(head("PUT", "/collections/c/points", 24 * MEBI, expect="100-continue"))
        assert wire.answer()[0] == 400


def test_a_head_that_is_too_large_is_refused(strict):
    with Wire(strict) as wire:
        wire.send(head("GET", "/collections", padding="x" * 200_000))
        got = wire.answer()
        assert got is None or got[0] == 431


def test_connections_above_the_limit_are_closed_and_places_come_free(strict):
    wires = [Wire(strict) for _ in range(40)]
    answers = []
    for wire in wires:
        try:
            wire.send(head("GET", "/healthz"))
            answers.append(wire.answer())
        except OSError:
            answers.append(None)
    served = [a for a in answers if a]
    assert 1 <= len(served) <= 21 and all(a[0] == 200 for a in served)
    for wire in wires:
        wire.close()

    def answered():
        try:
            return strict.request("GET", "/healthz")[0] == 200
        except OSError:
            return False

    wait_until(answered, 10, "a new connection is served")


def test_requests_that_are_sent_together_are_answered_in_order(shared_node):
    body = json.dumps({"query": [1, 2, 3, 4]})
    with Wire(shared_node) as wire:
        wire.send(head("GET", "/healthz") + head("POST", "/collections/nowhere/points/query", len(body)) + body + head("GET", "/readyz"))
        assert wire.answer()[2] == b"healthz check passed"
        assert wire.answer()[0] == 404
        assert wire.answer()[2] == b"all shards are ready"


def test_what_is_not_http_is_refused(shared_node):
    for junk in (b"\x16\x03\x01\x02\x00\x01\x00", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", head("POST", "/collections/c/points/scroll", -1).encode()):
        with Wire(shared_node) as wire:
            wire.send(junk)
            wire.socket.shutdown(socket.SHUT_WR)
            got = wire.answer()
            assert got is None or got[0] in (400, 404, 505), junk


def test_head_is_get_without_a_body(shared_node):
    create(shared_node, "heads")
    for path, code in (("/collections/heads", 200), ("/collections/nowhere", 404), ("/", 200)):
        with Wire(shared_node) as wire:
            wire.send(head("HEAD", path) + head("GET", "/healthz"))
            got, headers, _ = wire.answer(has_body=False)
            assert got == code and int(headers["content-length"]) > 0
            assert wire.answer()[2] == b"healthz check passed", "nothing stands between two answers"


def test_browsers_of_any_origin_may_call(shared_node):
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "api-key, content-type"}
    with Wire(shared_node) as wire:
        wire.send(head("OPTIONS", "/collections/c/points", **asked))
        code, headers, _ = wire.answer()
        assert code == 200 and headers["access-control-allow-origin"] == "*"
        assert headers["access-control-allow-methods"] == "*" and headers["access-control-allow-headers"] == "*"
        wire.send(head("GET", "/collections", Origin="https://a.example"))
        assert wire.answer()[1]["access-control-allow-origin"] == "*"


def test_large_answers_are_compressed_for_those_who_can_read_it(shared_node):
    create(shared_node, "gz")
    shared_node.request("PUT", "/collections/gz/points?wait=true", {"points": [{"id": i, "vector": [1, 2, 3, 4], "payload": {"text": "again and again " * 5}} for i in range(100)]})
    body = json.dumps({"limit": 100})
    with Wire(shared_node) as wire:
        wire.send(head("POST", "/collections/gz/points/scroll", len(body), accept_encoding="gzip", connection="close") + body)
        _, headers, _ = wire.answer(has_body=False)
        assert headers["content-encoding"] == "gzip"
        raw = wire.file.read()
    chunks, rest = b"", raw
    while rest and (size := int(rest.split(b"\r\n", 1)[0], 16)):
        chunk, rest = rest.split(b"\r\n", 1)[1][:size], rest.split(b"\r\n", 1)[1][size + 2:]
        chunks += chunk
    assert len(json.loads(gzip.decompress(chunks))["result"]["points"]) == 100


def test_an_answer_is_compressed_as_the_client_accepts_it(shared_node):
    create(shared_node, "coded")
    shared_node.request("PUT", "/collections/coded/points?wait=true", {"points": [{"id": i, "vector": [1, 2, 3, 4], "payload": {"text": "again and again " * 20}} for i in range(100)]})
    # A frequent call, and one that is routed.
    calls = {"scroll": {"limit": 100}, "search/groups": {"vector": [1, 2, 3, 4], "group_by": "text", "group_size": 100, "limit": 1, "with_payload": True}}
    for accepted, coding in [("br", "br"), ("zstd", "zstd"), ("gzip, deflate", "gzip"), ("gzip, br;q=0.5", "gzip"), ("identity", None)]:
        for path, body in calls.items():
            with Wire(shared_node) as wire:
                body = json.dumps(body)
                wire.send(head("POST", f"/collections/coded/points/{path}", len(body), accept_encoding=accepted, connection="close") + body)
                code, headers, _ = wire.answer(has_body=False)
                assert (code, headers.get("content-encoding")) == (200, coding), (path, accepted)


@pytest.mark.parametrize("path,body", [("points/query", {"query": [1, 2, 3, 4]}), ("points/delete", {"points": [1]})], ids=["frequent", "routed"])
@pytest.mark.parametrize("coding,compress", [("gzip", gzip.compress), ("deflate", zlib.compress)], ids=["gzip", "deflate"])
def test_compressed_bodies_are_read(shared_node, coding, compress, path, body):
    create(shared_node, f"z-{coding}-{path[7]}")
    at, headers = f"/collections/z-{coding}-{path[7]}/{path}", {"Content-Encoding": coding}
    code, answer = shared_node.request("POST", at, compress(json.dumps(body).encode()), headers)
    assert code == 200, answer
    code, answer = shared_node.request("POST", at, json.dumps(body).encode(), headers)
    assert code == 400 and answer["status"]["error"].startswith("Format error in JSON body: "), answer
    # What is small on the wire and too large for the node.
    code, answer = shared_node.request("POST", at, compress(b" " * (33 << 20)), headers)
    assert code == 400 and "is larger than allowed (limit: 33554432 bytes)" in answer["status"]["error"], answer


@pytest.mark.parametrize("path", ["/collections/", "//collections", "/collections/%67z/", "/collections/gz///"])
def test_slashes_and_escapes(shared_node, path):
    assert shared_node.request("GET", path)[0] == 200


def test_a_snapshot_of_many_megabytes_is_taken_in(shared_node):
    """Larger than any limit of a body that is read into memory by itself."""
    shared_node.request("PUT", "/collections/big", {"vectors": {"size": 1024, "distance": "Dot"}})
    for start in range(0, 2000, 500):
        points = [{"id": start + i, "vector": [float(start + i)] * 1024} for i in range(500)]
        assert shared_node.request("PUT", "/collections/big/points?wait=true", {"points": points})[0] == 200
    made = shared_node.request("POST", "/collections/big/snapshots")[1]["result"]
    raw = shared_node.request("GET", f"/collections/big/snapshots/{made['name']}", decode=False)[1]
    assert len(raw) > 4 * MEBI
    body = b'--x\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n' + raw + b"\r\n--x--\r\n"
    code, answer = shared_node.request("POST", "/collections/copy/snapshots/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})
    assert code == 200, answer
    assert shared_node.request("POST", "/collections/copy/points/count", {})[1]["result"]["count"] == 2000


def test_a_collection_that_was_gone_does_not_come_back(shared_node):
    """Also if the client that deleted it did not wait for the answer."""
    names = [f"gone{i}" for i in range(10)]
    for name in names:
        create(shared_node, name)
    for name in names:
        with Wire(shared_node) as wire:
            wire.send(head("DELETE", f"/collections/{name}"))

    def there():
        return {c["name"] for c in shared_node.request("GET", "/collections")[1]["result"]["collections"]} & set(names)

    before = there()
    shared_node.stop()
    shared_node.start()
    assert there() <= before
