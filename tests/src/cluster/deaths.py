"""An operator that dies at every step: of each write that changes something it is killed after the API server did it and before it hears
of it; and of every second one before the write leaves as well, in the life before. So no life changes more than one thing.

It reaches the API server through a proxy of this process, which knows by a dry run what a write would change. What changes nothing is no
step: every reconcile applies all objects anew.
"""
import copy
import json
import os
import re
import signal
import socket
import ssl
import threading
from collections import Counter
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from harness.node import free_port
from harness.operator_process import Operator

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
# Of one connection, not of what it carries; and nobody has to unpack what nobody packed.
OWN = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding"}
ANSWER_SECONDS = 15


class ApiServer:
    """Where the proxy leads to, and what it looks at itself, as the administrator."""

    def __init__(self):
        config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.place = urlsplit(cluster["server"])
        self.trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.administrator = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.administrator.load_cert_chain(user["client-certificate"], user["client-key"])

    def connect(self, context: ssl.SSLContext) -> HTTPSConnection:
        return HTTPSConnection(self.place.hostname, self.place.port, context=context)

    def look(self, path: str) -> dict | None:
        """An object as it is now."""
        connection = self.connect(self.administrator)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return json.loads(body) if answer.status == 200 else None
        finally:
            connection.close()


def without_times(thing: dict) -> dict:
    """An object without what a write that changes nothing may change in a dry run."""
    thing = copy.deepcopy(thing)
    meta = thing["metadata"]
    for name in ("resourceVersion", "generation"):
        meta.pop(name, None)
    for managed in meta.get("managedFields", []):
        managed.pop("time", None)
    return thing


class Conversation(BaseHTTPRequestHandler):
    """One connection of the operator, and the proxy's own for it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        api = self.server.mortal.api
        self.upstream = api.connect(api.trust)
        self.life = self.server.mortal.lives
        self.server.mortal.conversations.add(self)

    def finish(self):
        with suppress(OSError):
            super().finish()
        self.upstream.close()
        self.server.mortal.conversations.discard(self)

    def cut(self) -> None:
        """Ends a watch as well, whose thread waits for the API server's next word."""
        for ending in (self.connection, self.upstream.sock):
            with suppress(OSError, AttributeError):
                ending.shutdown(socket.SHUT_RDWR)

    def take(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command in WRITES:
            self.server.mortal.write(self, body)
        else:
            self.hear(self.ask(body))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = take

    def ask(self, body: bytes, dry: bool = False) -> HTTPResponse:
        """Says to the API server what the operator said, with the operator's rights."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
        more = ("&" if "?" in self.path else "?") + "dryRun=All" if dry else ""
        self.upstream.request(self.command, self.path + more, body or None, headers)
        return self.upstream.getresponse()

    def hear(self, answer: HTTPResponse) -> None:
        """Lets the operator hear the answer, a watch word for word."""
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in OWN:
                self.send_header(name, value)
        if answer.length is not None:
            self.send_header("Content-Length", str(answer.length))
            self.end_headers()
            self.wfile.write(answer.read())
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while part := answer.read1(1 << 16):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, mortal: "Mortal"):
        self.mortal = mortal
        super().__init__(("127.0.0.1", 0), Conversation)

    def handle_error(self, request, client_address):
        # The operator died in the middle of a word, as it shall.
        with suppress(OSError, HTTPException, AttributeError):
            raise


class Mortal:
    """The operator through all its lives. `deaths` has each: the write that it died of, and whether that was done."""

    def __init__(self, deployment: dict, folder: Path):
        self.api, self.lock = ApiServer(), threading.Lock()
        self.conversations: set[Conversation] = set()
        self.lives, self.over = 0, False
        self.deaths: list[tuple[str, bool]] = []
        self.proxy = Proxy(self)
        self.operator = Operator(deployment, folder, port=free_port(), server=f"http://127.0.0.1:{self.proxy.server_port}")

    def __enter__(self) -> "Mortal":
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        self.live()
        return self

    def __exit__(self, *_) -> None:
        with self.lock:
            self.over = True
            self.operator.stop(signal.SIGKILL)
        self.proxy.shutdown()
        self.proxy.server_close()

    def live(self) -> None:
        self.lives += 1
        self.operator.launch()

    def write(self, said: Conversation, body: bytes) -> None:
        with self.lock:
            if said.life != self.lives or self.over:
                said.close_connection = True
                return
            if not self.changes(said, body):
                said.hear(said.ask(body))
                return
            done = len(self.deaths) % 3 != 1
            if done:
                answer = said.ask(body)
                # Somebody else was faster since the dry run.
                if answer.status >= 300:
                    said.hear(answer)
                    return
                answer.read()
            self.die(said, done)

    def changes(self, said: Conversation, body: bytes) -> bool:
        """Whether a write would change anything, by the API server's own word."""
        answer = said.ask(body, dry=True)
        after = json.loads(answer.read())
        if answer.status >= 300 or said.command == "POST":
            return answer.status < 300
        before = self.api.look(urlsplit(said.path).path.removesuffix("/status"))
        if said.command == "DELETE":
            return before is not None and "deletionTimestamp" not in before["metadata"]
        return before is None or without_times(before) != without_times(after)

    def die(self, said: Conversation, done: bool) -> None:
        said.close_connection = True
        self.deaths.append((f"{said.command} {urlsplit(said.path).path}", done))
        self.operator.stop(signal.SIGKILL)
        for conversation in list(self.conversations):
            if conversation.life == self.lives:
                conversation.cut()
        self.live()

    def told(self, since: int = 0) -> str:
        """Of what it died from one death on, most often first: how often before and after the write."""
        before, after = (Counter(re.sub(r"^(\w+) .*/namespaces/", r"\1 ", what) for what, done in self.deaths[since:] if done == kind) for kind in (False, True))
        ordered = sorted(set(before) | set(after), key=lambda what: -before[what] - after[what])
        return "\n".join(f"{before[what]:4} {after[what]:4}  {what}" for what in ordered)
