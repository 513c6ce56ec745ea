"""A Prometheus on a system under test, and what it says."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.cli.dev.process import Child, wait_until
from app.cli.observe.command import RULES
from app.cli.observe.prometheus import Stores, Watch, programs
from tests.servers import ROOT
from tests.system import System

SECONDS = 2
CHOSEN = {"$__rate_interval": "20s", "$stable": "stable", "$canary": "canary"}
Json = dict[str, Any]


class Prometheus:
    """Asks, over the time since it began."""

    def __init__(self, url: str) -> None:
        self.url, self._began = url, time.time()

    def has(self, expr: str) -> bool:
        """Whether there is a value at any time, that is a number."""
        return any(value != "NaN" for series in self.series(expr) for _, value in series["values"])

    def rises(self, expr: str, since: float) -> bool:
        """Whether there is a value above 0 since then."""
        return any(float(value) > 0 for series in self.series(expr, since) for _, value in series["values"])

    def series(self, expr: str, since: float | None = None) -> list[Json]:
        """What it answers, with labels and values."""
        return self._over_time("query_range", expr, since, step=SECONDS)["result"]  # type: ignore[no-any-return]

    def points(self, expr: str) -> bool:
        """Whether it leads to traces."""
        found = self._over_time("query_exemplars", expr)
        return any("trace_id" in one["labels"] for series in found for one in series["exemplars"])

    def rules(self) -> list[Json]:
        """The rules as it knows them, with their health and the alerts that are on."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def targets(self) -> list[Json]:
        """Whom it asks, with their health."""
        return self._get("targets")["activeTargets"]  # type: ignore[no-any-return]

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310  # our own
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _over_time(self, what: str, expr: str, since: float | None = None, **more: object) -> Any:  # noqa: ANN401 JSON
        for name, value in CHOSEN.items():
            expr = expr.replace(name, value)
        query = {"query": expr, "start": since or self._began, "end": time.time(), **more}
        return self._get(f"{what}?{urlencode(query)}")

    def _get(self, what: str) -> Any:  # noqa: ANN401 JSON
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}", timeout=20) as answer:  # noqa: S310  # our own
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(what, error.read()) from error


@contextmanager
def watched(system: System, stores: Stores, folder: Path) -> Iterator[Prometheus]:
    """Prometheus and the exporters, for the block; rules are judged more often than where somebody sleeps."""
    targets = folder / "targets.json"
    targets.write_text(json.dumps(targets_of(system)))
    for file in (ROOT / RULES).glob("*.yaml"):
        (folder / file.name).write_text(re.sub(r"interval: \d+s", f"interval: {SECONDS}s", file.read_text()))
    watch = Watch(folder, targets, sorted(folder.glob("*.yaml")), stores, SECONDS)
    children = [Child(program, folder) for program in programs(watch)]
    try:
        prometheus = Prometheus((folder / "url").read_text())
        assert wait_until(prometheus.ready, 30)
        yield prometheus
    finally:
        for child in children:
            child.stop()


def targets_of(system: System) -> list[dict[str, object]]:
    """Where its parts tell of themselves; the first process of each is taken for the stable version."""
    return [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"job": f"postrider-{part}", "version": version(place)}}
        for part in system.children
        for place, port in enumerate(system.management_ports(part))
    ]


def version(place: int) -> str:
    """The label that a rollout would put on."""
    return "stable" if place == 0 else "canary"
