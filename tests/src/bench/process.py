"""A program that is told what to do a line at a time: ours (`engine-bench`) or a peer's worker. Both speak the same requests."""
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

# Within these an answer must come, or the program counts as hung: several times what the largest set takes on a slow machine.
SECONDS = {"build": 7200, "append": 7200, "upsert": 3600}
SECONDS_ELSE = 900
# A program that ends again and again is left alone.
STARTS_MAX = 4


class Failed(Exception):
    """Our program said that it can't, or ended."""


class PeerFailed(Exception):
    """A peer did: it is not installed, or can't run on this processor, or hangs. The others go on."""


class Process:
    def __init__(self, name: str, command: list, scratch: Path, failure: type[Exception]):
        self.name, self.command, self.log, self.failure = name, [str(c) for c in command], scratch / f"{name}.log", failure
        # Shard -> how it came to be there.
        self.shards: dict[str, tuple[str, dict]] = {}
        self.starts, self.ended = 0, False
        self.start()

    def start(self) -> None:
        self.starts, self.ended = self.starts + 1, False
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)

    def ask(self, do: str, **request) -> dict:
        """One answer. A program whose end was told at an earlier request is started anew, so that it costs that one alone."""
        if self.ended:
            self.restart()
        answer = self.exchange(do, request)
        if do in ("build", "open"):
            self.shards[request["name"]] = do, request
        elif do == "close":
            self.shards.pop(request["name"], None)
        return answer

    def restart(self) -> None:
        """With the shards that it had."""
        if self.starts == STARTS_MAX:
            raise self.failure(f"ended {STARTS_MAX} times")
        self.let_go()
        self.start()
        for do, request in self.shards.values():
            if do == "build":
                shutil.rmtree(request["folder"], ignore_errors=True)
            self.exchange(do, request)

    def exchange(self, do: str, request: dict) -> dict:
        limit, begun = SECONDS.get(do, SECONDS_ELSE), time.monotonic()
        # Its end ends the wait for its answer, or for room in the pipe to it.
        timer = threading.Timer(limit, self.child.kill)
        timer.start()
        try:
            self.child.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.child.stdin.flush()
            answer = self.child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if not answer.endswith("\n"):
            how, self.ended = self.ending(), True
            raise self.failure(f"{do}: no answer in {limit} s" if time.monotonic() - begun >= limit else f"{do}: {how}")
        answer = json.loads(answer)
        if "error" in answer:
            raise self.failure(f"{do}: {answer['error']}")
        return answer

    def ending(self) -> str:
        code = self.child.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        return ", ".join([f"ended with {how}", *last])

    def let_go(self) -> None:
        # What it never read is still to be written, and can't be.
        with suppress(BrokenPipeError):
            self.child.stdin.close()
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_) -> None:
        """Its memory must be free before the next one is measured."""
        self.let_go()


def engine(scratch: Path) -> Process:
    return Process("quiver", [os.environ["QUIVER_ENGINE_BENCH"]], scratch, Failed)


def peer(name: str, scratch: Path) -> Process:
    return Process(name, [sys.executable, "-m", "bench.worker", name], scratch, PeerFailed)
