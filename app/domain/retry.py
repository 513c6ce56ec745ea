"""When the next try of a delivery is due."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

DEFAULT_SCHEDULE = (0, 5, 300, 1800, 7200, 18000, 36000, 36000)
MAX_TRIES = 20
MAX_DELAY = 7 * 86400
RETRY_AFTER_MAX = 86400.0
JITTER = 0.2

# Longer than any HTTP-date, short enough that a hostile header costs nothing.
_LONGEST_HEADER = 64


def validate_schedule(schedule: Sequence[int]) -> tuple[int, ...]:
    """Return the schedule as a tuple; seconds before each try, the first included.

    Raises ValueError unless it has 1 to 20 entries of 0 to 7 days each.
    """
    if not 1 <= len(schedule) <= MAX_TRIES:
        message = f"a retry schedule has 1 to {MAX_TRIES} entries"
        raise ValueError(message)
    if any(isinstance(delay, bool) or not 0 <= delay <= MAX_DELAY for delay in schedule):
        message = f"a delay in a retry schedule is 0 to {MAX_DELAY} seconds"
        raise ValueError(message)
    return tuple(schedule)


def schedule_for(
    endpoint: Sequence[int] | None, event_type: Sequence[int] | None, organisation: Sequence[int] | None
) -> tuple[int, ...]:
    """Return the schedule that wins: endpoint's, event type's, organisation's, else the default."""
    for schedule in (endpoint, event_type, organisation):
        if schedule is not None:
            return tuple(schedule)
    return DEFAULT_SCHEDULE


def next_delay(schedule: Sequence[int], attempts_made: int, dice: float) -> float | None:
    """Return the seconds until the next try, ±20 % by `dice` in [0, 1); None when none is left."""
    if attempts_made >= len(schedule):
        return None
    return schedule[attempts_made] * (1 - JITTER + 2 * JITTER * dice)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header as seconds from `now`, 0 when past; None when absent or garbage."""
    if value is None or len(value) > _LONGEST_HEADER:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    return _seconds_until(text, now)


def honour_retry_after(delay: float | None, retry_after: float | None) -> float | None:
    """Postpone a try to what the endpoint asked for, at most 24 h; never bring it forward."""
    if delay is None or retry_after is None or math.isnan(retry_after):
        return delay
    return max(delay, min(retry_after, RETRY_AFTER_MAX))


def _seconds_until(date: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        # HTTP-dates are in GMT; the asctime form does not say so.
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (aware - now).total_seconds())
    except (ValueError, OverflowError):
        return None
