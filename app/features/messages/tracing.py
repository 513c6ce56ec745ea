"""The span of a group commit, in the trace of each message whose request is recorded."""

import time
from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from app.features.messages.operations import Incoming
from app.kit.telemetry import traces
from app.kit.telemetry.trace_context import Carried, of_span
from app.kit.telemetry.traces import Attributes


def trace_commit(batch: Sequence[Incoming], began: int, failure: Exception | None = None) -> list[Carried]:
    """Says how long the messages took to be stored, `began` in nanoseconds; returns the spans that were recorded."""
    causes = traces.sampled([one.traceparent for one in batch])
    return [made for cause in causes if (made := _record(cause, len(batch), began, failure)) is not None]


def _record(cause: Carried, count: int, began: int, failure: Exception | None) -> Carried | None:
    attributes: Attributes = {
        "db.system.name": "postgresql",
        "db.operation.name": "INSERT",
        "db.collection.name": "messages",
        "db.operation.batch.size": count,
    }
    span = traces.begin("BATCH INSERT messages", cause, SpanKind.CLIENT, attributes, start=began)
    if span is None:
        return None
    if failure is not None:
        traces.fail(span, type(failure).__name__)
    span.end(time.time_ns())
    return of_span(span)
