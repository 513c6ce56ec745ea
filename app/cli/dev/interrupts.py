"""Signals that end a development start, as an exception in the main thread."""

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Someone asked for the end."""


class Interrupts:
    """Raises Stopped on the first SIGINT, SIGTERM or SIGHUP; later ones change nothing, as the end is under way."""

    def __init__(self) -> None:
        self._held = False
        self._asked = False

    def install(self) -> None:
        """From now on signals are ours, but for a SIGHUP that is ignored, as under nohup."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Puts a signal off until the end of the block, so that a child is never started and then forgotten."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._asked:
            raise Stopped

    def ignore(self) -> None:
        """The end is under way, or its reason is known."""
        self._held = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        first, self._asked = not self._asked, True
        if first and not self._held:
            raise Stopped


def end_with_parent() -> None:
    """Asks Linux for a SIGTERM when the process that started us ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
