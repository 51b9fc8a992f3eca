"""Snapshots of shards and of the whole storage, as clients see them; and that a node which is killed while it recovers a shard has the old
one or the new one."""
import hashlib
import io
import json
import re
import subprocess
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from harness import cache
from harness.node import Node, wait_until

SHARD = "/collections/c/shards/1"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.fixture
def start(tmp_path):
    nodes = []

    def made(folder):
        nodes.append(Node(tmp_path / folder))
        return nodes[-1]

    def started(folder="node"):
        return made(folder).start()

    started.made = made
    yield started
    for node in nodes:
        node.kill()


def ask(node, method, path, body=None, headers=None):
    code, answer = node.request(method, path, body, headers)
    assert code == 200, answer
    return answer["result"]


def create(node, name="c", points=40):
    ask(node, "PUT", f"/collections/{name}", {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2})
    if points:
        fill(node, name, range(points), "old")


def fill(node, name, ids, word):
    ask(node, "PUT", f"/collections/{name}/points?wait=true", {"points": [{"id": i, "vector": [i, 1, 2, 3], "payload": {"w": word}} for i in ids]})


def contents(node, name="c"):
    points = ask(node, "POST", f"/collections/{name}/points/scroll", {"limit": 10_000})["points"]
    return {p["id"]: p["payload"]["w"] for p in points}


def form(tar: bytes) -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n' + tar + b"\r\n--x--\r\n"


def test_a_shard_moves_to_another_node_as_a_file(start):
    node, other = start(), start("other")
    create(node)
    made = ask(node, "POST", f"{SHARD}/snapshots?wait=true")
    raw = node.request("GET", f"{SHARD}/snapshots/{made['name']}", decode=False)[1]
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (made["size"], made["checksum"])
    assert ask(node, "GET", f"{SHARD}/snapshots") == [made]
    create(other, points=0)
    assert ask(other, "POST", f"{SHARD}/snapshots/upload?wait=true&priority=snapshot&checksum={made['checksum']}", form(raw), FORM) is True
    moved = contents(other)
    streamed = node.request("GET", "/collections/c/shards/0/snapshot", decode=False)[1]
    assert ask(other, "POST", "/collections/c/shards/0/snapshots/upload", form(streamed), FORM) is True
    assert 0 < len(moved) < 40 and contents(other) == contents(node)
    assert ask(node, "DELETE", f"{SHARD}/snapshots/{made['name']}") is True
    assert ask(node, "GET", f"{SHARD}/snapshots") == []


def kept(node, path) -> Path:
    """Where the node keeps the snapshot that is downloaded there."""
    found = (node.folder / "snapshots").rglob(path.rsplit("/", 1)[-1])
    # A snapshot of the storage may hold one of the same name.
    return min(found, key=lambda at: len(at.parts))


def download(node, path, **headers):
    """Code, headers and bytes of a download."""
    try:
        with urllib.request.urlopen(urllib.request.Request(node.url + path, headers=headers)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_a_download_goes_on_where_it_ended(start):
    node = start()
    create(node, points=3000)
    paths = [f"{at}/snapshots/{ask(node, 'POST', f'{at}/snapshots')['name']}" for at in ("/collections/c", SHARD, "")]
    code, headers, whole = download(node, paths[0])
    (kept(node, paths[0]).parent / "single.snapshot").write_bytes(whole)
    for path in [*paths, "/collections/c/snapshots/single.snapshot"]:
        code, headers, whole = download(node, path)
        tag, size = headers["ETag"], len(whole)
        assert (code, headers["Accept-Ranges"], headers["Content-Length"]) == (200, "bytes", str(size))
        for asked, of in [("1000-", (1000, size)), ("0-0", (0, 1)), ("-700", (size - 700, size)), (f"5-{size * 2}", (5, size))]:
            code, headers, part = download(node, path, Range=f"bytes={asked}")
            assert (code, headers["Content-Range"], headers["ETag"]) == (206, f"bytes {of[0]}-{of[1] - 1}/{size}", tag)
            assert (part, headers["Content-Length"]) == (whole[of[0]:of[1]], str(of[1] - of[0]))
        code, headers, part = download(node, path, Range=f"bytes={size}-")
        assert (code, headers["Content-Range"], part) == (416, f"bytes */{size}", b"")
        assert download(node, path, **{"Range": "bytes=9-", "If-Range": '"another"'})[2] == whole
        assert download(node, path, **{"Range": "bytes=9-", "If-Range": tag})[2] == whole[9:]
        begun = node.folder / "begun"
        begun.write_bytes(whole[:12_345])
        cache.debian({"curl": "curl"})
        subprocess.run(["curl", "-sf", "-C", "-", "-o", begun, node.url + path], check=True)
        assert begun.read_bytes() == whole
    # It is made anew by each request, so no part of it fits to another.
    code, headers, _ = download(node, f"{SHARD}/snapshot", Range="bytes=5-")
    assert (code, headers["Accept-Ranges"], headers["Content-Range"]) == (200, None, None)


@pytest.mark.parametrize("spelled", [str.lower, str.upper])
def test_a_snapshot_lies_where_its_collection_and_name_say(start, spelled):
    """As clients of the protocol have it in their scripts: `<snapshots>/<collection>/<name>`."""
    node = start()
    create(node)
    made = ask(node, "POST", "/collections/c/snapshots")
    place = {"location": f"file://{node.folder}/snapshots/c/{made['name']}", "checksum": spelled(made["checksum"])}
    assert ask(node, "PUT", "/collections/again/snapshots/recover", place) is True
    assert contents(node, "again") == contents(node)
    for other in (f"c/../c/{made['name']}x", "c/none.snapshot", f"none/{made['name']}"):
        code, _ = node.request("PUT", "/collections/other/snapshots/recover", {"location": f"file://{node.folder}/snapshots/{other}"})
        assert code in (400, 403), other


def test_a_node_starts_with_the_snapshots_that_its_command_line_names(start, tmp_path):
    node = start()
    for name in ("c", "d"):
        create(node, name)
    ask(node, "POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "c", "alias_name": "al"}}]})
    full = kept(node, ask(node, "POST", "/snapshots")["name"])
    one = kept(node, ask(node, "POST", "/collections/c/snapshots")["name"])
    files = {tmp_path / "full.tar": f"/snapshots/{full.name}", tmp_path / "one.tar": f"/collections/c/snapshots/{one.name}"}
    for file, path in files.items():
        file.write_bytes(node.request("GET", path, decode=False)[1])
    (tmp_path / "cut.tar").write_bytes((tmp_path / "full.tar").read_bytes()[:-3000])
    whole = {name: contents(node) for name in ("al", "c", "d")}
    for i, (args, expected) in enumerate([
        (["--storage-snapshot", str(tmp_path / "full.tar")], whole),
        (["--storage-snapshot", str(full)], whole),
        (["--snapshot", f"{tmp_path / 'one.tar'}:e", "--collection-snapshot", f"{one}:f"], {"e": contents(node), "f": contents(node)}),
    ]):
        other = start.made(f"other{i}")
        other.args = args
        other.start()
        assert {name: contents(other, name) for name in expected} == expected
        assert sorted(c["name"] for c in ask(other, "GET", "/collections")["collections"]) == sorted(expected.keys() - {"al"})
        fill(other, min(expected.keys() - {"al"}), range(100), "new")
        other.stop()
        with pytest.raises(RuntimeError, match="exists: --force-snapshot replaces it"):
            other.start()
        other.args = []
        other.start()
        assert len(contents(other, min(expected.keys() - {"al"}))) == 100, "what was refused changed nothing"
        other.stop()
        other.args = [*args, "-f"]
        other.start()
        assert {name: contents(other, name) for name in expected} == expected
    for args, text in [
        (["--snapshot", str(one)], "it has to be PATH:NAME"),
        (["--snapshot", f"{one}:a/b"], "the collection `a/b`"),
        (["--snapshot", f"{tmp_path / 'none'}:a"], "recovering the collection `a`"),
        (["--storage-snapshot", str(tmp_path / "cut.tar")], "--storage-snapshot "),
        (["--storage-snapshot", str(tmp_path / "one.tar")], "--storage-snapshot "),
        (["--storage-snapshot", str(full), "--snapshot", f"{one}:e"], "cannot be used with"),
    ]:
        other = start.made("refused")
        other.args = args
        with pytest.raises(RuntimeError, match=re.escape(text)):
            other.start()


def test_what_nobody_waits_for_is_done_all_the_same(start):
    node = start()
    create(node)
    for path in (f"{SHARD}/snapshots", "/snapshots"):
        assert node.request("POST", f"{path}?wait=false")[0] == 202
        made = wait_until(lambda at=path: ask(node, "GET", at), 30, "the snapshot is there")
        assert node.request("DELETE", f"{path}/{made[0]['name']}?wait=false")[0] == 202
        wait_until(lambda at=path: ask(node, "GET", at) == [], 30, "the snapshot is gone")


def test_a_snapshot_of_the_storage_is_one_of_each_collection(start):
    node, other = start(), start("other")
    for name in ("c", "d"):
        create(node, name)
    made = ask(node, "POST", "/snapshots?wait=true")
    raw = node.request("GET", f"/snapshots/{made['name']}", decode=False)[1]
    assert (len(raw), hashlib.sha256(raw).hexdigest()) == (made["size"], made["checksum"])
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        config = json.load(tar.extractfile("config.json"))
        for name, snapshot in config["collections_mapping"].items():
            one = tar.extractfile(snapshot).read()
            assert ask(other, "POST", f"/collections/{name}/snapshots/upload?wait=true", form(one), FORM) is True
            assert contents(other, name) == contents(node, name)
    node.stop()
    node.start()
    assert ask(node, "GET", "/snapshots") == [made]


def test_rights_of_a_reader(tmp_path):
    node = Node(tmp_path / "node", {"QUIVER__SERVICE__API_KEY": "master", "QUIVER__SERVICE__READ_ONLY_API_KEY": "reader"}).start()
    try:
        master, reader = {"api-key": "master"}, {"api-key": "reader"}
        ask(node, "PUT", "/collections/c", {"vectors": {"size": 4, "distance": "Dot"}}, master)
        for path in ("/collections/c/shards/0/snapshots", "/snapshots"):
            made = ask(node, "POST", path, None, master)
            assert ask(node, "GET", path, None, reader) == [made]
            assert node.request("GET", f"{path}/{made['name']}", None, reader, decode=False)[0] == 200
            for method, at in (("POST", path), ("DELETE", f"{path}/{made['name']}")):
                assert node.request(method, at, None, reader)[0] == 403
        for method, at in (("PUT", "recover"), ("POST", "upload")):
            assert node.request(method, f"/collections/c/shards/0/snapshots/{at}", {"location": "x"}, reader)[0] == 403
    finally:
        node.kill()


# What can be seen of a recovery from outside, in its order: before it, the copy's folder, the definition that names it, the old folder's end.
MOMENTS = {
    "begun": lambda shards, before: True,
    "a copy is there": lambda shards, before: folders(shards) != before[0],
    "the definition is written": lambda shards, before: definition(shards) != before[1],
    "the old folder goes": lambda shards, before: not before[0] <= folders(shards),
}


def folders(shards):
    return {p.name for p in shards.iterdir()}


def definition(shards):
    return (shards.parent / "collection.json").read_bytes()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_node_killed_during_a_recovery_has_the_old_shard_or_the_new_one(start, moment):
    node = start()
    create(node, points=2000)
    old = ask(node, "POST", f"{SHARD}/snapshots")["name"]
    fill(node, "c", range(2000), "new")
    new = ask(node, "POST", f"{SHARD}/snapshots")["name"]
    ask(node, "PUT", f"{SHARD}/snapshots/recover", {"location": old})
    of_the_shard = {i for i, word in contents(node).items() if word == "old"}
    assert 0 < len(of_the_shard) < 2000
    [collection] = (node.folder / "storage/collections").iterdir()
    shards = collection / "shards"
    for snapshot in (new, old, new, old):
        before = folders(shards), definition(shards)
        asked = threading.Thread(target=quietly, args=(node, snapshot))
        asked.start()
        wait_until(lambda b=before: MOMENTS[moment](shards, b) or not asked.is_alive(), 60, moment, 0)
        node.kill()
        asked.join()
        node.start()
        found = contents(node)
        assert len(found) == 2000 and {i for i, word in found.items() if word == "old"} in (set(), of_the_shard)
        assert len(folders(shards)) == 2, "what is not named is removed at the start"


def quietly(node, snapshot):
    try:
        node.request("PUT", f"{SHARD}/snapshots/recover?wait=true", {"location": snapshot})
    except OSError:
        pass
