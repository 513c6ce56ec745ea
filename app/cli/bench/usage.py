"""What processes cost: CPU time and peak memory, with all their children. Needs /proc; elsewhere nothing is known."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _TIMES_OF_ENDED_CHILDREN = 1, slice(13, 15)
_KIB = 1024


class Usage:
    """Trees of processes by name."""

    def __init__(self) -> None:
        self._roots: dict[str, int] = {}

    def add(self, name: str, pid: int) -> None:
        """Watches a process and its children."""
        self._roots[name] = pid

    def remove(self, name: str) -> None:
        """Watches it no longer."""
        del self._roots[name]

    def cpu_seconds(self, name: str) -> float:
        """CPU time of the tree so far, in user and system mode, with that of children that have ended."""
        return sum(map(_cpu_seconds, self.pids(name)))

    def peaks(self, name: str) -> dict[int, int]:
        """The most memory each process of the tree has held at once, in bytes, by pid."""
        return {pid: peak for pid in self.pids(name) if (peak := _peak_bytes(pid)) is not None}

    def pids(self, name: str) -> list[int]:
        """The processes of the tree."""
        children = defaultdict(list)
        for pid in _all_pids():
            children[parent_of(pid)].append(pid)
        found = [self._roots[name]]
        for pid in found:
            found.extend(children[pid])
        return found


def parent_of(pid: int) -> int:
    """The parent's pid; 0 when it has none or is gone."""
    return int(_stat(pid)[_PARENT])


def _all_pids() -> Iterator[int]:
    return (int(one.name) for one in _PROC.iterdir() if one.name.isdigit()) if _PROC.is_dir() else iter(())


def _stat(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 22


def _cpu_seconds(pid: int) -> float:
    ended = sum(map(int, _stat(pid)[_TIMES_OF_ENDED_CHILDREN])) / os.sysconf("SC_CLK_TCK")
    try:
        return ended + time.clock_gettime(_clock_of(pid))
    except OSError:
        return ended


def _clock_of(pid: int) -> int:
    """Linux's clock of a process's CPU time, which counts nanoseconds where /proc counts hundredths of a second."""
    return ~pid << 3 | 2


def _peak_bytes(pid: int) -> int | None:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:")), None)
