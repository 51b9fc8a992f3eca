"""The engine's distance kernels, by their own benchmark."""
import subprocess

from harness.cache import ROOT


def run(options, report) -> None:
    subprocess.run(["cargo", "bench", "--locked", "--workspace"], cwd=ROOT, check=True)
