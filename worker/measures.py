"""Celery's tasks, counted and timed by their names as they are sent, begin and end."""

import time
from typing import Any

from celery.signals import before_task_publish, task_postrun, task_prerun, task_revoked

from app.kit.queue import RETENTION_TASK, SENT_AT, SIGNING_KEYS_TASK
from app.kit.telemetry.metrics import TASK_DELAY_SECONDS, TASK_SECONDS, TASKS
from app.kit.wakes import Wake

NAMES = frozenset({*Wake, RETENTION_TASK, SIGNING_KEYS_TASK})
_BEGAN = "postrider_began"


def measure_tasks() -> None:
    """Measures those of this process, and of those that are forked from it."""
    before_task_publish.connect(_stamp)
    task_prerun.connect(_begin)
    task_postrun.connect(_end)
    task_revoked.connect(_expire)
    for name in NAMES:
        for outcome in ("succeeded", "failed", "expired"):
            TASKS.labels(name, outcome)


def _stamp(headers: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 the signal's own arguments
    headers.setdefault(SENT_AT, time.time())


def _begin(task: Any, **_: Any) -> None:  # noqa: ANN401 see above
    sent_at = task.request.get(SENT_AT)
    if sent_at is not None:
        TASK_DELAY_SECONDS.labels(task.name).observe(max(0.0, time.time() - sent_at))
    task.request.update({_BEGAN: time.perf_counter()})


def _end(task: Any, state: str, **_: Any) -> None:  # noqa: ANN401 see above
    TASKS.labels(task.name, "succeeded" if state == "SUCCESS" else "failed").inc()
    TASK_SECONDS.labels(task.name).observe(time.perf_counter() - task.request.get(_BEGAN))


def _expire(sender: Any, **_: Any) -> None:  # noqa: ANN401 see above
    TASKS.labels(sender.name, "expired").inc()
