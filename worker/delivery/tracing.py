"""The spans of a delivery: its claim, the attempt and the recording of what that brought.

The first try belongs to the trace of the message; each later one begins a trace that is linked to it.
"""

import time
from collections.abc import Sequence
from uuid import UUID

from opentelemetry.trace import Span, SpanKind

from app.domain import ids
from app.kit.egress.traced import described
from app.kit.telemetry import traces
from app.kit.telemetry.trace_context import of_span
from app.kit.telemetry.traces import Attributes
from app.models import Lane, Trigger
from worker.delivery.job import Job, Sent


def begin_attempt(job: Job, attempt_id: UUID) -> Span | None:
    """The span of an attempt that begins now, after its claim's; None where its message's trace is not recorded."""
    recorded = traces.sampled([job.traceparent])
    if not recorded:
        return None
    now = time.time_ns()
    about = _about(job)
    is_first = job.attempt == 1 and job.key.trigger == Trigger.scheduled
    claim = traces.begin(
        "claim due_deliveries",
        recorded[0] if is_first else None,
        SpanKind.CONSUMER,
        {**_CLAIM, **about, "postrider.lane": Lane(job.lane).name},
        start=now - int((time.monotonic() - job.began) * 1e9),
        follows=[] if is_first else recorded,
    )
    if claim is None:
        return None
    claim.end(now)
    attributes = {
        **described("POST", job.destination.url),
        **about,
        "postrider.attempt_id": ids.encode("atmpt", attempt_id),
    }
    return traces.begin("POST", of_span(claim), SpanKind.CLIENT, attributes, start=now)


def end_attempt(span: Span, sent: Sent) -> None:
    """Ends an attempt's span with what came of it."""
    if sent.status is not None:
        span.set_attribute("http.response.status_code", sent.status)
    if not sent.verdict.success:
        traces.fail(span, sent.failure.value if sent.failure is not None else str(sent.status))
    span.end()


def trace_recording(results: Sequence[Sent], seconds: float) -> None:
    """Says of results whose attempts are recorded that they were written down, which has just taken so long."""
    now = time.time_ns()
    for cause in traces.sampled([one.traceparent for one in results]):
        attributes: Attributes = {**_RECORDING, "db.operation.batch.size": len(results)}
        start = now - int(seconds * 1e9)
        span = traces.begin("BATCH INSERT attempts", cause, SpanKind.CLIENT, attributes, start=start)
        if span is not None:
            span.end(now)


_CLAIM = {
    "messaging.system": "postgresql",
    "messaging.operation.type": "receive",
    "messaging.operation.name": "claim",
    "messaging.destination.name": "due_deliveries",
}
_RECORDING = {"db.system.name": "postgresql", "db.operation.name": "INSERT", "db.collection.name": "attempts"}


def _about(job: Job) -> dict[str, str | int]:
    about: dict[str, str | int] = {
        "postrider.message_id": ids.encode("msg", job.key.message_id),
        "postrider.endpoint_id": ids.encode("ep", job.key.endpoint_id),
        "postrider.application_id": ids.encode("app", job.application_id),
        "postrider.attempt": job.attempt,
        "postrider.trigger": Trigger(job.key.trigger).name,
    }
    return about if job.request_id is None else {**about, "postrider.request_id": job.request_id}
