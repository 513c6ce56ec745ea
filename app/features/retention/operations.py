"""Keeps partitions ahead of time and lets data go when its time is over; each step is a transaction of its own."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import Connection, Delete
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from app.domain.ids import timestamp
from app.features.retention import people_queries, queries
from app.features.retention.purge import purge
from app.kit.telemetry.logs import get_logger

KEPT = timedelta(days=90)
AHEAD = 3
NEXT_EXPIRIES = 6
# What is still owed when its payload expires moves on by so many days.
GRACE = 2
BY_MESSAGE = ("messages", "deliveries")
BATCH = 1000
# Shorter than the broker's patience with a task.
PURGE_SECONDS = 300.0
DAY = timedelta(days=1)
logger = get_logger(__name__)
Sessions = sessionmaker[Session]


@dataclass(slots=True)
class Report:
    """What a run did: partitions dropped by name, payloads moved on, rows deleted by table."""

    dropped: list[str] = field(default_factory=list)
    moved: int = 0
    deleted: dict[str, int] = field(default_factory=dict)


def retain(sessions: Sessions, *, kept: timedelta = KEPT) -> Report:
    """Makes the partitions of the next days, and lets go what is older than `kept`."""
    report = Report()
    with sessions() as db:
        now = db.execute(queries.settled_day()).scalar_one()
    _ensure(sessions, now)
    _drop_old(sessions, report, now - kept)
    _drop_payloads(sessions, report, now)
    _purge(sessions, report, kept)
    _purge_deleted(sessions, report)
    return report


def _ensure(sessions: Sessions, today: date) -> None:
    days = _span(today - DAY, AHEAD + 1)
    expiries = _span(today, NEXT_EXPIRIES) + _span(today + KEPT - DAY, AHEAD + 1)
    for day in days:
        _ensure_one(sessions, [day], [])
    for day in expiries:
        _ensure_one(sessions, [], [day])


def _ensure_one(sessions: Sessions, days: list[date], expiries: list[date]) -> None:
    with sessions.begin() as db:
        db.execute(queries.ensure_partitions(days, expiries))


def _span(first: date, more: int) -> list[date]:
    return [first + DAY * number for number in range(more + 1)]


def _drop_old(sessions: Sessions, report: Report, last: date) -> None:
    """Drops what is older than the last day kept, but for messages that are still owed to somebody."""
    old = {parent: [day for day in _days(sessions, parent) if day < last] for parent in (*BY_MESSAGE, "attempts")}
    owed = _oldest_owed(sessions) if any(old[parent] for parent in BY_MESSAGE) else date.max
    for parent, days in old.items():
        for day in days:
            if parent not in BY_MESSAGE or day < owed:
                _drop(sessions, report, parent, day)


def _oldest_owed(sessions: Sessions) -> date:
    with sessions() as db:
        oldest = db.execute(queries.oldest_due()).scalar_one()
    return date.max if oldest is None else timestamp(UUID(oldest)).date()


def _drop_payloads(sessions: Sessions, report: Report, today: date) -> None:
    for day in _days(sessions, "payloads"):
        if day < today:
            moved = _until_nothing(sessions, partial(_move_on, day=day, today=today))
            report.moved += moved
            _drop(sessions, report, "payloads", day)


def _move_on(db: Session, day: date, today: date) -> int:
    return db.execute(queries.move_on(day, today + DAY * GRACE, BATCH)).scalar_one()


def _drop(sessions: Sessions, report: Report, parent: str, day: date) -> None:
    try:
        with sessions.begin() as db:
            dropped = db.execute(queries.drop_partition(parent, day)).scalar_one()
    except OperationalError:
        # Somebody reads it just now; the next run tries again.
        logger.warning("partition_in_use", table=parent, day=str(day), effect="the next run drops it")
        return
    if dropped:
        report.dropped.append(f"{parent} {day}")


def _days(sessions: Sessions, parent: str) -> list[date]:
    with sessions() as db:
        return days_of(db, parent)


def days_of(db: Session | Connection, parent: str) -> list[date]:
    """The days for which a table has partitions."""
    return list(_read_days(db.scalars(queries.partitions(parent)).all()))


def _read_days(names: Iterable[str]) -> Iterable[date]:
    for name in names:
        yield datetime.strptime(name.rpartition("_p")[2], "%Y%m%d").replace(tzinfo=UTC).date()


def _purge(sessions: Sessions, report: Report, kept: timedelta) -> None:
    purges: dict[str, Delete] = {
        "idempotency_keys": queries.purge_idempotency_keys(BATCH),
        "message_event_ids": queries.purge_event_ids(kept, BATCH),
        "delivery_actions": queries.purge_actions(kept, BATCH),
        "background_tasks": queries.purge_background_tasks(kept, BATCH),
        "revoked_portal_tokens": queries.purge_portal_tokens(BATCH),
        "portal_expiries": queries.purge_portal_expiries(BATCH),
        "signature_nonces": queries.purge_nonces(BATCH),
        "used_links": queries.purge_used_links(BATCH),
        "endpoint_secrets": queries.purge_secrets(BATCH),
        **people_queries.purges(kept, BATCH),
    }
    for table, statement in purges.items():
        report.deleted[table] = _until_nothing(sessions, partial(_delete, statement=statement))


def _purge_deleted(sessions: Sessions, report: Report) -> None:
    """Lets go of what was deleted, for a while; the next run goes on."""
    end = time.monotonic() + PURGE_SECONDS
    for table, count in purge(sessions):
        report.deleted[table] = report.deleted.get(table, 0) + count
        if time.monotonic() >= end:
            return


def _delete(db: Session, statement: Delete) -> int:
    first, *_ = statement.table.primary_key
    return len(db.execute(statement.returning(first)).all())


def _until_nothing(sessions: Sessions, act: Callable[[Session], int]) -> int:
    total = 0
    while True:
        with sessions.begin() as db:
            done = act(db)
        total += done
        if not done:
            return total
