"""Collections on their way between nodes and files: `quiver-node migrate`, `dump` and `load`."""
import json
import os
import random
import socket
import subprocess
import threading
import uuid

import pytest
from harness.node import Node, wait_until

UNNAMED = {
    "vectors": {"size": 8, "distance": "Cosine"},
    "hnsw_config": {"m": 24},
    "optimizers_config": {"indexing_threshold": 5000},
    "quantization_config": {"scalar": {"type": "int8", "always_ram": True}},
    "metadata": {"owner": "Zoë", "nothing": None},
    "shard_number": 2,
}
NAMED = {"vectors": {"title": {"size": 4, "distance": "Dot"}, "text body": {"size": 8, "distance": "Cosine", "on_disk": True}}}
INDEXES = {"city": "keyword", "n": {"type": "integer", "lookup": True, "range": True}, "words": {"type": "text", "tokenizer": "word", "min_token_len": 2}}


@pytest.fixture
def two(tmp_path):
    nodes = [Node(tmp_path / name).start() for name in ("old", "new")]
    yield nodes
    for node in nodes:
        node.kill()


def good(node, method, path, body=None):
    code, answer = node.request(method, path, body)
    assert code == 200, (path, answer)
    return answer["result"]


def run(tmp_path, *words, **more):
    return subprocess.run([os.environ["QUIVER_NODE"], *map(str, words)], cwd=tmp_path, capture_output=True, text=True, timeout=300, **more)


def succeeded(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def vector(draw, size):
    return [draw.uniform(-1, 1) for _ in range(size)]


def payload(draw, i):
    some = {"n": i, "city": draw.choice(["Köln", "東京", "New \"York\"\n", ""]), "words": "a few words of text", "nothing": None, "deep": {"a": [1, None, {"b": 2.5}]}, "emoji 🏹": True, "large": 2**63}
    return [some, None, {}, {"n": i}][draw.randrange(4) if i % 5 == 0 else 0]


def fill(node, points=3000):
    draw = random.Random(7)
    good(node, "PUT", "/collections/plain", UNNAMED)
    good(node, "PUT", "/collections/na%20med%C3%BC", NAMED)
    for name in ("plain", "na%20med%C3%BC"):
        for field, schema in INDEXES.items():
            good(node, "PUT", f"/collections/{name}/index?wait=true", {"field_name": field, "field_schema": schema})
        for start in range(0, points, 500):
            made = []
            for i in range(start, start + 500):
                one = vector(draw, 8) if name == "plain" else {n: v for n, v in (("title", vector(draw, 4)), ("text body", vector(draw, 8))) if draw.random() < 0.8}
                made.append({"id": str(uuid.UUID(int=draw.getrandbits(128), version=4)) if i % 2 else i, "vector": one, "payload": payload(draw, i)})
            good(node, "PUT", f"/collections/{name}/points?wait=true", {"points": made})
    good(node, "POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "plain", "alias_name": a}} for a in ("live", "tagesaktuell ü")]})


def everything(node, collection):
    """(settings, indexes, aliases, points by id), as comparable as possible."""
    info = good(node, "GET", f"/collections/{collection}")
    points, offset = {}, None
    while True:
        page = good(node, "POST", f"/collections/{collection}/points/scroll", {"limit": 1000, "with_vector": True, **({"offset": offset} if offset is not None else {})})
        points |= {p["id"]: (p.get("payload") or {}, rounded(p["vector"])) for p in page["points"]}
        if (offset := page["next_page_offset"]) is None:
            break
    aliases = sorted(a["alias_name"] for a in good(node, "GET", f"/collections/{collection}/aliases")["aliases"])
    # Points of an index are counted with replaced ones until those are removed: how many of these there are is chance.
    indexes = {field: {k: v for k, v in index.items() if k != "points"} for field, index in info["payload_schema"].items()}
    return info["config"], indexes, aliases, points


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [round(v, 5) + 0.0 for v in value]


def check_same(old, new, collection, renamed=None, aliases=True):
    before, after = everything(old, collection), everything(new, renamed or collection)
    for what, a, b in zip(("settings", "indexes", "aliases", "points"), before, after):
        if what != "aliases" or aliases:
            assert a == b, what


def test_migration_copies_everything(two, tmp_path):
    old, new = two
    fill(old)
    said = succeeded(run(tmp_path, "migrate", "--from", old.url, "--to", new.url))
    assert said.count("3000 points copied") == 2, said
    for name in ("plain", "na%20med%C3%BC"):
        check_same(old, new, name)
    # Again: nothing is copied twice, everything is compared once more.
    said = succeeded(run(tmp_path, "migrate", "--from", old.url, "--to", new.url))
    assert said.count("going on after 3000 points") == 2, said
    # What has come to differ is found.
    point = good(new, "POST", "/collections/plain/points/scroll", {"limit": 1})["points"][0]
    good(new, "PUT", "/collections/plain/points/payload?wait=true", {"points": [point["id"]], "payload": {"n": -1}})
    done = run(tmp_path, "migrate", "--from", old.url, "--to", new.url, "--collection", "plain")
    assert done.returncode != 0 and f"point {point['id']}: " in done.stderr and "of the payload differs" in done.stderr, done.stderr
    good(new, "POST", "/collections/plain/points/delete?wait=true", {"points": [point["id"]]})
    done = run(tmp_path, "migrate", "--from", old.url, "--to", new.url, "--collection", "plain")
    assert done.returncode != 0 and "the source has 3000 points, the copy 2999" in done.stderr, done.stderr


class Slow:
    """Passes bytes on to a node, until a number of upserts has been seen; then no more, and the event is set."""

    def __init__(self, node, upserts):
        self.node, self.left, self.reached = node, upserts, threading.Event()
        self.lock, self.listener = threading.Lock(), socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self.node.port))
            threading.Thread(target=self.pump, args=(here, there, True), daemon=True).start()
            threading.Thread(target=self.pump, args=(there, here, False), daemon=True).start()

    def pump(self, source, target, counted):
        try:
            while data := source.recv(1 << 16):
                if counted and data.startswith(b"PUT ") and b"/points?" in data[:200]:
                    with self.lock:
                        self.left -= 1
                        if self.left < 0:
                            self.reached.set()
                            return
                target.sendall(data)
        except OSError:
            pass


def test_killed_migration_goes_on(two, tmp_path):
    old, new = two
    fill(old)
    slow = Slow(new, 3)
    words = ["migrate", "--from", old.url, "--to", slow.url, "--collection", "plain", "--state", "state"]
    process = subprocess.Popen([os.environ["QUIVER_NODE"], *words], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert slow.reached.wait(60)
    state = next(iter((tmp_path / "state").glob("*.json")))
    wait_until(lambda: json.loads(state.read_text())["done"] > 0, 30, "some points are acknowledged")
    process.kill()
    process.wait()
    there = good(new, "POST", "/collections/plain/points/count", {"exact": True})["count"]
    assert 0 < there < 3000
    slow.left = 1 << 30
    said = succeeded(run(tmp_path, *words))
    assert "going on after" in said and "3000 points copied" in said, said
    check_same(old, new, "plain")


def test_refusals_are_sentences(two, tmp_path):
    old, new = two
    fill(old, 500)
    done = run(tmp_path, "migrate", "--from", old.url, "--to", new.url, "--collection", "missing")
    assert done.returncode != 0 and "missing" in done.stderr and "404" in done.stderr, done.stderr
    done = run(tmp_path, "migrate", "--from", old.url, "--to", old.url)
    assert done.returncode != 0 and "the same server" in done.stderr
    good(new, "PUT", "/collections/plain", UNNAMED)
    good(new, "PUT", "/collections/plain/points?wait=true", {"points": [{"id": 1, "vector": [1] * 8}]})
    done = run(tmp_path, "migrate", "--from", old.url, "--to", new.url, "--collection", "plain")
    assert done.returncode != 0 and "already and has points" in done.stderr, done.stderr
    # An alias that leads elsewhere on the target is left there, and said.
    good(new, "DELETE", "/collections/plain")
    good(new, "PUT", "/collections/other", UNNAMED)
    good(new, "POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "other", "alias_name": "live"}}]})
    done = run(tmp_path, "migrate", "--from", old.url, "--to", new.url, "--collection", "plain")
    assert done.returncode != 0 and "the alias `live` stays with `other`" in done.stdout, done.stdout
    assert good(new, "POST", "/collections/plain/points/count", {"exact": True})["count"] == 500


def test_keys_are_sent(tmp_path):
    old, new = (Node(tmp_path / name, {"QUIVER__SERVICE__API_KEY": f"key of {name}"}) for name in ("old", "new"))
    try:
        old.start(), new.start()
        assert old.request("PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}}, {"api-key": "key of old"})[0] == 200
        done = run(tmp_path, "migrate", "--from", old.url, "--to", new.url, "--collection", "c")
        assert done.returncode != 0 and "401" in done.stderr
        succeeded(run(tmp_path, "migrate", "--from", old.url, "--to", new.url, "--api-key", "key of old", env={**os.environ, "QUIVER_TO_API_KEY": "key of new"}))
        assert new.request("GET", "/collections/c", headers={"api-key": "key of new"})[0] == 200
    finally:
        old.kill(), new.kill()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_dump_is_the_collection(two, tmp_path, kind):
    old, new = two
    fill(old)
    for name, words in (("plain", "plain"), ("na%20med%C3%BC", "na medü")):
        file = tmp_path / f"{kind}-{len(words)}.{kind}"
        said = succeeded(run(tmp_path, "dump", "--from", old.url, "--collection", words, "--to", file))
        assert "3000 points in" in said
        assert not list(tmp_path.glob("*.part"))
        said = succeeded(run(tmp_path, "load", "--from", file, "--collection", words, "--to", new.url))
        assert "3000 points loaded" in said
        check_same(old, new, name)


def test_a_load_goes_on_and_a_broken_file_is_refused(two, tmp_path):
    old, new = two
    fill(old, 1000)
    succeeded(run(tmp_path, "dump", "--from", old.url, "--collection", "plain", "--to", "d.jsonl"))
    lines = (tmp_path / "d.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 1001 and json.loads(lines[0])["create"]["vectors"] == UNNAMED["vectors"]
    broken = b"".join([*lines[:700], b"{\n", *lines[700:]])
    (tmp_path / "b.jsonl").write_bytes(broken)
    done = run(tmp_path, "load", "--from", "b.jsonl", "--collection", "plain", "--to", new.url)
    assert done.returncode != 0 and "line 701 is no point" in done.stderr, done.stderr
    done = run(tmp_path, "load", "--from", "d.jsonl", "--collection", "plain", "--to", new.url)
    assert done.returncode != 0 and "remembers a copy from" in done.stderr, done.stderr
    (tmp_path / "n.txt").write_text("no dump")
    done = run(tmp_path, "load", "--from", "n.txt", "--collection", "c", "--to", new.url)
    assert done.returncode != 0 and "should end with .jsonl or .parquet" in done.stderr
