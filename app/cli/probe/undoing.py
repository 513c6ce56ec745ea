"""What a run of the probe makes goes with it, however it ends."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_SIGNALLED = 128


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Undoes at the end of the block what was made for it; raises what the block does, before what undoing does."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            undo()
        raise
    undo()


@contextmanager
def undoing_when_told_to_end() -> Iterator[None]:
    """A SIGTERM during the block is an exception in the main thread, so that what was made is undone."""
    handler = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(_SIGNALLED + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
