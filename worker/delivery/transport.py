"""Sends claimed deliveries, many at once, on an event loop in a thread of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime

import uvloop

from app.domain import ids
from app.domain.addresses import Allowance
from app.domain.outcome import Failure
from app.domain.probe import PROBE
from app.domain.signing import delivery_headers, sign
from app.kit.clock import new_id
from app.kit.egress import Answer, Egress, Options, Outgoing, Policy
from app.kit.instance import HEADER
from app.kit.telemetry.hearts import unheard
from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.trace_context import of_span, to_header
from worker.delivery.job import Destination, Job, Sent
from worker.delivery.lines import AttemptLines, begin_note
from worker.delivery.measures import measure_attempt
from worker.delivery.tracing import begin_attempt, end_attempt

KEPT_BYTES = 16 * 1024
BEAT_SECONDS = 1.0
_PROBE_POOLS = 8
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Policies:
    """What may be reached; by the probe's own organisation its receiver as well, through no proxy, if that is given."""

    usual: Policy
    probe: Allowance | None = None


class Transport:
    """Owns the loop and the HTTP client. Results gather in `results`; `notify` is called when one comes.

    Endpoints are told of their trace, by a `traceparent`, if it `tells_traces`.
    """

    def __init__(
        self,
        policies: Policies,
        options: Options,
        *,
        instance: str,
        notify: Callable[[], None],
        lines: AttemptLines,
        tells_traces: bool = False,
        beat: Callable[[], None] = unheard,
    ) -> None:
        self._beat = beat
        self.results: deque[Sent] = deque()
        self._options = options
        self._policies = policies
        self._instance = instance
        self._notify = notify
        self._lines = lines
        self._tells_traces = tells_traces
        self._loop = uvloop.new_event_loop()
        self._sending: dict[asyncio.Task[None], Job] = {}
        self._thread = threading.Thread(target=self._run, name="transport", daemon=True)

    def start(self) -> None:
        """Starts the loop; returns when the client can send."""
        opened: Future[None] = Future()
        self._thread.start()
        self._loop.call_soon_threadsafe(lambda: self._keep(self._loop.create_task(self._open(opened))))
        opened.result(timeout=10)

    def send(self, jobs: Sequence[Job]) -> None:
        """Begins to send; returns at once."""
        self._loop.call_soon_threadsafe(self._begin, jobs)

    def abandon(self) -> list[Job]:
        """Stops what is still being sent and says what it was."""

        async def cancel() -> list[Job]:
            left = dict(self._sending)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            return list(left.values())

        return asyncio.run_coroutine_threadsafe(cancel(), self._loop).result(timeout=5)

    def stop(self) -> None:
        """Closes every connection and ends the thread."""
        for client in {self._egress, self._probe_egress}:
            asyncio.run_coroutine_threadsafe(client.close(), self._loop).result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._turn()
        self._loop.run_forever()
        self._loop.close()

    def _turn(self) -> None:
        self._beat()
        self._loop.call_later(BEAT_SECONDS, self._turn)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._opening = task

    async def _open(self, opened: Future[None]) -> None:
        try:
            self._egress = Egress(self._policies.usual, self._options)
            self._probe_egress = self._egress
            if self._policies.probe is not None:
                policy = replace(self._policies.usual, allow=(self._policies.probe,))
                options = replace(self._options, proxy=None, idle_pools=_PROBE_POOLS)
                self._probe_egress = Egress(policy, options)
        except Exception as error:  # noqa: BLE001 handed to the thread that waits
            opened.set_exception(error)
        else:
            opened.set_result(None)

    def _begin(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            task = self._loop.create_task(self._deliver(job))
            self._sending[task] = job
            task.add_done_callback(self._sending.pop)

    async def _deliver(self, job: Job) -> None:
        sent = await self._attempt(job)
        self.results.append(sent)
        self._notify()
        self._lines.tell(sent)
        measure_attempt(sent)

    async def _attempt(self, job: Job) -> Sent:
        attempt_id = new_id()
        started_at = job.database_time()
        span = begin_attempt(job, attempt_id)
        traceparent = job.traceparent if span is None else of_span(span)
        begin_note(job, attempt_id, traceparent)
        answer = await self._post(job, started_at, traceparent)
        sent = Sent(
            job=job,
            attempt_id=attempt_id,
            started_at=started_at,
            status=answer.status,
            failure=answer.failure,
            detail=answer.detail,
            body=answer.body[:KEPT_BYTES],
            retry_after=answer.retry_after,
            duration_ms=answer.duration_ms,
            traceparent=traceparent,
        )
        if span is not None:
            end_attempt(span, sent)
        return sent

    async def _post(self, job: Job, started_at: datetime, traceparent: bytes | None) -> Answer:
        fault = job.destination.fault
        if fault is not None:
            return _unsent(fault)
        try:
            outgoing = self._outgoing(job, started_at, traceparent)
        except Exception:
            # Whatever it is, it must come back as a result: what never ends would take room for ever.
            logger.exception("delivery_not_signed")
            return _unsent("the request cannot be made")
        egress = self._probe_egress if self._is_to_receiver(job.destination) else self._egress
        return await egress.post(outgoing)

    def _is_to_receiver(self, destination: Destination) -> bool:
        """Whether the probe's own organisation sends to the probe's receiver."""
        receiver = self._policies.probe
        return receiver is not None and destination.organisation_id == PROBE and receiver.covers_url(destination.url)

    def _outgoing(self, job: Job, started_at: datetime, traceparent: bytes | None) -> Outgoing:
        message_id = ids.encode("msg", job.key.message_id)
        timestamp = int(started_at.timestamp())
        signature = sign(message_id, timestamp, job.body, job.destination.live_keys(started_at))
        headers = {
            "content-type": job.content_type,
            HEADER: self._instance,
            **delivery_headers(job.destination.header_style, message_id, timestamp, signature),
            **self._tell_trace(traceparent),
            **dict(job.destination.headers),
        }
        return Outgoing(
            url=job.destination.url,
            body=job.body,
            headers=headers,
            pool=job.key.endpoint_id,
            ca_pem=job.destination.ca_pem,
        )

    def _tell_trace(self, traceparent: bytes | None) -> dict[str, str]:
        return {"traceparent": to_header(traceparent)} if self._tells_traces and traceparent is not None else {}


def _unsent(why: str) -> Answer:
    return Answer(None, Failure.LOCAL, why, b"", None, 0, None)
