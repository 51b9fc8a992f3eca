"""Processes with little memory: in a control group of their own, the page cache included."""
import os
from contextlib import contextmanager
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def limited(size: int):
    """A control group with so many bytes; gives what puts a process into it, by its id or with 0 itself. OSError where none can
    be made. All its processes must have ended before it is left."""
    first = CGROUPS / "memory" if (CGROUPS / "memory").is_dir() else CGROUPS
    group, limit = first / f"quiver-{os.getpid()}", "memory.limit_in_bytes" if first != CGROUPS else "memory.max"
    if first == CGROUPS:
        (CGROUPS / "cgroup.subtree_control").write_text("+memory")
    group.mkdir(exist_ok=True)
    try:
        (group / limit).write_text(str(size))
        yield lambda pid: (group / "cgroup.procs").write_text(str(pid))
    finally:
        group.rmdir()
