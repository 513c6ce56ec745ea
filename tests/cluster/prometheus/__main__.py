"""Has Debian's Prometheus read what the PodMonitors and PrometheusRules of a cluster say, as its operator would.

It runs until it is killed, and Prometheus with it. A monitor that is not understood and rules that promtool does not
take are errors of the log; the others are at work.
"""

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.kube import Kube
from tests.cluster.mirror import Mirror
from tests.cluster.prometheus.configuration import KINDS, Tree, jobs_of, targets_of
from tests.cluster.prometheus.server import NotTakenError, Prometheus, Rules, write
from tests.deploy.manifests import Manifest

TOGETHER_SECONDS = 0.1
# How often it looks whether Prometheus is still there.
TURN_SECONDS = 2.0
_log = logging.getLogger("prometheus")


class Operator:
    """Writes what Prometheus reads."""

    def __init__(self, folder: Path, listen: str, evaluate: str) -> None:
        self._targets = folder / "targets.json"
        write(self._targets, "[]")
        self._rules = Rules(folder / "rules")
        self._jobs: list[Tree] = []
        self._refused: dict[str, str] = {}
        self._prometheus = Prometheus(folder, listen, evaluate)

    def turn(self, manifests: Sequence[Manifest]) -> None:
        """Targets as they are now, and jobs and rules where they have changed."""
        self._prometheus.check()
        write(self._targets, json.dumps(targets_of(_of(manifests, "Pod")), indent=1))
        jobs = self._jobs_of(_of(manifests, "PodMonitor"))
        is_new = self._rules.take({one["metadata"]["name"]: one["spec"] for one in _of(manifests, "PrometheusRule")})
        if is_new or jobs != self._jobs:
            self._jobs = jobs
            self._read()

    def stop(self) -> None:
        """Ends Prometheus."""
        self._prometheus.stop()

    def _jobs_of(self, monitors: Sequence[Manifest]) -> list[Tree]:
        found, refused = [], {}
        for one in monitors:
            try:
                found += jobs_of(one, self._targets)
            except ValueError as error:
                refused[one["metadata"]["name"]] = str(error)
        for why in refused.items() - self._refused.items():
            _log.error("the monitor %s is not read: %s", *why)
        self._refused = refused
        return found

    def _read(self) -> None:
        files = self._rules.files()
        try:
            self._prometheus.read(self._jobs, files)
        except NotTakenError as error:
            _log.error("prometheus goes on by what it has: %s", error)  # it has said it all
            return
        _log.info("prometheus reads %d jobs and goes by %s", len(self._jobs), [one.stem for one in files])


def _of(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == kind]


def main() -> None:
    """Runs until it is asked to end."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kubeconfig", type=Path, required=True)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--listen", required=True, help="ADDRESS:PORT")
    asked.add_argument("--namespace", default="postrider")
    asked.add_argument("--evaluate", default="30s", help="how often rules are evaluated; 30s is what the operator says")
    words = asked.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    words.folder.mkdir(parents=True, exist_ok=True)
    operator = Operator(words.folder, words.listen, words.evaluate)
    try:
        mirror = Mirror(Kube(words.kubeconfig, "prometheus-operator"), KINDS, words.namespace)
        while True:
            if mirror.wait(TURN_SECONDS):
                time.sleep(TOGETHER_SECONDS)
                operator.turn(mirror.manifests())
    finally:
        operator.stop()


if __name__ == "__main__":
    main()
