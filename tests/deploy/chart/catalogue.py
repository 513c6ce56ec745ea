"""The series that the product tells, by the names that Prometheus knows them by."""

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from app.kit.telemetry import metrics


def told() -> set[str]:
    """Every name of the catalogue, with the endings that its kind adds."""
    own = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    assert own
    assert all(name in REGISTRY._names_to_collectors for one in own for name in _names(one))
    return {name for one in own for name in _names(one)}


def _names(metric: MetricWrapperBase) -> list[str]:
    name = metric._name
    if isinstance(metric, Counter):
        return [f"{name}_total"]
    if isinstance(metric, Histogram):
        return [f"{name}_{ending}" for ending in ("bucket", "count", "sum")]
    return [name]
