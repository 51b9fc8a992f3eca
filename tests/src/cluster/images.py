"""Images of the programs that were built for the tests. Quiver's are made by its own Dockerfiles, which take the ready binaries in place of the stage that compiles."""
import re
import shutil
import subprocess
from pathlib import Path

from harness import cache

NODE, OPERATOR, MINIO = (f"localhost/{name}:test" for name in ("quiver-node", "quiver-operator", "minio"))
DOCKERFILES = {NODE: "node/Dockerfile", OPERATOR: "operator/Dockerfile"}


def libraries(program: str) -> list[str]:
    """What the dynamic loader would map, the loader itself among them; nothing for a static program."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True)
    return [] if listed.returncode else re.findall(r"(/\S+) \(0x", listed.stdout)


def pack(folder: Path, image: str, program: str) -> str:
    """The path of an archive of the image."""
    name = image.split("/")[1].split(":")[0]
    archive = folder / f"{name}.tar"
    if image not in DOCKERFILES:
        subprocess.run([cache.TESTS / "src/cluster/mkimage", archive, image, program], check=True)
        return str(archive)
    built = folder / name
    for source, target in [(program, f"/{name}"), *((library, library) for library in libraries(program))]:
        place = built / "rootfs" / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    (built / "data").mkdir()
    buildah("bud", "--build-context", f"build={built}", "-t", image, "-f", cache.ROOT / DOCKERFILES[image], built, folder=folder)
    buildah("push", image, f"docker-archive:{archive}:{image}", folder=folder)
    return str(archive)


def buildah(verb: str, *words, folder: Path) -> None:
    """Without a daemon, and with a store of its own that goes with the folder."""
    cache.debian({"buildah": "buildah"})
    store = ["--root", folder / "store", "--runroot", folder / "run", "--storage-driver", "vfs"]
    subprocess.run(["buildah", *store, verb, "-q", *words], check=True, stdout=subprocess.DEVNULL)
