"""Installs what a tier needs, once for each content of its requirements. Standard library only: it runs before anything is installed."""
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
ROOT = TESTS.parent


def folder() -> Path:
    """Where everything that is built or fetched once stays, outside the tree."""
    base = os.environ.get("QUIVER_TESTS_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "quiver-tests"
    path = Path(base)
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(text: str) -> None:
    print(f"-- {text}", file=sys.stderr, flush=True)


def python(name: str) -> Path:
    """The interpreter of a virtual environment with `requirements/<name>.txt` in it."""
    lines = (TESTS / "requirements" / f"{name}.txt").read_text().splitlines()
    # pip has no such marks inside a requirements file: a package marked --no-deps brings its files only, one marked --optional
    # may be missing for a machine's processor.
    marked = {mark: [line.split()[0] for line in lines if line.endswith(mark)] for mark in ("--no-deps", "--optional")}
    whole = [line for line in lines if line and " --" not in line]
    key = hashlib.sha256("\n".join([sys.version, *lines]).encode()).hexdigest()[:12]
    place = folder() / f"venv-{name}-{key}"
    if not (place / "ready").exists():
        say(f"installing {name} for Python")
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [place / "bin/python", "-m", "pip", "-q", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, *whole], check=True)
        if marked["--no-deps"]:
            subprocess.run([*pip, "--no-deps", *marked["--no-deps"]], check=True)
        for package in marked["--optional"]:
            if subprocess.run([*pip, package]).returncode:
                say(f"{package} can't be installed here")
        (place / "ready").touch()
    return place / "bin/python"


def javascript(source: Path) -> Path:
    """A folder with the files of `source` and the packages of its lock file."""
    key = hashlib.sha256((source / "package.json").read_bytes()).hexdigest()[:12]
    place = folder() / f"npm-{source.name}-{key}"
    if not (place / "ready").exists():
        say(f"installing {source.name} for Node")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shutil.copy(source / "package.json", place)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=place, check=True)
        (place / "ready").touch()
    for file in source.glob("*.mjs"):
        shutil.copy(file, place)
    return place


def archives(name: str) -> Path:
    """A folder with the source archives of `requirements/<name>.txt`, unpacked; pip refuses one whose sha256 is not as written there."""
    listed = TESTS / "requirements" / f"{name}.txt"
    place = folder() / f"{name}-{hashlib.sha256(listed.read_bytes()).hexdigest()[:12]}"
    if not (place / "ready").exists():
        say(f"fetching {name}")
        shutil.rmtree(place, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "download"]
        subprocess.run([*pip, "--no-deps", "--no-binary", ":all:", "--require-hashes", "-r", listed, "-d", place / "packed"], check=True)
        for archive in (place / "packed").iterdir():
            with tarfile.open(archive) as tar:
                tar.extractall(place, filter="data")
        (place / "ready").touch()
    return place


def debian(commands: dict[str, str]) -> None:
    """Installs the Debian package of each command (or file) that the machine lacks."""
    missing = sorted({package for command, package in commands.items() if not shutil.which(command) and not Path(command).exists()})
    if missing:
        say(f"installing {' '.join(missing)} from Debian")
        quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        subprocess.run(["apt-get", "-qq", "update"], check=True, **quiet)
        subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing], check=True, **quiet)
