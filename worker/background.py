"""Carries background tasks on, step by step; each step is a transaction of its own, so any process may take over."""

import time

from sqlalchemy.orm import Session, sessionmaker

from app.features.background_tasks import operations
from app.features.background_tasks.operations import LeaseLostError, StepError
from app.features.deliveries import replays
from app.kit.telemetry.logs import get_logger
from app.models import BackgroundTask

TURN_SECONDS = 5.0
logger = get_logger(__name__)


def run_due_tasks(sessions: sessionmaker[Session], seconds: float = TURN_SECONDS) -> int:
    """Does steps of due tasks, the longest waiting first, until none is due or the time is over; says how many."""
    end = time.monotonic() + seconds
    steps = 0
    while _run_one(sessions):
        steps += 1
        if time.monotonic() >= end:
            break
    return steps


def _run_one(sessions: sessionmaker[Session]) -> bool:
    with sessions.begin() as db:
        task = operations.claim(db)
    if task is not None:
        _run(sessions, task)
    return task is not None


def _run(sessions: sessionmaker[Session], task: BackgroundTask) -> None:
    try:
        with sessions.begin() as db:
            is_done = _step(db, task)
        if is_done:
            logger.info("background_task_ended", task_id=str(task.id), kind=task.kind, success=True)
    except LeaseLostError:
        logger.warning("background_step_dropped", task_id=str(task.id), effect="another process has gone on")
    except StepError as error:
        with sessions.begin() as db:
            operations.fail(db, task, str(error))
        logger.info("background_task_ended", task_id=str(task.id), kind=task.kind, success=False, error=str(error))
    except Exception:
        logger.exception("background_step_failed", task_id=str(task.id))
        with sessions.begin() as db:
            operations.stumble(db, task)


def _step(db: Session, task: BackgroundTask) -> bool:
    """Whether it was the last."""
    progress, is_done = replays.step(db, task)
    if is_done:
        operations.finish(db, task, progress)
    else:
        operations.advance(db, task, progress)
    return is_done
