"""The project's own programs: ready ones that the environment names, or built here."""
import os
import subprocess
from pathlib import Path

from .cache import ROOT


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def binary(package: str, variable: str) -> None:
    """Builds a program once in the profile that every tier uses, and names it to what runs later."""
    if variable not in os.environ:
        # The whole workspace at once: built alone, a program would have its dependencies with other features, and compile them twice.
        subprocess.run(["cargo", "build", "--release", "--locked", "--workspace"], cwd=ROOT, check=True)
        os.environ[variable] = str(target() / package)
