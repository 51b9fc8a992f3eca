"""How long searches take, measured by a process that waits neither for the fleet's threads nor, as far as the system allows, for a processor.

usage: probe.py ADDRESS COLLECTION

Prints when each answered search began and ended, in nanoseconds of the monotonic clock. Ends when its input does.
"""
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from subprocess import PIPE, Popen

SEARCHERS, SEARCH_PERIOD = 2, 0.1


class Probe:
    """The running process, as its parent sees it."""

    def __init__(self, address: str, collection: str, seen: Path):
        self.seen = seen
        with seen.open("w") as out:
            self.process = Popen([sys.executable, __file__, address, collection], stdin=PIPE, stdout=out)

    def took(self, first: int, last: int) -> list[float]:
        """Of searches that were answered between two moments, in seconds. One that was sent again took as long as all its attempts."""
        assert self.process.poll() is None, f"the probe ended with {self.process.returncode}"
        spans = (tuple(map(int, line.split())) for line in self.seen.read_text().splitlines(keepends=True) if line.endswith("\n"))
        return [(ended - began) / 1e9 for began, ended in spans if first < ended <= last]

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


def search(over: threading.Event, address: str, collection: str, number: int) -> None:
    from points import encode, upsert_value
    from rest import Client, Refused, Targets, Unknown

    client, dice, due = Client(Targets(address, []), number), Random(number), time.monotonic()
    while not over.wait(max(0.0, due - time.monotonic())):
        due = max(due + SEARCH_PERIOD, time.monotonic() - SEARCH_PERIOD)
        body = {"query": encode(upsert_value(dice.randint(1, 5000))), "limit": 10, "with_payload": True, "with_vector": True}
        began = client.streak.since or time.monotonic_ns()
        with suppress(Refused, Unknown):
            client.call("POST", f"/collections/{collection}/points/query?timeout=2", body)
            os.write(1, f"{began} {time.monotonic_ns()}\n".encode())


if __name__ == "__main__":
    with suppress(PermissionError):
        os.nice(-10)
    ended = threading.Event()
    for n in range(SEARCHERS):
        threading.Thread(target=search, args=(ended, *sys.argv[1:], n), daemon=True).start()
    sys.stdin.read()
    ended.set()
