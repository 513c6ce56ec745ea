"""Every figure of the whole installation, by name; a worker process tells them, one at a time.

As of the metrics, no label names a tenant, and times are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class Figure:
    """One that is read, rather than counted; `labels` tell its values apart."""

    name: str
    words: str
    labels: tuple[str, ...] = ()
    is_counter: bool = False

    @property
    def sample(self) -> str:
        """The name of its samples."""
        return f"{self.name}_total" if self.is_counter else self.name

    def of(self, value: float) -> Metric:
        """As it is exported, where nothing tells values apart."""
        return self.by({(): value})

    def by(self, values: Mapping[tuple[str, ...], float]) -> Metric:
        """As it is exported: each value by its labels' values."""
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        family = kind(self.name, self.words, labels=self.labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


DUE = Figure(
    "postrider_due_deliveries",
    "Deliveries that are owed, up to a million of each: ready, later, sending, or held behind a gate.",
    ("lane", "state"),
)
OLDEST_DUE = Figure(
    "postrider_oldest_due_seconds",
    "For how long the oldest one that is ready has been so, or the oldest gate over that nobody looked behind.",
    ("lane",),
)
SENDABLE = Figure(
    "postrider_sendable_deliveries",
    "Those that may go now, up to a hundred thousand of a lane, which an autoscaler follows.",
    ("lane",),
)
BREAKERS = Figure("postrider_breakers", "Endpoints whose breaker is open or half_open.", ("state",))
ENDPOINTS = Figure("postrider_endpoints", "Endpoints that are enabled or disabled.", ("state",))
MAILS_WAITING = Figure("postrider_mails_waiting", "Mails that wait to be sent.")
OLDEST_MAIL = Figure("postrider_oldest_mail_seconds", "For how long the oldest of those waits.")
TASKS_WAITING = Figure("postrider_background_tasks_waiting", "Background tasks whose next step is due.")
OLDEST_TASK = Figure("postrider_oldest_background_task_seconds", "For how long the oldest of those is due.")
PARTITIONS_AHEAD = Figure("postrider_partition_days_ahead", "For so many days from today there are partitions.")
UNSEALED = Figure("postrider_unsealed_audit_seconds", "Age of the oldest audit event that is in no seal.")
LOST = Figure(
    "postrider_lost_deliveries",
    "Deliveries of messages accepted five minutes ago that are neither open nor ended, as far as they are looked at.",
    is_counter=True,
)
READ_AT = Figure("postrider_figures_timestamp_seconds", "When these were read last (Unix time).", ("figure",))
