"""Routes of background tasks."""

from typing import Annotated, Any

from fastapi import Path, Query

from app.auth.dependencies import CanReadTasks, Db
from app.features.background_tasks import service
from app.features.background_tasks.operations import TaskStatus
from app.features.background_tasks.schemas import BackgroundTaskOut
from app.kit.paging import Listing, PageQuery
from app.kit.query import Reference
from app.kit.routing import Router
from app.kit.wire import Name

router = Router(tag="Background Tasks")


@router.get("/background-task", response_model=Listing[BackgroundTaskOut], operation_id="v1.background-task.list")
async def list_background_tasks(
    caller: CanReadTasks,
    db: Db,
    asked: PageQuery,
    status: Annotated[TaskStatus | None, Query()] = None,
    task: Annotated[Name | None, Query()] = None,
) -> dict[str, Any]:
    """The tasks of the last 90 days, the newest first."""
    return await service.page(db, caller.environment_id, status, task, asked)


@router.get("/background-task/{task_id}", operation_id="v1.background-task.get")
async def get_background_task(
    caller: CanReadTasks, db: Db, task_id: Annotated[Reference, Path(description="The task's id")]
) -> BackgroundTaskOut:
    """A task and how far it is."""
    return await service.read(db, caller.environment_id, task_id)
