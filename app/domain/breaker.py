"""The circuit breaker of one endpoint, its slow-downs, and how long it has been failing."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.outcome import Verdict

OPEN_AFTER = 5
BACK_OFF_FIRST = 30.0
BACK_OFF_LAST = 900.0
SLOW_DEFAULT = 5.0
SLOW_MIN = 1.0
SLOW_MAX = 3600.0
JITTER = 0.2
DISABLE_AFTER = timedelta(days=5)


@dataclass(frozen=True, slots=True)
class Health:
    """What is remembered of an endpoint.

    Closed: `open_until` is None. Open: it lies ahead. Half-open: it has passed, and one probe may go.
    `opened_times` counts the openings since the last success; `fail_since` is the first failure of the
    unbroken run.
    """

    consecutive_failures: int = 0
    open_until: datetime | None = None
    probing: bool = False
    opened_times: int = 0
    slow_until: datetime | None = None
    fail_since: datetime | None = None


HEALTHY = Health()


def after(health: Health, verdict: Verdict, now: datetime, dice: float, retry_after: float | None) -> Health:
    """Return the health after an attempt; `retry_after` is in seconds, `dice` in [0, 1).

    A fault of our own side only ends the probe. A success clears everything but a slow-down that still
    lasts, which the endpoint asked for itself.
    """
    if not verdict.blames:
        return replace(health, probing=False)
    if verdict.success:
        return Health(slow_until=_ahead(health.slow_until, now))
    failed = replace(
        health,
        consecutive_failures=health.consecutive_failures + 1,
        probing=False,
        fail_since=health.fail_since or now,
        slow_until=_slow_until(health, verdict, now, dice, retry_after),
    )
    return _opened(failed, now, dice) if _should_open(failed, now) else failed


def probe(health: Health, now: datetime) -> Health:
    """Note that an attempt starts; at half-open it is the probe."""
    return replace(health, probing=True) if is_half_open(health, now) else health


def allowance(health: Health, now: datetime, in_flight: int, cap: int) -> int:
    """Return how many attempts may start now.

    At half-open the attempts in flight decide, not `probing`: a probe whose worker died leaves with its
    lease, and the next one may go.
    """
    if _is_ahead(health.open_until, now) or _is_ahead(health.slow_until, now):
        return 0
    return max(0, (1 if health.open_until else cap) - in_flight)


def next_check(health: Health, now: datetime) -> datetime | None:
    """Return when time alone will allow attempts again; None when it does not forbid them."""
    waits = [moment for moment in (health.open_until, health.slow_until) if _is_ahead(moment, now)]
    return max((moment for moment in waits if moment), default=None)


def should_disable(health: Health, now: datetime) -> bool:
    """Tell whether the endpoint has failed without a break for 5 days."""
    return health.fail_since is not None and now - health.fail_since >= DISABLE_AFTER


def is_half_open(health: Health, now: datetime) -> bool:
    """Tell whether the breaker lets one probe through."""
    return health.open_until is not None and health.open_until <= now


def _should_open(failed: Health, now: datetime) -> bool:
    # Failures of attempts that were in flight when it opened do not prolong it.
    if failed.open_until is None:
        return failed.consecutive_failures >= OPEN_AFTER
    return failed.open_until <= now


def _opened(failed: Health, now: datetime, dice: float) -> Health:
    # The exponent is bounded, so that years of failures do not make a number without end.
    doubled = BACK_OFF_FIRST * 2 ** min(failed.opened_times, 16)
    wait = _jittered(min(doubled, BACK_OFF_LAST), dice)
    return replace(failed, open_until=now + wait, opened_times=failed.opened_times + 1)


def _slow_until(
    health: Health, verdict: Verdict, now: datetime, dice: float, retry_after: float | None
) -> datetime | None:
    current = _ahead(health.slow_until, now)
    if not verdict.slow_down:
        return current
    if retry_after is None:
        asked = now + _jittered(SLOW_DEFAULT, dice)
    else:
        asked = now + timedelta(seconds=min(max(retry_after, SLOW_MIN), SLOW_MAX))
    return max(asked, current) if current else asked


def _jittered(seconds: float, dice: float) -> timedelta:
    return timedelta(seconds=seconds * (1 - JITTER + 2 * JITTER * dice))


def _is_ahead(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment > now


def _ahead(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if _is_ahead(moment, now) else None
