"""Writes down what attempts brought, in batches: the attempt, the delivery's next state, the endpoint's health."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import breaker, ids, retry
from app.domain.audit import Actor, Event, Target
from app.domain.breaker import Health
from app.features.audit import operations as audit
from app.features.deliveries import claim_queries, operations
from app.features.deliveries import record_queries as queries
from app.features.messages.operations import ensure_partitions
from app.kit.arrays import transpose
from app.kit.direct import fetch
from app.models import Lane, Status, Trigger
from worker.delivery.job import EndpointKey, Job, Sent
from worker.delivery.tell import Disabled, tell

FAILING_AFTER = 4
NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an attempt: `delay` seconds until the next try, None when none follows."""

    sent: Sent
    delay: float | None

    @property
    def by_hand(self) -> bool:
        """Whether a person asked for the attempt, beside those that are scheduled."""
        return self.sent.job.key.trigger == Trigger.manual


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many results were stored, and how many came too late.

    `delivered` ones ended well, with the time since which they were owed where that is known; `exhausted` ones did not.
    """

    stored: int
    zombies: int
    delivered: Sequence[tuple[Sent, datetime | None]] = field(default=(), compare=False)
    exhausted: int = field(default=0, compare=False)


def record(db: Session, results: Sequence[Sent]) -> Recorded:
    """Stores results whose lease still holds; the fence refuses those of zombies."""
    if not results:
        return Recorded(0, 0)
    now = max(one.job.database_time() for one in results)
    # Before any delivery is locked: whoever disables an endpoint has its health and wants all its deliveries.
    known = _lock_health(db, _touched(results))
    alive = _conclude(db, _decide(db, results, now))
    disabled = _update_health(db, known, [one.sent for one in alive], now)
    tell(db, [(_change(one), one.sent) for one in alive], disabled)
    delivered = _owed_since(db, [one.sent for one in alive if one.sent.verdict.success])
    exhausted = sum(one.delay is None and not one.by_hand and not one.sent.verdict.success for one in alive)
    return Recorded(len(alive), len(results) - len(alive), delivered, exhausted)


def _owed_since(db: Session, delivered: Sequence[Sent]) -> list[tuple[Sent, datetime | None]]:
    """Since when each was owed: a first try since it was due, a later one since its message was to be sent."""
    repeated = [one.job.key for one in delivered if one.job.attempt > 1 and _is_on_schedule(one.job)]
    later = {(key.environment_id, key.message_id) for key in repeated}
    rows = db.execute(queries.send_times(), transpose(sorted(later), "environment_id", "id")) if later else ()
    times = {row.id: row.sent_at for row in rows}
    return [(one, _since(one.job, times)) for one in delivered]


def _is_on_schedule(job: Job) -> bool:
    return job.key.trigger == Trigger.scheduled and job.lane != Lane.replay


def _since(job: Job, times: Mapping[UUID, datetime]) -> datetime | None:
    if not _is_on_schedule(job):
        return None
    return times.get(job.key.message_id) if job.attempt > 1 else job.claimed_at - timedelta(seconds=job.late)


def release(db: Session, jobs: Iterable[Job]) -> None:
    """Gives back what was claimed and will not be sent."""
    rows = [(*job.key, job.attempt) for job in jobs]
    if rows:
        db.execute(queries.release(), transpose(rows, *queries.FENCED))


def _decide(db: Session, results: Sequence[Sent], now: datetime) -> list[Decision]:
    failed = [one for one in results if not one.verdict.success and one.job.key.trigger == Trigger.scheduled]
    schedules = _schedules(db, failed)
    delays = {id(one): _delay(one, schedules[_kind(one)], now) for one in failed}
    return [Decision(one, delays.get(id(one))) for one in results]


def _kind(one: Sent) -> tuple[UUID, str]:
    return one.job.key.environment_id, one.job.event_type


def _schedules(db: Session, failed: Sequence[Sent]) -> Mapping[tuple[UUID, str], Any]:
    kinds = sorted({_kind(one) for one in failed})
    if not kinds:
        return {}
    rows = db.execute(queries.schedules(), transpose(kinds, "environment_id", "event_type"))
    return {(row.environment_id, row.event_type): row for row in rows}


def _delay(one: Sent, schedules: Any, now: datetime) -> float | None:  # noqa: ANN401 a row of queries.schedules
    if one.verdict.disable:
        return None
    schedule = retry.schedule_for(one.job.destination.retry_schedule, schedules.of_type, schedules.of_organisation)
    delay = retry.next_delay(schedule, one.job.failures + 1, random.random())  # noqa: S311 jitter
    return retry.honour_retry_after(delay, retry.parse_retry_after(one.retry_after, now))


def _conclude(db: Session, decisions: Sequence[Decision]) -> list[Decision]:
    """Moves and stores; returns those that were still ours to move. What was asked by hand has the last word."""
    scheduled = _store(db, [one for one in decisions if not one.by_hand])
    by_hand = _store(db, [one for one in decisions if one.by_hand])
    delivered = [one.sent.job.key[:3] for one in by_hand if one.sent.verdict.success]
    if delivered:
        db.execute(queries.settle_twins(), transpose(delivered, *queries.PAIR))
    return scheduled + by_hand


def _store(db: Session, decisions: Sequence[Decision]) -> list[Decision]:
    if not decisions:
        return []
    ensure_partitions(db, {ids.timestamp(one.sent.attempt_id).date() for one in decisions})
    rows = [_row(place, one) for place, one in enumerate(decisions)]
    lost = _lost(db, rows)
    if lost:
        # What somebody else has just changed lies elsewhere now; what is really gone is not found again.
        lost = _lost(db, [row for row in rows if row[0] in lost])
    return [one for place, one in enumerate(decisions) if place not in lost]


def _lost(db: Session, rows: Sequence[tuple[Any, ...]]) -> set[int]:
    return {row.place for row in fetch(db, queries.conclude(), transpose(rows, *queries.RESULT))}


def _row(place: int, one: Decision) -> tuple[Any, ...]:
    sent, job = one.sent, one.sent.job
    success = sent.verdict.success
    return (
        place,
        job.key.environment_id,
        sent.attempt_id,
        job.application_id,
        job.key.endpoint_id,
        job.key.message_id,
        job.event_type,
        job.key.trigger,
        job.attempt,
        int(Status.success if success else Status.fail),
        sent.status or NO_ANSWER,
        sent.failure,
        sent.detail or None,
        sent.body,
        sent.duration_ms,
        job.destination.url,
        sent.started_at,
        one.delay,
        job.failures,
        success or not one.by_hand,
    )


def _touched(results: Iterable[Sent]) -> list[EndpointKey]:
    """The endpoints whose health may change: those with failures, and those that were unwell."""
    return sorted({one.job.key.endpoint for one in results if not one.verdict.success or one.job.is_unwell})


def _lock_health(db: Session, keys: Sequence[EndpointKey]) -> dict[EndpointKey, Health]:
    if not keys:
        return {}
    parameters = transpose(keys, *claim_queries.ENDPOINT_KEY)
    db.execute(queries.make_health(), parameters)
    rows = db.execute(queries.health(), parameters)
    return {
        (row.environment_id, row.endpoint_id): Health(**{name: getattr(row, name) for name in claim_queries.HEALTH})
        for row in rows
    }


def _update_health(
    db: Session, known: Mapping[EndpointKey, Health], results: Iterable[Sent], now: datetime
) -> list[Disabled]:
    """Learns of the endpoints whose health is locked; returns what to tell."""
    touched: dict[EndpointKey, list[Sent]] = defaultdict(list)
    for one in results:
        if one.job.key.endpoint in known:
            touched[one.job.key.endpoint].append(one)
    if not touched:
        return []
    learnt = {key: _learn(known[key], group, now) for key, group in touched.items()}
    rows = [(*key, *(getattr(health, name) for name in claim_queries.HEALTH)) for key, health in learnt.items()]
    db.execute(queries.set_health(), transpose(rows, *claim_queries.ENDPOINT_KEY, *claim_queries.HEALTH))
    return _disable(db, touched, learnt, now)


def _learn(health: Health, results: Sequence[Sent], now: datetime) -> Health:
    for one in results:
        asked = retry.parse_retry_after(one.retry_after, now)
        health = breaker.after(health, one.verdict, now, random.random(), asked)  # noqa: S311 jitter
    return health


def _disable(
    db: Session,
    touched: Mapping[EndpointKey, Sequence[Sent]],
    learnt: Mapping[EndpointKey, Health],
    now: datetime,
) -> list[Disabled]:
    gone = {key for key, group in touched.items() if any(one.verdict.disable for one in group)}
    failing = {key for key, health in learnt.items() if breaker.should_disable(health, now)} - gone
    rows = [(*key, "gone") for key in gone] + [(*key, "failing") for key in failing]
    if not rows:
        return []
    disabled = db.execute(
        queries.disable_endpoints(), transpose(sorted(rows), *claim_queries.ENDPOINT_KEY, "reason")
    ).all()
    for row in disabled:
        operations.cancel(db, row.environment_id, endpoint_id=row.id, reason="endpoint disabled")
        audit.record(db, _disabled_event(row))
    db.flush()
    since = {key[1]: health.fail_since or now for key, health in learnt.items()}
    told = {key[1] for key, group in touched.items() if not group[0].job.is_operational}
    return [
        Disabled(row.environment_id, row.application_id, row.id, row.uid, since[row.id])
        for row in disabled
        if row.id in told
    ]


def _disabled_event(row: Any) -> Event:  # noqa: ANN401 a row of disable_endpoints
    target = Target("endpoint", ids.encode("ep", row.id))
    return Event(row.organisation_id, "endpoint.disabled", Actor("worker"), target, details={"reason": row.reason})


def _change(one: Decision) -> str | None:
    """What the attempt changes for those who watch the delivery, as the wire names it."""
    if one.sent.job.key.trigger == Trigger.manual:
        return None
    failures = one.sent.job.failures
    if one.sent.verdict.success:
        return "recovered" if failures >= FAILING_AFTER else None
    if one.delay is None:
        return "exhausted"
    return "failing" if failures + 1 == FAILING_AFTER else None
