"""The process's clock and its ids."""

import os
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

from app.domain.ids import uuid7

_SEQUENCES = 4096
_RANDOM_BYTES, _AT_ONCE = 8, 512


class IdSource:
    """Makes UUIDv7 that rise strictly within the process, even when the clock steps back.

    Random bytes come many at once: to ask for them gives other threads the interpreter, and getting it back takes
    longer than all the rest. A process that is forked has none of its parent's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = (0, 0)
        self._random = list[bytes]()
        os.register_at_fork(after_in_child=self._random.clear)

    def __call__(self) -> UUID:
        """A new id."""
        now = time.time_ns() // 1_000_000
        with self._lock:
            millisecond, sequence = self._last
            if now > millisecond:
                self._last = (now, 0)
            elif sequence + 1 < _SEQUENCES:
                self._last = (millisecond, sequence + 1)
            else:
                self._last = (millisecond + 1, 0)
            millisecond, sequence = self._last
            if not self._random:
                many = os.urandom(_RANDOM_BYTES * _AT_ONCE)
                self._random += [many[at : at + _RANDOM_BYTES] for at in range(0, len(many), _RANDOM_BYTES)]
            random = self._random.pop()
        return uuid7(millisecond, sequence, random)


new_id = IdSource()


def utc_now() -> datetime:
    """Now, with its zone. Decisions about deliveries use the database's clock instead."""
    return datetime.now(UTC)
