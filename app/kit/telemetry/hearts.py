"""The heartbeats of loops: each says when it last turned, so that one that stands still is found out."""

import mmap
import os
import struct
import time
from collections.abc import Sequence
from functools import partial

from app.kit.telemetry.metrics import HEARTBEAT

_TIME = struct.Struct("d")


def unheard() -> None:
    """The heartbeat of a loop that nobody watches."""


class Hearts:
    """The heartbeats of one process: a place in memory for each of its loops.

    A loop that has not begun, or has ended, is not waited for. Times are of time.monotonic, which all processes of a
    machine share.
    """

    def __init__(self, loops: Sequence[str], memory: mmap.mmap, start: int = 0) -> None:
        self._memory = memory
        self._places = {loop: start + number * _TIME.size for number, loop in enumerate(loops)}

    def beat(self, loop: str) -> None:
        """The loop turns."""
        _TIME.pack_into(self._memory, self._places[loop], time.monotonic())

    def rest(self, loop: str) -> None:
        """The loop has ended as it should."""
        _TIME.pack_into(self._memory, self._places[loop], 0.0)

    def fault(self, limit: float) -> str | None:
        """Which loop has stood still for more than `limit` seconds, in words."""
        for loop in self._places:
            last = self._last(loop)
            if last and (age := time.monotonic() - last) > limit:
                return f"the {loop} has stood still for {age:.0f} s"
        return None

    def export(self) -> None:
        """Has the process's metrics say when each loop turned last."""
        for loop in self._places:
            HEARTBEAT.labels(loop).set_function(partial(self._moment, loop))

    def forget(self) -> None:
        """Nothing has begun: a new process takes this place."""
        for loop in self._places:
            self.rest(loop)

    def _last(self, loop: str) -> float:
        found: float = _TIME.unpack_from(self._memory, self._places[loop])[0]
        return found

    def _moment(self, loop: str) -> float:
        last = self._last(loop)
        return time.time() - (time.monotonic() - last) if last else 0.0


def own_hearts(loops: Sequence[str]) -> Hearts:
    """The heartbeats of a process that nobody else looks into."""
    return Hearts(loops, mmap.mmap(-1, mmap.PAGESIZE))


class Ward:
    """The heartbeats of the processes that one forks; made before the first fork, so that all share the memory."""

    def __init__(self, loops: Sequence[str], places: int) -> None:
        self._loops = loops
        self._size = (1 + len(loops)) * _TIME.size
        self._memory = mmap.mmap(-1, self._size * places)
        self._places = places

    def take(self, place: int) -> Hearts:
        """The place of this process, by its number in the pool; whoever had it before is forgotten."""
        start = place % self._places * self._size
        hearts = Hearts(self._loops, self._memory, start + _TIME.size)
        hearts.forget()
        _TIME.pack_into(self._memory, start, float(os.getpid()))
        return hearts

    def fault(self, limit: float) -> str | None:
        """Which loop of which living process has stood still, in words."""
        for place in range(self._places):
            start = place * self._size
            pid = int(_TIME.unpack_from(self._memory, start)[0])
            if pid and _lives(pid):
                fault = Hearts(self._loops, self._memory, start + _TIME.size).fault(limit)
                if fault:
                    return f"process {pid}: {fault}"
        return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
