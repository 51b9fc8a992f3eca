"""A program that is told what to do a line at a time: ours (`engine-bench`) or a peer's worker. Both speak the same requests."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path


class Failed(Exception):
    """Our program said that it can't, or ended."""


class PeerFailed(Exception):
    """A peer's worker did: it is not installed, or can't run on this processor. The others go on."""


class Process:
    def __init__(self, name: str, command: list, scratch: Path, failure: type[Exception]):
        self.name, self.log, self.failure = name, scratch / f"{name}.log", failure
        with self.log.open("wb") as log:
            self.child = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)

    def ask(self, do: str, **request) -> dict:
        try:
            self.child.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.child.stdin.flush()
            answer = self.child.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise self.failure(f"{do}: {self.ending()}")
        answer = json.loads(answer)
        if "error" in answer:
            raise self.failure(f"{do}: {answer['error']}")
        return answer

    def ending(self) -> str:
        code = self.child.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
        return ", ".join([f"ended with {how}", *last])

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_) -> None:
        """Its memory must be free before the next one is measured."""
        self.child.stdin.close()
        try:
            self.child.wait(60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()


def engine(scratch: Path) -> Process:
    return Process("quiver", [os.environ["QUIVER_ENGINE_BENCH"]], scratch, Failed)


def peer(name: str, scratch: Path) -> Process:
    return Process(name, [sys.executable, "-m", "bench.worker", name], scratch, PeerFailed)
