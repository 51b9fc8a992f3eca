"""Requests of one client on one connection that is kept, with what their failure means: refused, or unknown."""
import http.client
import json
import time

from figures import Streak

# Answers after which nothing was done and nothing will be. Anything else that isn't 200 leaves the outcome open.
REFUSED = {400, 401, 403, 404, 409, 413, 422, 429}
SECONDS = 3


class Refused(Exception):
    """Certainly not done."""


class Unknown(Exception):
    """Done or not, now or later."""


class Targets:
    """Where clients may connect to: the Service, and each pod. Replaced as pods come and go."""

    def __init__(self, service: str, pods: list[str], port: int = 6333):
        self.service, self.pods, self.port = service, pods, port

    def pick(self, number: int, attempt: int) -> str:
        """Odd clients use the Service, the others a pod, another one after each failure."""
        pods = self.pods
        return self.service if number % 2 or not pods else pods[(number // 2 + attempt) % len(pods)]


class Client:
    def __init__(self, targets: Targets, number: int):
        self.targets, self.number, self.attempt, self.connection = targets, number, 0, None
        self.stale = False  # whether the last answer said that it may be older than promised
        self.streak = Streak()

    def call(self, method: str, path: str, body=None) -> dict:
        """The decoded answer of a request that was served; `Refused` or `Unknown` otherwise."""
        began = time.monotonic_ns()
        try:
            answer = self.send(method, path, body)
        except (Refused, Unknown):
            self.streak.failed(began)
            raise
        self.streak.served(time.monotonic_ns())
        return answer

    def send(self, method: str, path: str, body) -> dict:
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.targets.pick(self.number, self.attempt), self.targets.port, timeout=SECONDS)
            try:
                self.connection.connect()
            except OSError as error:
                self.leave()
                raise Refused(f"no connection: {error}") from None
        try:
            self.connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            code, raw = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.leave()
            raise Unknown(repr(error)) from None
        if code == 200:
            self.stale = answer.getheader("quiver-stale") is not None
            return json.loads(raw)
        text = raw.decode(errors="replace")[:300]
        if code >= 500:
            self.leave()  # as a client with retries does: the next attempt may reach another node
        raise (Refused if code in REFUSED else Unknown)(f"{code} {text}")

    def leave(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection, self.attempt = None, self.attempt + 1
