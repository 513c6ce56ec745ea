"""Hands spans to the collector without what they must not tell, and without anybody waiting for it."""

import os
import threading
from collections.abc import Sequence

from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status
from opentelemetry.util.types import AnyValue, Attributes

from app.kit.telemetry.logs import get_logger
from app.kit.telemetry.metrics import TELEMETRY_DROPPED

OWN = "postrider"
"""The scope of spans that are made here, attribute by attribute."""
TOLD = frozenset(
    {
        "celery.action",
        "celery.state",
        "celery.task_name",
        "db.collection.name",
        "db.name",
        "db.namespace",
        "db.operation.name",
        "db.query.text",
        "db.statement",
        "db.system",
        "db.system.name",
        "error.type",
        "exception.type",
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "messaging.destination",
        "messaging.message.id",
        "network.protocol.version",
        "postrider.request_id",
        "server.address",
        "server.port",
        "url.scheme",
    }
)
"""What may be told of the attributes that others give: no address of a person, no path, no query, no message."""
QUEUE = 2048
_DROPPED = TELEMETRY_DROPPED.labels("traces")
logger = get_logger(__name__)


class Exporter(SpanExporter):
    """Counts what another exporter could not hand over, and says so when that begins and when it is over."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._lost = 0
        self._is_over = False
        self.handled = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hands spans over; those that cannot be are gone."""
        failed = SpanExportResult.FAILURE
        result = failed if self._is_over else self._inner.export([_cleaned(span) for span in spans])
        self.handled += len(spans)
        if result is SpanExportResult.SUCCESS:
            self._succeed()
        else:
            self._fail(len(spans))
        return result

    def shutdown(self) -> None:
        """Ends the tries to hand over what is at hand; whatever else waits is gone, and counted."""
        if not self._is_over:
            self._is_over = True
            self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits in it."""
        return self._inner.force_flush(timeout_millis)

    def _succeed(self) -> None:
        if self._lost:
            logger.info("traces_exported_again", lost=self._lost)
        self._lost = 0

    def _fail(self, count: int) -> None:
        _DROPPED.inc(count)
        if not self._lost:
            logger.warning("traces_not_exported", spans=count)
        self._lost += count


class Batches(BatchSpanProcessor):
    """Lets spans wait for the exporter's thread; those for which there is no room are counted and gone."""

    def __init__(self, exporter: Exporter) -> None:
        super().__init__(exporter)
        self._room = _room()
        self._exporter = exporter
        self._lock = threading.Lock()
        self._taken = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Takes a span that ended."""
        with self._lock:
            is_full = self._taken - self._exporter.handled >= self._room
            self._taken += not is_full
        if is_full:
            _DROPPED.inc()
        else:
            super().on_end(span)


def _room() -> int:
    """How many spans may wait, as the SDK reads it."""
    text = os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, "")
    return int(text) if text.isdecimal() else QUEUE


def _cleaned(span: ReadableSpan) -> ReadableSpan:
    if span.instrumentation_scope is not None and span.instrumentation_scope.name == OWN:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_told(span.attributes),
        events=[Event(one.name, _told(one.attributes), one.timestamp) for one in span.events],
        links=span.links,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        # What is said beside a status is an error's message, which may quote what somebody sent.
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _told(attributes: Attributes) -> dict[str, AnyValue]:
    return {name: value for name, value in (attributes or {}).items() if name in TOLD}
