"""A storage node as a process of its own: started on a free port, waited for, killed."""
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path


def wait_until(condition, seconds: float, what: str, every: float = 0.05, lacks=lambda: ""):
    """The first true answer of `condition`, asked again and again until the deadline. Then `lacks` says how far it got."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s still not: {what} {lacks()}".rstrip())
        time.sleep(every)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    """One `quiver-node` with its data under `folder`."""

    def __init__(self, folder: Path, env: dict[str, str] | None = None, program: str | None = None, enter=None):
        """`enter` is called in the new process before the program runs: to put it under a limit."""
        self.folder, self.env, self.enter = Path(folder), env or {}, enter
        self.program = program or os.environ["QUIVER_NODE"]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "node.log"
        self.process = None
        # Of the command line; a test may change them before a start.
        self.args: list[str] = []

    def start(self, ready: bool = True, seconds: float = 60) -> "Node":
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "QUIVER__SERVICE__HOST": "127.0.0.1",
            "QUIVER__SERVICE__HTTP_PORT": str(self.port),
            "QUIVER__STORAGE__STORAGE_PATH": str(self.folder / "storage"),
            "QUIVER__STORAGE__SNAPSHOTS_PATH": str(self.folder / "snapshots"),
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.program, *self.args], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **settings, **self.env}, preexec_fn=self.enter)
        if ready:
            wait_until(self.is_ready, seconds, "the node is ready")
        return self

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the node ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}")
        try:
            return self.request("GET", "/readyz", decode=False)[0] == 200
        except OSError:
            return False

    def request(self, method: str, path: str, body=None, headers=None, decode=True, timeout=60):
        """(code, decoded JSON or text) of one request, whatever the code is."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                code, raw = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            code, raw = error.code, error.read()
        if not decode:
            return code, raw
        try:
            return code, json.loads(raw)
        except ValueError:
            return code, raw.decode(errors="replace")

    def wait_indexed(self, collection: str, seconds: float = 600) -> dict:
        """Until the optimizer has nothing left to do; gives the collection's info."""
        def green():
            info = self.request("GET", f"/collections/{collection}")[1]["result"]
            return info["status"] == "green" and info

        return wait_until(green, seconds, f"{collection} is green", 0.2)

    def kill(self) -> None:
        """As a power switch does to a process."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds: float = 30) -> int:
        """Politely; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)
