"""The composition root of the workers: the broker, the queues, the schedule, the processes."""

import atexit
import logging
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from billiard import util as pool_words
from billiard.process import current_process
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
    worker_shutting_down,
)
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from prometheus_client import REGISTRY, CollectorRegistry, ProcessCollector

from app.features.deliveries.pools import QUEUES
from app.kit.queue import ABOUT, EXPIRES_SECONDS, MAINTENANCE_QUEUE, RETENTION_TASK, SIGNING_KEYS_TASK
from app.kit.telemetry import logs, reports, traces
from app.kit.telemetry.about import About, begin
from app.kit.telemetry.hearts import Ward
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.management import Management, Probe
from app.kit.telemetry.watching import say_build
from app.kit.wakes import Wake
from app.models import Lane
from app.settings import NO_LANE, read_settings
from worker import management
from worker.background import run_due_tasks
from worker.beat import hearts
from worker.measures import measure_tasks
from worker.process import Process, refuse_missing_folder, refuse_unsafe_database
from worker.reporting import start_reports
from worker.retention import retain
from worker.signing_keys import turn_keys
from worker.stopping import Stopping
from worker.tracing import start_traces

START_AGAIN_SECONDS = 1.0
ALL = slice(None)
logger = get_logger(__name__)
settings = read_settings()
celery = Celery("postrider", broker=settings.redis.url.get_secret_value())
celery.conf.update(
    # Each with an exchange of its own: by default all would be bound to one, and get what is sent to any.
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in (*QUEUES.values(), MAINTENANCE_QUEUE)],
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
    beat_scheduler="worker.beat:Scheduler",
    # Its heart beats as often.
    beat_max_loop_interval=5,
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
ward = Ward(management.LOOPS, management.PLACES)
measure_tasks()
_process: list[Process] = []
_management: list[Management] = []


@celeryd_init.connect
@setup_logging.connect
def begin_to_log(**_: Any) -> None:  # noqa: ANN401 the signal's own arguments
    """Has Celery's processes log as all others do; that this is connected keeps Celery from its own ways."""
    part = "beat" if "beat" in sys.argv else "worker"
    logs.install(part, settings.telemetry.log_format, settings.telemetry.log_level)
    # The pool says of a child that was killed only what somebody has asked to hear.
    pool_words.get_logger().propagate = True
    program.safe_say = _say  # type: ignore[attr-defined] # its stubs lack it


def _say(text: str, _stream: object = None) -> None:
    """What Celery would print beside its log, of signals that came."""
    logging.getLogger(program.__name__).info(text)


@worker_init.connect
def check_settings(**_: Any) -> None:  # noqa: ANN401 the signal's own arguments
    """Ends the worker before it begins, when its database would lose data or its folder is not there."""
    start_reports(settings, "worker")
    refuse_missing_folder(settings)
    refuse_unsafe_database(settings)
    # A registry of its own: the locks of the one that its children inherit must be free whenever it forks.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    _manage(management.probes_of_main(settings, ward), slice(1), registry)
    lanes, queues = settings.delivery.lanes or [NO_LANE], celery.amqp.queues.consume_from
    logger.info("pool_starts", lanes=",".join(lanes), queues=",".join(queues))


@beat_init.connect
def watch_beat(**_: Any) -> None:  # noqa: ANN401 see above
    """Records the tasks that beat sends, and says whether it lives."""
    hearts.export()
    start_reports(settings, "beat")
    start_traces(settings, "beat")
    say_build(settings.telemetry.revision, "beat")
    atexit.register(traces.stop)
    _manage(management.probes_of_beat(hearts, settings.telemetry.stands_still_seconds))


@worker_process_init.connect
def start_process(**_: Any) -> None:  # noqa: ANN401 see above
    """Begins to deliver in a process of the pool."""
    start_reports(settings, "worker")
    try:
        place = current_process().index  # type: ignore[attr-defined] # the pool's processes have it
        maintenance = MAINTENANCE_QUEUE in celery.amqp.queues.consume_from
        process = Process(settings, stopping, ward.take(place), maintenance=maintenance)
        process.start()
    except Exception:
        # Celery would keep a process that delivers nothing; this one ends, and the pool makes another.
        logger.exception("process_not_started", effect="another one tries again")
        time.sleep(START_AGAIN_SECONDS)
        raise SystemExit(1) from None
    process.hearts.export()
    _process.append(process)
    limit = settings.telemetry.stands_still_seconds
    _manage(management.probes_of_child(process.hearts, limit, process.database), slice(1, None))


def _manage(probes: Mapping[str, Probe], places: slice = ALL, registry: CollectorRegistry = REGISTRY) -> None:
    """Serves what this process tells of itself on one of these of our ports, if that is wanted."""
    telemetry = settings.telemetry
    if telemetry.port is not None:
        ports = range(telemetry.port, telemetry.port + telemetry.ports)[places]
        served = Management(telemetry.host, ports.start, len(ports), probes, registry)
        served.start()
        _management[:] = [served]


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
    reports.flush()
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
        if Lane.replay.name not in settings.delivery.lanes:
            _wake_others(Lane.replay)


def _wake_others(lane: Lane) -> None:
    """Calls the pool that sends what is in this lane."""
    try:
        wake.apply_async(queue=QUEUES[lane], expires=EXPIRES_SECONDS, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("wake_up_not_sent", wake=Wake.delivery.name, error=str(error), effect="workers look for work")


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
