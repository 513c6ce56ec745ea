"""Which process is which: a pid alone says nothing once its process is gone."""

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_STATE, _STARTED = 0, 19
MARK = "POSTRIDER_SUPERVISED"


@dataclass(frozen=True)
class Identity:
    """A pid and when it started, which together never come back."""

    pid: int
    started: str


def identify(pid: int) -> Identity | None:
    """The process that has this pid now; None when there is none or only a zombie."""
    started = _started_linux(pid) if sys.platform == "linux" else _started_elsewhere(pid)
    return Identity(pid, started) if started else None


def is_alive(identity: Identity) -> bool:
    """Whether that very process still runs."""
    return identify(identity.pid) == identity


def marked(mark: str) -> list[Identity]:
    """Processes whose environment carries our mark; needs /proc, elsewhere none are found."""
    wanted = f"{MARK}={mark}".encode()
    found = [identify(pid) for pid in _pids() if pid != os.getpid() and wanted in _environment(pid)]
    return [one for one in found if one]


def _pids() -> list[int]:
    proc = Path("/proc")
    return [int(one.name) for one in proc.iterdir() if one.name.isdigit()] if proc.is_dir() else []


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return []


def _started_linux(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[_STATE] in "ZX" else f"{_boot()}:{fields[_STARTED]}"


@cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started_elsewhere(pid: int) -> str | None:
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or None
