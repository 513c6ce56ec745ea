"""A real OTLP/HTTP receiver: what processes export, decoded, as trees."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.receiver import Answer, Receiver

PATH = "/v1/traces"
KINDS = {value: name.removeprefix("SPAN_KIND_") for name, value in trace_pb2.Span.SpanKind.items()}


@dataclass(frozen=True)
class Span:
    """One span as it was exported; ids in hex, times in nanoseconds."""

    trace_id: str
    id: str
    parent_id: str
    name: str
    kind: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    is_error: bool
    start: int
    end: int
    resource: dict[str, Any]
    events: tuple[dict[str, Any], ...]

    @property
    def service(self) -> str:
        return str(self.resource["service.name"])


@dataclass(frozen=True)
class Collector:
    """What was exported to a receiver."""

    receiver: Receiver

    @property
    def environment(self) -> dict[str, str]:
        """What a process is told to export here, soon."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.receiver.base, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def spans(self) -> list[Span]:
        """All that came."""
        return [span for one in self.receiver.at(PATH) for span in _decoded(one.body)]

    def trace(self, trace_id: str, is_whole: Callable[[list[Span]], object], seconds: float = 20) -> list[Span]:
        """The spans of a trace, once it is whole."""
        self.receiver.wait_until(PATH, lambda _: bool(is_whole(self._of(trace_id))), seconds)
        return self._of(trace_id)

    def wait(self, is_there: Callable[[list[Span]], object], seconds: float = 20) -> list[Span]:
        """All that came, once that is enough."""
        self.receiver.wait_until(PATH, lambda _: bool(is_there(self.spans())), seconds)
        return self.spans()

    def _of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans() if span.trace_id == trace_id]


@contextmanager
def running_collector(*answers: Answer, host: str = "127.0.0.1", port: int = 0) -> Iterator[Collector]:
    """A collector that answers so, 200 where nothing is said; it listens anywhere where no port is given."""
    with Receiver(host, port) as receiver:
        receiver.tell(PATH, *(answers or (Answer(200),)))
        yield Collector(receiver)


def children(spans: Iterable[Span], parent: Span) -> list[str]:
    """The names of a span's children, in the order of their beginnings."""
    found = [span for span in spans if span.parent_id == parent.id]
    return [span.name for span in sorted(found, key=lambda span: span.start)]


def _decoded(body: bytes) -> Iterator[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(span, _values(resource.resource.attributes))


def _span(span: trace_pb2.Span, resource: dict[str, Any]) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=KINDS[span.kind],
        attributes=_values(span.attributes),
        links=tuple(link.trace_id.hex() for link in span.links),
        is_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        resource=resource,
        events=tuple({"name": one.name, **_values(one.attributes)} for one in span.events),
    )


def _values(given: Iterable[KeyValue]) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in given}
