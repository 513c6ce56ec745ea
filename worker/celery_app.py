"""The composition root of the workers: the broker, the queues, the schedule, the processes."""

import atexit
import logging
import sys
import time
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.apps import worker as program
from celery.signals import (
    beat_init,
    celeryd_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from kombu.entity import Exchange, Queue

from app.kit.queue import ABOUT, MAINTENANCE_QUEUE, RETENTION_TASK, SIGNING_KEYS_TASK, WAKE_QUEUE
from app.kit.telemetry import logs, traces
from app.kit.telemetry.about import About, begin
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.management import Management
from app.kit.wakes import Wake
from app.settings import read_settings
from worker.background import run_due_tasks
from worker.measures import measure_tasks
from worker.process import Process, refuse_missing_folder, refuse_unsafe_database
from worker.retention import retain
from worker.signing_keys import turn_keys
from worker.stopping import Stopping
from worker.tracing import start_traces

START_AGAIN_SECONDS = 1.0
logger = get_logger(__name__)
settings = read_settings()
celery = Celery("postrider", broker=settings.redis.url.get_secret_value())
celery.conf.update(
    # Each with an exchange of its own: by default both would be bound to one, and get what is sent to either.
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in (WAKE_QUEUE, MAINTENANCE_QUEUE)],
    task_default_queue=MAINTENANCE_QUEUE,
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_proc_alive_timeout=30,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A broker that answers with refusals (read-only, out of memory) is one to come back to, as one that is absent.
    broker_channel_error_retry=True,
    broker_transport_options={
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "health_check_interval": 10,
        "visibility_timeout": 600,
    },
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule={
        "retention": {
            "task": RETENTION_TASK,
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600, "queue": MAINTENANCE_QUEUE},
        },
        "signing-keys": {
            "task": SIGNING_KEYS_TASK,
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600, "queue": MAINTENANCE_QUEUE},
        },
    },
)

# Made before the pool forks, so that its processes learn of a shutdown when it begins, not when their turn comes.
stopping = Stopping()
measure_tasks()
_process: list[Process] = []
_management: list[Management] = []


@celeryd_init.connect
@setup_logging.connect
def begin_to_log(**_: Any) -> None:  # noqa: ANN401 the signal's own arguments
    """Has Celery's processes log as all others do; that this is connected keeps Celery from its own ways."""
    part = "beat" if "beat" in sys.argv else "worker"
    logs.install(part, settings.telemetry.log_format, settings.telemetry.log_level)
    program.safe_say = _say  # type: ignore[attr-defined] # its stubs lack it


def _say(text: str, _stream: object = None) -> None:
    """What Celery would print beside its log, of signals that came."""
    logging.getLogger(program.__name__).info(text)


@worker_init.connect
def check_settings(**_: Any) -> None:  # noqa: ANN401 the signal's own arguments
    """Ends the worker before it begins, when its database would lose data or its folder is not there."""
    refuse_missing_folder(settings)
    refuse_unsafe_database(settings)


@beat_init.connect
def trace_beat(**_: Any) -> None:  # noqa: ANN401 see above
    """Records the tasks that beat sends."""
    start_traces(settings, "beat")
    atexit.register(traces.stop)
    _manage()


@worker_process_init.connect
def start_process(**_: Any) -> None:  # noqa: ANN401 see above
    """Begins to deliver in a process of the pool."""
    try:
        process = Process(settings, stopping)
        process.start()
    except Exception:
        # Celery would keep a process that delivers nothing; this one ends, and the pool makes another.
        logger.exception("process_not_started", effect="another one tries again")
        time.sleep(START_AGAIN_SECONDS)
        raise SystemExit(1) from None
    _process.append(process)
    _manage()


@worker_ready.connect
def manage_main(**_: Any) -> None:  # noqa: ANN401 see above
    """Tells of the process that the pool's are forked from, once they are."""
    _manage()


def _manage() -> None:
    """Serves what this process tells of itself, if that is wanted."""
    telemetry = settings.telemetry
    if telemetry.port is not None:
        management = Management(telemetry.host, telemetry.port, telemetry.ports)
        management.start()
        _management[:] = [management]


@worker_shutting_down.connect
def announce_shutdown(**_: Any) -> None:  # noqa: ANN401 see above
    """Tells the pool's processes to claim no more."""
    stopping.set()


@worker_process_shutdown.connect
def stop_process(**_: Any) -> None:  # noqa: ANN401 see above
    """Ends a process of the pool; what it cannot finish goes back at once."""
    while _process:
        _process.pop().stop()
    while _management:
        _management.pop().stop()
    logs.flush()


@task_prerun.connect
def note_task(task: Any, **_: Any) -> None:  # noqa: ANN401 see above
    """Says what is done from here on, and for which request if it came with one's ids."""
    note = About.read(task.request.get(ABOUT) or {})
    note.task = task.name
    begin(note)


@task_postrun.connect
def forget_task(**_: Any) -> None:  # noqa: ANN401 see above
    """Says that it is over."""
    begin(About())


@celery.task(name=Wake.delivery)
def wake() -> None:
    """Something is due: drains it in batches, with many sends at once."""
    _process[0].engine.wake()


@celery.task(name=Wake.background)
def run_background_tasks() -> None:
    """A background task was asked for: carries on what is due."""
    if run_due_tasks(_process[0].sessions):
        _process[0].engine.wake()


@celery.task(name=Wake.mail)
def send_mail() -> None:
    """Mail was queued: has it sent."""
    _process[0].postman.wake()


@celery.task(name=RETENTION_TASK)
def run_retention() -> None:
    """Makes the partitions of the next days and drops those whose time is over."""
    retain(_process[0].sessions)


@celery.task(name=SIGNING_KEYS_TASK)
def turn_signing_keys() -> None:
    """Makes the next key that tokens are signed with, when it is time, and forgets those that are over."""
    turn_keys(_process[0].sessions, _process[0].ring)
