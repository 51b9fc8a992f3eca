"""What was asked for on the command line. Standard library only: it is read before anything is installed."""
import argparse
import sys
from pathlib import Path

SUITES = ("search", "filter", "build", "memory", "ingest", "rest", "start", "scale", "replication", "kernels")
OVER_REST = ("ingest", "rest", "start", "replication")
SETS = ("wn", "g128", "g1536")


def parse(words: list[str], usage: str) -> argparse.Namespace:
    if "-h" in words or "--help" in words:
        print(usage.strip())
        sys.exit(0)
    names = lambda text: [part for part in text.split(",") if part]
    parser = argparse.ArgumentParser(prog="tests/bench", usage="see tests/bench --help", add_help=False, allow_abbrev=False)
    parser.add_argument("suites", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--server")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path)
    parser.add_argument("--peers", type=names)
    parser.add_argument("--sets", type=names, default=list(SETS))
    options = parser.parse_args(words)
    for what, given, known in (("suite", options.suites, SUITES), ("set", options.sets, SETS)):
        if unknown := [word for word in given if word not in known]:
            parser.error(f"no {what} {unknown[0]}; there are {', '.join(known)}")
    options.suites = [suite for suite in SUITES if suite in options.suites] or list(SUITES)
    return options


def wanted(options: argparse.Namespace, peer: str) -> bool:
    """Whether a peer was asked for: by the start of its name, or because none was named."""
    return options.peers is None or any(peer.startswith(start) for start in options.peers)
