"""Which signals a process sends, how that is switched, and whether it has really sent them."""

import urllib.request
from dataclasses import dataclass
from urllib.error import URLError

from app.cli.bench.tools import Receiver
from app.cli.dev.errors import DevError
from app.cli.dev.ports import LOOPBACK
from app.settings import Telemetry

PORTS = 16
_QUIET = {"POSTRIDER_TELEMETRY__ACCESS_LINES": "0", "POSTRIDER_TELEMETRY__LOG_LEVEL": "ERROR"}
# Spans of a turn must leave within it, or they would be paid for by nobody.
_SOON = {"OTEL_BSP_SCHEDULE_DELAY": "500"}


@dataclass(frozen=True, slots=True)
class Signals:
    """What is on. `sample` is the part of traces that is sent, None for the product's default; the rest is off or on.

    What is on has the product's default settings, and somebody who takes it.
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

    def environment(self, takers: Receiver, port: int) -> dict[str, str]:
        """What a process finds in its environment; metrics are served from a port on."""
        chosen = {} if self.logs else dict(_QUIET)
        if self.traces:
            chosen |= {"OTEL_EXPORTER_OTLP_ENDPOINT": takers.url, **_SOON}
        if self.sample is not None:
            chosen["POSTRIDER_TELEMETRY__SAMPLE"] = str(self.sample)
        if self.metrics:
            chosen |= {"POSTRIDER_TELEMETRY__PORT": str(port), "POSTRIDER_TELEMETRY__PORTS": str(PORTS)}
        if self.reports:
            chosen["POSTRIDER_TELEMETRY__SENTRY_DSN"] = f"http://bench@{LOOPBACK}:{takers.port}/1"
        return chosen


OFF = Signals("off")
LOGS, TRACES = Signals("logs", logs=True), Signals("traces", traces=True)
METRICS, REPORTS = Signals("metrics", metrics=True), Signals("reports", reports=True)
ALL = Signals("telemetry", logs=True, traces=True, metrics=True, reports=True)
WHOLE_TRACES = Signals("whole_traces", logs=True, traces=True, metrics=True, reports=True, sample=1.0)
EVERY = (OFF, LOGS, TRACES, METRICS, REPORTS, ALL, WHOLE_TRACES)


def scrape(first_port: int) -> str:
    """What the processes from a port on export, as Prometheus would read it; DevError when none answers."""
    found = [text for port in range(first_port, first_port + PORTS) if (text := _metrics_at(port)) is not None]
    if not found:
        raise DevError(f"nobody serves metrics from port {first_port} on")
    return "\n".join(found)


def _metrics_at(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as answer:  # nosec B310  # a URL of our own
            text: str = answer.read().decode()
            return text
    except (URLError, OSError):
        return None
