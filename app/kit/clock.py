"""The process's clock and its ids."""

import threading
import time
from datetime import UTC, datetime
from uuid import UUID

from app.domain.ids import uuid7
from app.kit.random_bytes import RandomBytes

_SEQUENCES = 4096
_RANDOM_BYTES = 8


class IdSource:
    """Makes UUIDv7 that rise strictly within the process, even when the clock steps back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = (0, 0)
        self._random = RandomBytes(_RANDOM_BYTES)

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
        return uuid7(millisecond, sequence, self._random())


new_id = IdSource()


def utc_now() -> datetime:
    """Now, with its zone. Decisions about deliveries use the database's clock instead."""
    return datetime.now(UTC)
