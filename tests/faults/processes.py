"""Processes of ours: found by their parents, stopped, frozen and killed from outside."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ESTABLISHED, _LISTENING = "01", "0A"


def wait_for(condition: Callable[[], bool], seconds: float, what: str, *, every: float = 0.02) -> float:
    """The seconds that it took until the condition held, asked so often; AssertionError when it did not in time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(every)
    return time.monotonic() - began


def descendants(pid: int) -> list[int]:
    """The children of a process, their children and so on."""
    children = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(entry)) is not None:
            children[parent].append(int(entry.name))
    found = list(children[pid])
    for one in found:
        found += children[one]
    return found


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    return [pid, *descendants(pid)]


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    fields = _stat(Path(f"/proc/{pid}"))
    return fields is not None and fields[0] not in "ZX"


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Sends a signal to those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def kill(*pids: int) -> None:
    """SIGKILL."""
    send(signal.SIGKILL, pids)


@contextmanager
def frozen(pids: Collection[int]) -> Iterator[None]:
    """Holds processes by SIGSTOP for the length of the block."""
    send(signal.SIGSTOP, pids)
    try:
        yield
    finally:
        send(signal.SIGCONT, pids)


def resident_mib(pids: Iterable[int]) -> float:
    """The memory that processes hold, the shared parts counted for each."""
    pages = 0
    for pid in pids:
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def connected_to(port: int, among: Iterable[int]) -> list[int]:
    """The processes that hold a connection to this port."""
    inodes = {line[9] for line in _sockets() if _port(line[2]) == port and line[3] == _ESTABLISHED}
    return [pid for pid in among if inodes & _inodes(pid)]


def listening_at(port: int, among: Iterable[int]) -> list[int]:
    """The processes that hold the socket which listens at this port."""
    inodes = {line[9] for line in _sockets() if _port(line[1]) == port and line[3] == _LISTENING}
    return [pid for pid in among if inodes & _inodes(pid)]


def _sockets() -> list[list[str]]:
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _inodes(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    return found


def _parent(folder: Path) -> int | None:
    fields = _stat(folder)
    return None if fields is None else int(fields[1])


def _stat(folder: Path) -> list[str] | None:
    """State, parent and the rest; the name before them may hold anything."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
