"""What processes take of the machine, and how much memory and disk there is for them, in bytes."""

import os
import resource
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


def peak_memory() -> int:
    """The most that this process has held at once.

    Not `ru_maxrss` where it can be helped: a new process inherits that from the one that started it.
    """
    if (PROC / "self/status").exists():
        return _table(PROC / "self/status")["VmHWM"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def waited() -> float:
    """Seconds that this process's first thread has waited for a CPU that others used; 0: not known."""
    path = PROC / "self/schedstat"
    return int(path.read_text().split()[1]) / 1e9 if path.exists() else 0.0


def memory_of_all(process: int) -> int:
    """What a process and its descendants hold now, pages that several share counted once; 0 unknown."""
    children = defaultdict(list)
    for folder in PROC.glob("[0-9]*"):
        if parent := _parent(folder):
            children[parent].append(int(folder.name))
    total, left = 0, [process]
    while left:
        one = left.pop()
        left += children[one]
        total += _read(PROC / str(one) / "smaps_rollup").get("Pss", 0)
    return total


def free_memory() -> int:
    """What a process started in place of this one could take: of the machine, or of its control group."""
    if not (PROC / "meminfo").exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    own = _table(PROC / "self/status")["VmRSS"]
    return min([_table(PROC / "meminfo")["MemAvailable"], *_of_groups()]) + own


def free_disk(folder: Path) -> int:
    """What is free where a folder lies or will lie."""
    there = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    return shutil.disk_usage(there).free


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _of_groups() -> Iterator[int]:
    """What each control group that this process belongs to still allows, version 2 or 1."""
    for line in (PROC / "self/cgroup").read_text().splitlines():
        _, kind, path = line.split(":", 2)
        if kind not in ("", "memory"):
            continue
        root = CGROUPS / kind
        limit, used, cache = {
            "": ("memory.max", "memory.current", "inactive_file"),
            "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        }[kind]
        here = root / path.lstrip("/")
        while here.is_relative_to(root):
            if (here / limit).exists() and (text := (here / limit).read_text().strip()) != "max":
                stat = dict(row.split() for row in (here / "memory.stat").read_text().splitlines())
                yield int(text) - int((here / used).read_text()) + int(stat.get(cache, 0))
            here = here.parent


def _parent(folder: Path) -> int:
    """The process that started the one of a folder of /proc; 0 if it has ended since."""
    try:
        text = (folder / "stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def _read(path: Path) -> dict[str, int]:
    """As `_table`; nothing of a process that has ended since, or is another user's."""
    try:
        return _table(path)
    except OSError:
        return {}


def _table(path: Path) -> dict[str, int]:
    """The lines of a file of /proc that give a size."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if row[-1] == "kB"}
