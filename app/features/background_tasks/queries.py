"""Statements about background tasks."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from app.models import BackgroundTask

KEPT = timedelta(days=90)


def tasks(environment_id: UUID, *, status: str | None = None, kind: str | None = None) -> Select[BackgroundTask]:
    """An organisation's tasks of the last 90 days."""
    found = select(BackgroundTask).where(
        BackgroundTask.environment_id == environment_id, BackgroundTask.created_at > func.now() - KEPT
    )
    if status is not None:
        found = found.where(BackgroundTask.status == status)
    return found if kind is None else found.where(BackgroundTask.kind == kind)


def task(environment_id: UUID, task_id: UUID) -> Select[BackgroundTask]:
    """One task."""
    return select(BackgroundTask).where(BackgroundTask.environment_id == environment_id, BackgroundTask.id == task_id)


def start(
    environment_id: UUID, task_id: UUID, kind: str, running: str, request: Mapping[str, Any]
) -> ReturningInsert[BackgroundTask]:
    """Makes a task that is due at once; returns it."""
    return (
        insert(BackgroundTask)
        .values(
            environment_id=environment_id,
            id=task_id,
            kind=kind,
            status=running,
            request=dict(request),
            progress={},
            due_at=func.now(),
        )
        .returning(BackgroundTask)
    )


def claim(running: str, lease: timedelta) -> ReturningUpdate[BackgroundTask]:
    """Leases the task that has waited longest, of any organisation, and raises its fence; returns it."""
    due = aliased(BackgroundTask)
    waiting = (
        select(due.environment_id, due.id)
        .where(due.status == running, due.due_at <= func.now())
        .order_by(due.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("waiting")
    )
    return (
        update(BackgroundTask)
        .where(BackgroundTask.environment_id == waiting.c.environment_id, BackgroundTask.id == waiting.c.id)
        .values(due_at=func.now() + lease, fence=BackgroundTask.fence + 1)
        .returning(BackgroundTask)
    )


def advance(held: BackgroundTask, progress: Mapping[str, Any], pause: timedelta) -> ReturningUpdate[UUID]:
    """Stores how far a task is and gives it back; no row when somebody else holds it by now."""
    return _held(held).values(progress=progress, due_at=func.clock_timestamp() + pause)


def finish(held: BackgroundTask, status: str, progress: Mapping[str, Any]) -> ReturningUpdate[UUID]:
    """Ends a task; no row when somebody else holds it by now."""
    return _held(held).values(status=status, progress=progress, finished_at=func.now())


def _held(held: BackgroundTask) -> ReturningUpdate[UUID]:
    return (
        update(BackgroundTask)
        .where(
            BackgroundTask.environment_id == held.environment_id,
            BackgroundTask.id == held.id,
            BackgroundTask.fence == held.fence,
        )
        .returning(BackgroundTask.id)
    )
