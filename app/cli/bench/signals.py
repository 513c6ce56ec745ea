"""Which signals a process sends, and how that is switched."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.cli.bench.tools import Receiver
from app.cli.dev.ports import LOOPBACK, free_range
from app.settings import Telemetry

_QUIET = {"POSTRIDER_TELEMETRY__ACCESS_LINES": "0", "POSTRIDER_TELEMETRY__LOG_LEVEL": "ERROR"}
# Spans of a turn must leave within it, or they would be paid for by nobody.
_SOON = {"OTEL_BSP_SCHEDULE_DELAY": "500"}


@dataclass(frozen=True, slots=True)
class Signals:
    """What is on. `sample` is the part of traces that is sent, None for the product's default; the rest is off or on.

    What is on has the product's default settings, and somebody who takes it; no setting switches metrics, but without
    a port nobody reads them.
    """

    name: str
    logs: bool = False
    traces: bool = False
    metrics: bool = False
    reports: bool = False
    sample: float | None = None

    @property
    def sampled(self) -> float:
        """The part of messages whose traces are sent."""
        default = Telemetry().sample if self.sample is None else self.sample
        return default if self.traces else 0.0

    def ports(self, processes: int) -> Sequence[int]:
        """Free ones on which so many processes may tell their metrics; none where they are off."""
        if not self.metrics:
            return ()
        first = free_range(processes)
        return range(first, first + processes)

    def environment(self, takers: Receiver, ports: Sequence[int]) -> dict[str, str]:
        """What a process finds in its environment; the taker of spans knows whose they are by our name."""
        chosen = {} if self.logs else dict(_QUIET)
        if ports:
            chosen |= {"POSTRIDER_TELEMETRY__PORT": str(ports[0]), "POSTRIDER_TELEMETRY__PORTS": str(len(ports))}
        if self.traces:
            chosen |= {"OTEL_EXPORTER_OTLP_ENDPOINT": takers.url, **_SOON}
            chosen["OTEL_EXPORTER_OTLP_HEADERS"] = f"webhook-id={self.name}"
        if self.sample is not None:
            chosen["POSTRIDER_TELEMETRY__SAMPLE"] = str(self.sample)
        if self.reports:
            chosen["POSTRIDER_TELEMETRY__SENTRY_DSN"] = f"http://bench@{LOOPBACK}:{takers.port}/1"
        return chosen


OFF = Signals("off")
LOGS, TRACES = Signals("logs", logs=True), Signals("traces", traces=True)
METRICS, REPORTS = Signals("metrics", metrics=True), Signals("reports", reports=True)
ALL = Signals("telemetry", logs=True, traces=True, metrics=True, reports=True)
WHOLE_TRACES = Signals("whole_traces", logs=True, traces=True, metrics=True, reports=True, sample=1.0)
EVERY = (OFF, LOGS, TRACES, METRICS, REPORTS, ALL, WHOLE_TRACES)
