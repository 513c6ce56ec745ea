"""The names of all that Postrider exports, and of what is recorded from it."""

from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from app.cli.observe.rules import Links, objective_groups
from app.kit.telemetry import figures, metrics
from app.kit.telemetry.figures import Figure

_ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def samples() -> set[str]:
    """The names of the samples of the catalogue's metrics, and of the installation's figures."""
    described: list[Metric] = [
        found for one in vars(metrics).values() if isinstance(one, MetricWrapperBase) for found in one.describe()
    ]
    told = {one.sample for one in vars(figures).values() if isinstance(one, Figure)}
    return told | {f"{metric.name}{end}" for metric in described for end in _ENDINGS.get(metric.type, ("",))}


def recorded() -> set[str]:
    """The names that rules record."""
    return {rule.name for group in objective_groups(Links()) for rule in group.rules if rule.kind == "record"}
