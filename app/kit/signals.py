"""Hearing of a signal that somebody else handles."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def signalled(number: signal.Signals, act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` when the signal comes during the block, before whoever handles it now.

    Only the main thread hears of signals; in others this does nothing.
    """
    handler = signal.getsignal(number)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return

    def handle(given: int, frame: FrameType | None) -> None:
        act()
        handler(given, frame)

    signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, handler)
