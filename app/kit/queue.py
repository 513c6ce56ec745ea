"""Wakes workers: a message that says only that something is due. Losing one loses nothing."""

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError
from opentelemetry.trace import Span, SpanKind

from app.kit.telemetry import about, traces
from app.kit.telemetry.about import About
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import WAKE_UPS
from app.kit.telemetry.trace_context import Carried, of_span, to_header
from app.kit.wakes import Wake

RETENTION_TASK = "retention.run"
SIGNING_KEYS_TASK = "signing_keys.turn"
WAKE_QUEUE = "wake"
MAINTENANCE_QUEUE = "maintenance"
QUEUES = {Wake.delivery: WAKE_QUEUE, Wake.background: MAINTENANCE_QUEUE, Wake.mail: MAINTENANCE_QUEUE}
PAUSE_SECONDS = 0.25
CAUSES = 16
ABOUT = "about"
"""The header of a task that holds the ids of what it is done for."""
EXPIRES_SECONDS = 5
FOLLOWS = "follows"
"""The header of a task that names, beside its `traceparent`, the other spans that it was sent by."""
SENT_AT = "sent_at"
"""The header of a task that says when it was sent (Unix time)."""
logger = get_logger(__name__)

# A broker that hangs may hold the publisher for this long, never a request: it has a thread of its own.
TRANSPORT = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2, "retry_on_timeout": False, "max_retries": 0}


class Waker:
    """Sends wake-ups from one thread: at once when idle, at most four of a kind a second under load.

    Workers that have something to do look for more by themselves.
    """

    def __init__(self, broker_url: str) -> None:
        self._app = Celery(broker=broker_url, set_as_current=False)
        self._app.conf.update(broker_transport_options=TRANSPORT, task_ignore_result=True)
        self._wanted: set[Wake] = set()
        self._askers: dict[Wake, About] = {}
        self._causes: defaultdict[Wake, list[Carried]] = defaultdict(list)
        self._signal = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)
        # A rate sees no first value: so the series begin before there is anything to count.
        for wake in Wake:
            for outcome in ("sent", "failed"):
                WAKE_UPS.labels(wake.name, outcome)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self, wake: Wake = Wake.delivery, causes: Sequence[Carried] | None = None) -> None:
        """Asks for a wake-up; returns at once. `causes` are the recorded spans that ask, by default the one at hand.

        Its ids, those of the first request that asks, go along to the lines of the task.
        """
        if causes is None:
            causes = traces.at_hand()
            self._askers.setdefault(wake, about.current())
        if causes and len(self._causes[wake]) < CAUSES:
            self._causes[wake] += causes[:CAUSES]
        if wake not in self._wanted:
            self._wanted.add(wake)
            self._signal.set()

    def stop(self) -> None:
        """Ends the thread after the message it may be sending."""
        self._stopped = True
        self._signal.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        rests_until = dict.fromkeys(Wake, 0.0)
        while not self._stopped:
            for wake in Wake:
                if wake in self._wanted and rests_until[wake] <= time.monotonic():
                    # Before it is sent: who asks from now on may have something that was not there to be seen.
                    self._wanted.discard(wake)
                    self._send(wake)
                    rests_until[wake] = time.monotonic() + PAUSE_SECONDS
            rests = [rests_until[wake] - time.monotonic() for wake in Wake if wake in self._wanted]
            self._signal.wait(max(0.0, min(rests)) if rests else None)
            self._signal.clear()

    def _send(self, wake: Wake) -> None:
        queue = QUEUES[wake]
        try:
            with ExitStack() as spans:
                asker = {SENT_AT: time.time(), **_ids(self._askers.pop(wake, None))}
                headers = asker | _headers(spans, queue, self._causes.pop(wake, []))
                self._app.send_task(
                    wake,
                    queue=queue,
                    expires=EXPIRES_SECONDS,
                    retry=False,
                    ignore_result=True,
                    headers=headers,
                )
        except (OperationalError, OSError) as error:
            # Workers look by themselves every second, so a lost wake-up costs latency only.
            WAKE_UPS.labels(wake.name, "failed").inc()
            logger.warning("wake_up_not_sent", wake=wake.name, error=str(error), effect="workers look for work")
            time.sleep(1)
        else:
            WAKE_UPS.labels(wake.name, "sent").inc()


def _headers(spans: ExitStack, queue: str, causes: Sequence[Carried]) -> dict[str, Any]:
    """Begins a span of the sending in each trace; the task goes on with the first, and follows the others."""
    begun: list[Span] = []
    for cause in causes[:CAUSES]:
        follows = [of_span(one) for one in begun[:1]]
        span = traces.begin(f"send {queue}", cause, SpanKind.PRODUCER, _attributes(queue), follows=follows)
        if span is not None:
            spans.enter_context(traces.within(span))
            begun.append(span)
    places = [to_header(of_span(one)) for one in begun]
    return {"traceparent": places[0], FOLLOWS: places[1:]} if places else {}


def _ids(asker: About | None) -> dict[str, Any]:
    return {} if asker is None else {ABOUT: asker.known()}


def _attributes(queue: str) -> dict[str, str]:
    return {
        "messaging.system": "redis",
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": queue,
    }
