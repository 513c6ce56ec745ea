"""Reading background tasks."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.ids import decode
from app.features.background_tasks import queries
from app.features.background_tasks.operations import PREFIX, TaskStatus
from app.features.background_tasks.schemas import BackgroundTaskOut
from app.kit.errors import not_found
from app.kit.paging import Order, Page, Seal, paginate
from app.models import BackgroundTask


async def page(
    db: AsyncSession, environment_id: UUID, status: TaskStatus | None, kind: str | None, asked: Page
) -> dict[str, Any]:
    """A page of the organisation's tasks, the newest first."""
    return await paginate(
        db,
        queries.tasks(environment_id, status=status, kind=kind),
        BackgroundTask.id,
        asked,
        seal=Seal("background-tasks", (environment_id,)),
        shape=BackgroundTaskOut.of,
        order=Order.descending,
    )


async def read(db: AsyncSession, environment_id: UUID, reference: str) -> BackgroundTaskOut:
    """One task. Raises `not_found`."""
    task_id = decode(PREFIX, reference)
    found = task_id and await db.scalar(queries.task(environment_id, task_id))
    if not found:
        raise not_found("Background task")
    return BackgroundTaskOut.of(found)
