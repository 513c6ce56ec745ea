"""How long whoever failed has to wait before the next try."""

from datetime import timedelta

FREE = 4
"""So many failures in a row cost nothing: people mistype."""
STOP = 100
"""After so many failures in a row nothing is tried any more."""
_LONGEST = 15 * 60
_RISING = (15, 30, 60, 120, 240)
WAITS = (*(FREE + 1) * (0,), *_RISING, _LONGEST)
"""Seconds to wait after 0, 1, 2 … failures in a row; after more than these as long as after the last.

Ten failures are possible within fifteen minutes, and no eleventh.
"""
SLOWEST = len(WAITS) - 1
"""From so many failures on the wait is the longest one."""


def wait(failures: int) -> timedelta:
    """The time from the last failure to the next try."""
    return timedelta(seconds=WAITS[min(failures, SLOWEST)])


def is_stopped(failures: int) -> bool:
    """Whether only a reset by mail lets anything be tried again."""
    return failures >= STOP
