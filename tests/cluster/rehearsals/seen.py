"""What those who watch a release see of it: alerts, the rollout dashboard's curves, and traces across pods."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from app.cli.observe.answers import Prometheus, Series, Span
from tests.cluster.addresses import NODE
from tests.cluster.install import CHART
from tests.cluster.kube import Kube
from tests.cluster.place import wait_until
from tests.otlp import Collector, running_collector
from tests.otlp import Span as Traced

PROMETHEUS = f"http://{NODE}:9090"
COLLECTOR_PORT = 4318
DASHBOARD = CHART / "dashboards" / "postrider-rollout.json"
BURN = "ApiFails"


class Eyes:
    """Watches while the block runs; spans of the sampled requests come to it as they go to a collector."""

    def __init__(self, kube: Kube) -> None:
        self._kube, self._stack = kube, ExitStack()
        self.began = time.time()

    def __enter__(self) -> Self:
        self.collector: Collector = self._stack.enter_context(running_collector(host=NODE, port=COLLECTOR_PORT))
        self.began = time.time()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fired(self) -> list[Series]:
        """The alerts about failing requests that fired since then."""
        return self._prometheus().series(f'ALERTS{{alertname="{BURN}", alertstate="firing"}}')

    def woke(self) -> list[Series]:
        """Those of them that had not fired before."""
        firing = f'ALERTS{{alertname="{BURN}", alertstate="firing"}}'
        return self._prometheus().series(f"{firing} unless {firing} @ {self.began:.3f}")

    def wait_fired(self, seconds: float) -> float:
        """The seconds until that alert fires; ClusterError after so many."""
        return wait_until(lambda: bool(self.fired()), seconds, lambda: f"{BURN} does not fire")

    def compared(self, versions: Mapping[str, str]) -> dict[str, set[str]]:
        """For each panel of the rollout dashboard, by its title, those of the two versions that it shows."""
        prometheus = self._prometheus(versions)
        panels: Sequence[Mapping[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
        by_hash = {found: name for name, found in versions.items()}
        return {
            panel["title"]: {
                by_hash[curve.labels["version"]]
                for target in panel["targets"]
                for curve in prometheus.series(target["expr"])
                if curve.labels.get("version") in by_hash and not all(map(math.isnan, curve.values))
            }
            for panel in panels
            if panel.get("targets")
        }

    def crossing(self) -> list[Traced]:
        """The spans of a trace that leads from a pod of the API to one of a worker; empty if there is none."""
        traces: dict[str, list[Traced]] = {}
        for span in self.collector.spans():
            traces.setdefault(span.trace_id, []).append(span)
        return next((one for one in traces.values() if {"api", "worker"} <= {_part(span) for span in one}), [])

    def _prometheus(self, chosen: Mapping[str, str] | None = None) -> Prometheus:
        return Prometheus(PROMETHEUS, Span(self.began, time.time()), chosen or {})


def _part(span: Traced) -> str:
    """The part of Postrider whose pod made the span."""
    pod = str(span.resource.get("k8s.pod.name", ""))
    return pod.removeprefix("postrider-").split("-")[0]
