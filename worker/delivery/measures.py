"""What the delivery engine counts of itself; told once a transaction is committed, and once for each attempt."""

from collections.abc import Callable, Iterable
from datetime import datetime

from app.domain.outcome import Failure
from app.kit.telemetry.metrics import (
    ATTEMPT_SECONDS,
    ATTEMPTS,
    CLAIM_BATCH,
    CLAIM_SECONDS,
    DELIVERIES,
    DELIVERY_SECONDS,
    EGRESS_BLOCKED,
    HELD_BACK,
    IN_FLIGHT,
    IN_FLIGHT_LIMIT,
    LEASES_EXPIRED,
    PICKUP_SECONDS,
    ZOMBIES,
    exemplar,
)
from app.models import Lane
from worker.delivery.claim import Claimed
from worker.delivery.job import Job, Sent
from worker.delivery.record import Recorded

_DELIVERED, _EXHAUSTED = DELIVERIES.labels("delivered"), DELIVERIES.labels("exhausted")
_FIRST, _HELD, _LATER = (DELIVERY_SECONDS.labels(tries) for tries in ("first", "held", "later"))
_PICKUP = {int(lane): PICKUP_SECONDS.labels(lane.name) for lane in Lane}
_SECONDS = {int(lane): ATTEMPT_SECONDS.labels(lane.name) for lane in Lane}
_CLASSES = ("2xx", "3xx", "4xx", "5xx")
_ATTEMPTS = {
    (int(lane), result): ATTEMPTS.labels(lane.name, result) for lane in Lane for result in (*_CLASSES, *Failure)
}


def watch(flying: Callable[[], Iterable[Job]], limit: int) -> None:
    """Has it seen, whenever somebody looks, how many deliveries are in flight."""
    IN_FLIGHT_LIMIT.set(limit)
    for lane in Lane:
        IN_FLIGHT.labels(lane.name).set_function(_counting(flying, lane))


def _counting(flying: Callable[[], Iterable[Job]], lane: Lane) -> Callable[[], float]:
    return lambda: float(sum(job.lane == lane for job in flying()))


def measure_cycle(claimed: Claimed, recorded: Recorded, seconds: float) -> None:
    """Of a transaction that was committed."""
    CLAIM_SECONDS.observe(seconds)
    if claimed.jobs:
        CLAIM_BATCH.observe(len(claimed.jobs))
    for lane, late in claimed.pickups:
        _PICKUP[lane].observe(late)
    LEASES_EXPIRED.inc(claimed.expired)
    HELD_BACK.inc(claimed.held)
    ZOMBIES.inc(recorded.zombies)
    for sent, since in recorded.delivered:
        _measure_delivery(sent, since)
    _EXHAUSTED.inc(recorded.exhausted)


def measure_attempt(sent: Sent) -> None:
    """Of an attempt that has ended."""
    lane = sent.job.lane
    result = sent.failure or f"{(sent.status or 0) // 100}xx"
    counter = _ATTEMPTS.get((lane, result))
    (ATTEMPTS.labels(Lane(lane).name, result) if counter is None else counter).inc()
    _SECONDS[lane].observe(sent.duration_ms / 1000, exemplar(sent.traceparent))
    if sent.failure is Failure.BLOCKED_ADDRESS:
        EGRESS_BLOCKED.inc()


def _measure_delivery(sent: Sent, since: datetime | None) -> None:
    """Of one that an endpoint took; of what a person asked for again nobody says since when it was owed."""
    _DELIVERED.inc()
    if since is not None:
        tries = _LATER if sent.job.attempt > 1 else _HELD if sent.job.was_held else _FIRST
        took = (sent.started_at - since).total_seconds() + sent.duration_ms / 1000
        tries.observe(max(0.0, took), exemplar(sent.traceparent))
