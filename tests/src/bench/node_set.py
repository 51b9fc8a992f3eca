"""A node set on this machine: one shard with a copy on each of several nodes, and its record in a file that they share. The
operator's part is done here: the schema is put, copies are placed and listed. Everything goes over loopback."""
import fcntl
import json
import urllib.request
import uuid
from pathlib import Path

from harness.node import Node, free_port, wait_until

COLLECTION, ALL = "docs", {"first": "0" * 16, "last": "f" * 16}
COPY_SECONDS = 60


class NodeSet:
    """`copies` nodes in a folder of their own, each with a copy; the first one leads."""

    def __init__(self, folder: Path, copies: int, schema: dict):
        self.folder, self.copies, self.schema, self.uid = Path(folder), copies, schema, str(uuid.uuid4())
        self.file = self.folder / "records.json"
        self.ports = [free_port() for _ in range(copies)]
        self.nodes = [self.node(i) for i in range(copies)]

    def node(self, i: int) -> Node:
        cluster = {"enabled": True, "collection": COLLECTION, "collection_uid": self.uid, "pod": pod(i), "p2p_host": "127.0.0.1", "p2p_port": self.ports[i], "records_file": self.file}
        settings = {f"QUIVER__CLUSTER__{key.upper()}": str(value).lower() if value is True else str(value) for key, value in cluster.items()}
        return Node(self.folder / pod(i), {"QUIVER__LOG_LEVEL": "WARN", **settings})

    @property
    def leader(self) -> Node:
        return self.nodes[0]

    def start(self) -> "NodeSet":
        """Until all copies are in sync."""
        self.folder.mkdir(parents=True, exist_ok=True)
        addresses = {pod(i): f"127.0.0.1:{port}" for i, port in enumerate(self.ports)}
        first = uuid.uuid4().hex
        record = {"name": f"{COLLECTION}-0", "version": "1", "shard": 0, "range": ALL, "term": 1, "config_version": 1, "primary": first, "primary_boot": "",
                  "copies": [{"id": first, "pod": pod(0), "in_sync": True}], "restore": None}
        self.file.write_text(json.dumps({"addresses": addresses, "records": [record]}))
        for i, node in enumerate(self.nodes):
            node.start(ready=False)
            wait_until(lambda: self.answers(i), COPY_SECONDS, f"{pod(i)} opens its internal port")
            self.internal(i, "PUT", "/internal/schema", self.schema_request())
        wait_until(self.leader.is_ready, COPY_SECONDS, "the first copy leads")
        for i in range(1, self.copies):
            placed = self.internal(i, "POST", "/internal/shards/0/place", {"collectionUid": self.uid, "range": ALL})
            self.list(placed["copyId"], i)
        wait_until(lambda: self.in_sync() == self.copies, COPY_SECONDS, "all copies are in sync", 0.1)
        return self

    def schema_request(self) -> dict:
        return {"collectionName": COLLECTION, "collectionUid": self.uid, "resource": "bench/docs", "generation": 1, "shards": 1, "minInSync": max(self.copies - 1, 1), **self.schema}

    def answers(self, i: int) -> bool:
        process = self.nodes[i].process
        if process.poll() is not None:
            raise RuntimeError(f"{pod(i)} ended with {process.returncode}:\n{self.nodes[i].log.read_text()[-2000:]}")
        try:
            return bool(self.internal(i, "GET", "/internal/status"))
        except OSError:
            return False

    def internal(self, i: int, method: str, path: str, body=None) -> dict:
        url = f"http://127.0.0.1:{self.ports[i]}{path}"
        request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json", "Quiver-Protocol": "1"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def record(self) -> dict:
        return json.loads(self.file.read_text())["records"][0]

    def in_sync(self) -> int:
        return sum(copy["in_sync"] for copy in self.record()["copies"])

    def list(self, copy: str, i: int) -> None:
        """Lists a copy that was placed. Nodes change the file under the same lock."""
        with self.file.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(self.file.read_text())
            record = known["records"][0]
            record["copies"].append({"id": copy, "pod": pod(i), "in_sync": False})
            record["config_version"] += 1
            record["version"] = str(int(record["version"]) + 1)
            part = self.file.with_suffix(".listed")
            part.write_text(json.dumps(known))
            part.rename(self.file)

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


def pod(i: int) -> str:
    return f"{COLLECTION}-{i}"
