"""Keeps children running: starts them, starts them again when they end, and stops them in order."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

from app.cli.dev.errors import DevError
from app.cli.dev.interrupts import Interrupts
from app.cli.dev.process import Child, Program

_POLL_SECONDS = 0.1
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SETTLED_SECONDS = 60.0


@dataclass
class _Kept:
    child: Child
    since: float = field(default_factory=time.monotonic)
    ends: int = 0
    again_at: float | None = None


class Supervisor:
    """The children of this process, by name. Use it from the main thread."""

    def __init__(self, pids: Path, interrupts: Interrupts, say: Callable[[str], None]) -> None:
        self._pids, self._interrupts, self._say = pids, interrupts, say
        self._kept: dict[str, _Kept] = {}

    def start(self, program: Program) -> Child:
        """Starts a program that is to run until the end."""
        with self._interrupts.held():
            child = Child(program, self._pids)
            self._kept[program.name] = _Kept(child)
        return child

    def check(self) -> None:
        """DevError when a child has ended, while all should be coming up."""
        for kept in self._kept.values():
            if kept.child.ended() is not None:
                program = kept.child.program
                raise DevError(f"{program.name} does not run: {kept.child.last_words()} ({program.log})")

    def keep(self) -> Never:
        """Starts again whatever ends, after a pause that doubles, until Stopped is raised."""
        while True:
            for kept in self._kept.values():
                self._look_after(kept)
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ends all children, the lowest rank first, each before the next."""
        if self._kept:
            self._say("stopping ...")
        for kept in sorted(self._kept.values(), key=lambda one: one.child.program.rank):
            kept.child.stop()
        self._kept.clear()

    def _look_after(self, kept: _Kept) -> None:
        status, now = kept.child.ended(), time.monotonic()
        if status is None:
            return
        if kept.again_at is None:
            kept.ends = 1 if now - kept.since > _SETTLED_SECONDS else kept.ends + 1
            pause = min(_FIRST_PAUSE * 2 ** (kept.ends - 1), _LONGEST_PAUSE)
            kept.again_at = now + pause
            self._say_ended(kept.child, status, pause)
        elif now >= kept.again_at:
            self._start_again(kept)

    def _start_again(self, kept: _Kept) -> None:
        with self._interrupts.held():
            kept.child.stop()  # whatever is left of its group
            kept.child = Child(kept.child.program, self._pids)
            kept.since, kept.again_at = time.monotonic(), None

    def _say_ended(self, child: Child, status: int, pause: float) -> None:
        name, log = child.program.name, child.program.log
        by_itself = f"ended with status {status} ({child.last_words()})"
        how = by_itself if status >= 0 else f"was killed by signal {-status}"
        self._say(f"{name} {how}, starting it again in {pause:g} s; its log is {log}")
