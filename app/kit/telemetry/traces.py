"""The traces of this process: OpenTelemetry's SDK, set up after a fork, and short hooks for the hot paths.

Every request has a trace id. Spans are made only while traces are exported, for those that are sampled.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.util.types import AttributeValue

from app.kit.random_bytes import RandomBytes
from app.kit.telemetry import about
from app.kit.telemetry.trace_context import Carried, as_context, as_span, from_header, is_sampled, of_span, trace_id
from app.kit.telemetry.trace_export import OWN, Batches, Exporter
from app.kit.telemetry.trace_sampling import TraceIds, given_trace_id, head

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SERVER_ERROR = 500
CALLERS = 10
STOP_SECONDS = 2.0
COUNT_SECONDS = 0.5
_trace_ids, _span_ids = RandomBytes(16), RandomBytes(8)
_NOT_SAMPLED = b"\0"
Attributes = Mapping[str, AttributeValue]


class _Process:
    """What this process records with; nothing until `start`."""

    provider: TracerProvider | None = None
    exporter: Exporter | None = None
    tracer: trace.Tracer | None = None
    bound: int = 0


def is_configured() -> bool:
    """Whether the environment names a collector, by OpenTelemetry's own variables."""
    is_off = (
        os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not is_off and any(os.environ.get(name) for name in ENDPOINTS)


def start(
    sample: float, component: str, *, environment: str, revision: str, callers: int = CALLERS
) -> TracerProvider | None:
    """Begins to export traces, if there is a collector; call it after a fork. What instruments libraries needs it.

    A share of what begins here is recorded, and so many `callers` a second who record what they ask.
    """
    if not is_configured():
        return None
    # Of what the instrumentations call things by default, half is deprecated.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    # What could not be exported is counted and said once, by ours.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    provider = TracerProvider(
        sampler=head(sample, callers),
        resource=_resource(component, environment, revision),
        shutdown_on_exit=False,
        id_generator=TraceIds(),
    )
    exporter = Exporter(OTLPSpanExporter())
    provider.add_span_processor(Batches(exporter))
    _Process.bound = TraceIdRatioBased.get_bound_for_rate(sample)
    _Process.provider, _Process.exporter, _Process.tracer = provider, exporter, provider.get_tracer(OWN)
    return provider


def stop() -> None:
    """Hands over what is left, to a collector that takes it at once; the rest is counted as lost."""
    provider, exporter = _Process.provider, _Process.exporter
    _Process.provider = _Process.exporter = _Process.tracer = None
    if provider is not None and exporter is not None:
        ending = threading.Thread(target=provider.shutdown, name="traces end", daemon=True)
        ending.start()
        ending.join(STOP_SECONDS)
        if ending.is_alive():
            exporter.shutdown()
            ending.join(COUNT_SECONDS)


def _resource(component: str, environment: str, revision: str) -> Resource:
    ours: dict[str, AttributeValue] = {
        "service.namespace": "postrider",
        "service.name": f"postrider-{component}",
        "service.version": revision,
        "deployment.environment.name": environment,
        "process.pid": os.getpid(),
    }
    return Resource.create({**ours, **OTELResourceDetector().detect().attributes})


def name_request(traceparent: bytes | None) -> Carried | None:
    """Gives the request at hand its trace, that of its caller if there is one; returns the caller's span."""
    note = about.current()
    caller = None if traceparent is None else from_header(traceparent)
    if note.trace_id is None:
        note.trace_id = _trace_ids().hex() if caller is None else trace_id(caller)
        about.begin(note)
        given_trace_id.set(note.trace_id)
    return caller


def carried() -> Carried | None:
    """The span at hand, for what is done later on its behalf; None outside of requests."""
    span = trace.get_current_span()
    if span.get_span_context().is_valid:
        return of_span(span)
    known = about.current().trace_id
    return None if known is None else bytes.fromhex(known) + _span_ids() + _NOT_SAMPLED


class Request:
    """The span of a request that the ready-made instrumentation does not see; recorded if it is sampled."""

    __slots__ = ("_span", "_token")

    def __init__(self, traceparent: bytes | None, route: str, scheme: str) -> None:
        caller = name_request(traceparent)
        self._span: Span | None = None
        # To have the sampler say no costs as much as all the rest of this.
        if _Process.tracer is not None and _may_be_sampled(caller):
            attributes = {"http.request.method": "POST", "http.route": route, "url.scheme": scheme}
            self._span = begin(f"POST {route}", caller, SpanKind.SERVER, attributes)

    def __enter__(self) -> Self:
        if self._span is not None:
            self._token = attach(set_span_in_context(self._span))
        return self

    @property
    def carried(self) -> Carried | None:
        """Its place, if it is recorded."""
        return None if self._span is None else of_span(self._span)

    def answer(self, status: int) -> None:
        """What was answered."""
        if self._span is not None:
            self._span.set_attribute("http.response.status_code", status)
            if status >= SERVER_ERROR:
                fail(self._span, str(status))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is not None:
            detach(self._token)
            _note_ids(self._span)
            self._span.end()


def _may_be_sampled(caller: Carried | None) -> bool:
    if caller is not None:
        return is_sampled(caller)
    known = given_trace_id.get()
    return known is None or int(known[16:], 16) < _Process.bound


def _note_ids(span: Span) -> None:
    for name, value in about.current().known().items():
        if name != "trace_id":
            span.set_attribute(f"postrider.{name}", value)


def begin(
    name: str,
    parent: Carried | None,
    kind: SpanKind,
    attributes: Attributes,
    *,
    start: int | None = None,
    follows: Sequence[Carried] = (),
) -> Span | None:
    """A span under another, or the first of a trace that follows others; None where it is not to be recorded.

    `start` is in nanoseconds. Whoever begins it ends it.
    """
    if _Process.tracer is None:
        return None
    context = set_span_in_context(trace.INVALID_SPAN if parent is None else as_span(parent))
    links = [Link(as_context(one)) for one in follows]
    span = _Process.tracer.start_span(name, context, kind, attributes, links, start)
    return span if span.is_recording() else None


def fail(span: Span, why: str) -> None:
    """Marks a span as failed; `why` is a type or a code, never a message."""
    span.set_attribute("error.type", why)
    span.set_status(Status(StatusCode.ERROR))


@contextmanager
def within(span: Span | None) -> Iterator[None]:
    """Makes a span the one at hand, and ends it with the block."""
    if span is None:
        yield
        return
    token = attach(set_span_in_context(span))
    try:
        yield
    except Exception as error:
        fail(span, type(error).__name__)
        raise
    finally:
        detach(token)
        span.end()


def at_hand() -> list[Carried]:
    """The span at hand, if it is recorded."""
    return sampled([carried()])


def sampled(some: Sequence[Carried | None]) -> list[Carried]:
    """Those whose traces are recorded."""
    return [one for one in some if one is not None and is_sampled(one)] if _Process.tracer is not None else []
