"""Rates by GCRA: one moment, the theoretical arrival time, is all that is remembered."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Admission:
    """How many may go now, what to remember, and when at least one more may go."""

    granted: int
    tat: datetime
    next_at: datetime


def admit(tat: datetime | None, rate: int, now: datetime, wanted: int, burst: int | None = None) -> Admission:
    """Grant up to `wanted` at `rate` per second and at most `burst` (by default `rate`) at once.

    Over any window of w seconds at most rate * w + burst are granted, to the microsecond of the clock.
    `tat` is what the last admission returned, None for the first. Raises ValueError unless rate and burst
    are positive.
    """
    size = rate if burst is None else burst
    if rate < 1 or size < 1:
        message = "a rate and its burst are at least 1"
        raise ValueError(message)
    # Whole microseconds: rounded up where they are spent, so that rounding never grants more.
    current = (now - _EPOCH) // _MICROSECOND
    start = current if tat is None else max(current, (tat - _EPOCH) // _MICROSECOND)
    limit = _ceil(size * _SECOND, rate)
    room = max(0, current + limit - start) * rate // _SECOND
    granted = min(wanted, room, size)
    spent = start + _ceil(granted * _SECOND, rate)
    ready = max(current, spent + _ceil(_SECOND, rate) - limit)
    return Admission(granted, _EPOCH + spent * _MICROSECOND, _EPOCH + ready * _MICROSECOND)


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
