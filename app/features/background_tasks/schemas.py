"""Background tasks on the wire."""

from datetime import datetime
from typing import Any, Self

from app.domain.ids import encode
from app.features.background_tasks.operations import PREFIX, TaskKind, TaskStatus, describe
from app.kit.wire import Out
from app.models import BackgroundTask


class BackgroundTaskOut(Out):
    """A task; `data` says what was asked and how far it is."""

    id: str
    task: TaskKind
    status: TaskStatus
    updated_at: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, task: BackgroundTask) -> Self:
        """The row as it is shown."""
        return cls(
            id=encode(PREFIX, task.id),
            task=TaskKind(task.kind),
            status=TaskStatus(task.status),
            updated_at=task.updated_at,
            data=describe(task, task.progress, task.status),
        )
