"""Finds or makes the files of the data set. Standard library only; the arithmetic runs in the environment `data`."""
import hashlib
import os
import subprocess
from pathlib import Path

from . import cache

ROWS = 116_659
READY = {
    "glosses.f16.npy": "ccf150f4206d4d6330f28261d1c7e6df788455bf5f8928b997e19682f66537a6",
    "queries.f16.npy": "72d749cc839b3de71f71ec990c2198990b7535314fd02a640ff77cb94cb2c77a",
    "glosses.jsonl.gz": "e24c71e9566329165d52ba7dae80e07f864d77d08571464ff90b162f06bab845",
}


def folder(rows: int | None = None) -> Path:
    """The folder of the first `rows` points (all if not given), made if it is not there."""
    rows = min(rows or ROWS, ROWS)
    place = cache.folder() / f"data-{rows}"
    if not (place / "neighbours.npz").exists():
        place.mkdir(exist_ok=True)
        source = ready_copy() or (cache.folder() / f"data-{ROWS}")
        if not (source / "glosses.f16.npy").exists():
            source = None
            cache.debian({"/usr/share/wordnet/data.noun": "wordnet-base"})
            cache.say(f"embedding {rows} glosses")
        command = [cache.python("data"), "-m", "harness.dataset_make", str(place), str(rows), *([str(source)] if source else [])]
        threads = {"OPENBLAS_NUM_THREADS": "1"} if source is None else {}
        subprocess.run(command, check=True, env={**os.environ, **threads, "PYTHONPATH": str(cache.TESTS / "src")})
    return place


def ready_copy() -> Path | None:
    """The folder that QUIVER_TEST_DATA names, if its files are what they should be."""
    if not os.environ.get("QUIVER_TEST_DATA"):
        return None
    place = Path(os.environ["QUIVER_TEST_DATA"])
    for name, want in READY.items():
        got = hashlib.sha256((place / name).read_bytes()).hexdigest()
        if got != want:
            raise SystemExit(f"QUIVER_TEST_DATA: {place / name} has SHA-256 {got}, not {want}; unset the variable or mend the copy")
    return place
