"""Starts, claims and ends background tasks. The row is the task: whoever holds its fence may move it."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.ids import encode
from app.features.background_tasks import queries
from app.features.operational_webhooks.operations import emit
from app.kit.clock import new_id
from app.kit.wakes import Wake, ask
from app.models import BackgroundTask

PREFIX = "qtask"
FINISHED_EVENT = "background_task.finished"
LEASE = timedelta(seconds=60)
MOST_FAILURES = 8
LONGEST_PAUSE = timedelta(minutes=5)


class TaskStatus(StrEnum):
    """The wire's states of a task."""

    running = "running"
    finished = "finished"
    failed = "failed"


class TaskKind(StrEnum):
    """What tasks there are, by their names on the wire."""

    recover = "endpoint.recover"
    replay = "endpoint.replay"
    bulk_replay = "endpoint.bulk-replay"


class LeaseLostError(RuntimeError):
    """Another worker holds the task by now, so this one's work must not be committed."""


class StepError(Exception):
    """The task can never be done; its text is shown to the caller."""


def start(db: Session, environment_id: UUID, kind: TaskKind, request: Mapping[str, Any]) -> BackgroundTask:
    """Makes a task that is due at once."""
    ask(db, Wake.background)
    statement = queries.start(environment_id, new_id(), kind, TaskStatus.running, request)
    return db.scalars(statement).one()


def claim(db: Session) -> BackgroundTask | None:
    """The task that waited longest, leased; None when none is due."""
    return db.scalars(queries.claim(TaskStatus.running, LEASE)).one_or_none()


def advance(db: Session, task: BackgroundTask, progress: Mapping[str, Any]) -> None:
    """Stores how far the task is; another step is due at once. Raises LeaseLostError."""
    _hold(db.scalar(queries.advance(task, {**progress, "failures": 0}, timedelta())))


def finish(db: Session, task: BackgroundTask, progress: Mapping[str, Any]) -> None:
    """Ends the task well and tells the organisation. Raises LeaseLostError."""
    _end(db, task, TaskStatus.finished, progress)


def fail(db: Session, task: BackgroundTask, reason: str) -> None:
    """Ends the task badly and tells the organisation. Raises LeaseLostError."""
    _end(db, task, TaskStatus.failed, {**task.progress, "error": reason})


def stumble(db: Session, task: BackgroundTask) -> None:
    """Puts the task off after an unexpected error, each time for longer, and ends it when there were too many."""
    failures = int(task.progress.get("failures", 0)) + 1
    if failures >= MOST_FAILURES:
        fail(db, task, "internal error")
        return
    pause = min(timedelta(seconds=2**failures), LONGEST_PAUSE)
    _hold(db.scalar(queries.advance(task, {**task.progress, "failures": failures}, pause)))


def _end(db: Session, task: BackgroundTask, status: TaskStatus, progress: Mapping[str, Any]) -> None:
    _hold(db.scalar(queries.finish(task, status, progress)))
    event = {
        "taskId": encode(PREFIX, task.id),
        "task": task.kind,
        "status": status,
        "data": describe(task, progress, status),
    }
    emit(db, task.environment_id, FINISHED_EVENT, event)


def _hold(row: UUID | None) -> None:
    if row is None:
        raise LeaseLostError


def describe(task: BackgroundTask, progress: Mapping[str, Any], status: str) -> dict[str, Any]:
    """The wire's `data`: what was asked, how many messages were sent and, from 0 to 1, how far the task is."""
    share = 1.0 if status == TaskStatus.finished else float(progress.get("share", 0.0))
    error = {"error": progress["error"]} if "error" in progress else {}
    return {**task.request, "messagesSent": int(progress.get("sent", 0)), "progress": share, **error}
