"""The names of all that Postrider exports, and of what is recorded from it."""

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from app.cli.observe.rules import Links, objective_groups
from app.kit.telemetry import metrics

# Of the whole installation, told by whichever worker's turn it is.
CLUSTER = frozenset(
    f"postrider_{name}"
    for name in (
        "due_deliveries",
        "sendable_deliveries",
        "oldest_due_seconds",
        "breakers",
        "endpoints",
        "mails_waiting",
        "oldest_mail_seconds",
        "background_tasks_waiting",
        "oldest_background_task_seconds",
        "partition_days_ahead",
        "unsealed_audit_seconds",
        "lost_deliveries_total",
        "figures_timestamp_seconds",
    )
)
_ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def samples() -> set[str]:
    """The names of the samples of the catalogue's metrics, and of the installation's figures."""
    described: list[Metric] = [
        found for one in vars(metrics).values() if isinstance(one, MetricWrapperBase) for found in one.describe()
    ]
    return {*CLUSTER} | {f"{metric.name}{end}" for metric in described for end in _ENDINGS.get(metric.type, ("",))}


def recorded() -> set[str]:
    """The names that rules record."""
    return {rule.name for group in objective_groups(Links()) for rule in group.rules if rule.kind == "record"}
