"""Images of the programs that were built for the tests, packed without a container engine."""
import subprocess
from pathlib import Path

from harness import cache

NODE, OPERATOR, MINIO = (f"localhost/{name}:test" for name in ("quiver-node", "quiver-operator", "minio"))
# What node/Dockerfile sets, so that a container behaves as people expect.
ENVIRONMENT = {NODE: ["QUIVER__SERVICE__HOST=0.0.0.0", "QUIVER__STORAGE__STORAGE_PATH=/data/storage", "QUIVER__STORAGE__SNAPSHOTS_PATH=/data/snapshots"]}


def pack(folder: Path, image: str, program: str) -> str:
    """The path of an archive of the image, its program under its own name at the top."""
    archive = folder / f"{image.split('/')[1].replace(':', '-')}.tar"
    subprocess.run([cache.TESTS / "src/cluster/mkimage", archive, image, program, *ENVIRONMENT.get(image, [])], check=True)
    return str(archive)
