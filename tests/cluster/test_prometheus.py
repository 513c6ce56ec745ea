"""Prometheus reads what a cluster's monitors select, by the labels that the operator gives, and goes by its rules."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app.cli.dev.ports import any_free
from tests.cluster.prometheus.configuration import MONITORING
from tests.cluster.prometheus.node import prometheus_objects
from tests.cluster.standing import Pod, account, own_address
from tests.deploy.apiserver.server import ApiServer
from tests.deploy.chart.helm import render, values_of
from tests.deploy.manifests import Manifest
from tests.servers import ROOT

HASH = "5f6d8b7c9"
# Prometheus itself gathers changes for five seconds before it follows them.
FOLLOWED_SECONDS = 7.0
PAGE = """\
# TYPE seen counter
seen_total {value} # {{trace_id="{trace}"}} 1.0 1700000000.0
# EOF
"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass(frozen=True, slots=True)
class Stage:
    """A cluster and the Prometheus that reads its pods."""

    kube: ApiServer
    url: str
    folder: Path
    processes: Sequence[Pod]

    @property
    def log(self) -> str:
        """What the program wrote."""
        return (self.folder / "log").read_text()

    def asked(self, path: str, **words: str) -> Any:  # noqa: ANN401  # as many shapes as there are questions
        """The data of an answer of Prometheus."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urlencode(words)}", timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read())["data"]

    def series(self, query: str) -> list[Mapping[str, str]]:
        """The labels of what a query finds."""
        return [one["metric"] for one in self.asked("query", query=query)["result"]]

    def addresses(self) -> set[str]:
        """Who is read."""
        return {one["labels"]["instance"] for one in self.asked("targets", state="active")["activeTargets"]}

    def run(self, name: str, processes: Sequence[Pod], phase: str = "Running") -> None:
        """Does what a kubelet does for a pod of the API."""
        self.kube.apply(_pod(name, processes))
        address = own_address()
        ready = {"type": "Ready", "status": "True"}
        status = {"phase": phase, "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
        head: Manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "postrider"}}
        self.kube.apply_status({**head, "status": status})

    def rule(self, name: str, query: str) -> None:
        """An alert of its own."""
        meta = {"name": name, "namespace": "postrider"}
        groups = [{"name": name, "rules": [{"alert": name, "expr": query, "labels": {"severity": "page"}}]}]
        kind = {"apiVersion": MONITORING, "kind": "PrometheusRule"}
        self.kube.apply({**kind, "metadata": meta, "spec": {"groups": groups}})


def _pod(name: str, processes: Sequence[Pod]) -> Manifest:
    labels = {
        "app.kubernetes.io/name": "postrider",
        "app.kubernetes.io/instance": "postrider",
        "app.kubernetes.io/component": "api",
        "rollouts-pod-template-hash": HASH,
    }
    ports = [{"name": f"metrics-{number}", "containerPort": one.port} for number, one in enumerate(processes)]
    container = {"name": "api", "image": "example.com/postrider:1", "ports": ports}
    meta = {"name": name, "namespace": "postrider", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}}


def soon(condition: Callable[[], bool], seconds: float = FOLLOWED_SECONDS) -> float:
    """Waits until it is so, and not longer than it may take; answers how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it does not come true"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def stage(kubernetes: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """With the monitors and the rules of the chart, which has pods read each second here, and pods that were read."""
    for each in render(values_of("full"), sets=['monitoring.podMonitor.interval="1s"']):
        if each["apiVersion"] == MONITORING:
            kubernetes.apply(each)
    with ExitStack() as stack:
        one, two, gone, ended = (
            stack.enter_context(Pod(f"process-{number}", PAGE.format(value=number, trace=TRACE))) for number in range(4)
        )
        url = f"http://127.0.0.1:{any_free()}"
        found = Stage(kubernetes, url, tmp_path_factory.mktemp("prometheus"), [one, two])
        found.run("api-one", [one, two])
        found.run("api-gone", [gone])
        found.run("api-ended", [ended], "Succeeded")
        stack.enter_context(_running(found))
        soon(lambda: len(found.series("seen_total")) == 3, 20)
        yield found


@contextmanager
def _running(stage: Stage) -> Iterator[None]:
    listen = stage.url.removeprefix("http://")
    kubeconfig = account(stage.kube, prometheus_objects(), stage.folder / "kubeconfig")
    words = [f"--kubeconfig={kubeconfig}", f"--folder={stage.folder}", f"--listen={listen}", "--evaluate=1s"]
    command = [sys.executable, "-m", "tests.cluster.prometheus", *words]
    with (
        (stage.folder / "log").open("wb") as file,
        subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file) as process,
    ):
        try:
            soon(lambda: "prometheus reads" in stage.log, 60)
            yield
        finally:
            ended = process.poll()
            process.terminate()
            process.wait(20)
    assert ended is None, stage.log


def test_each_process_is_read_with_the_labels_by_which_releases_are_judged(stage: Stage) -> None:
    shown = sorted(stage.series('seen_total{pod="api-one"}'), key=lambda one: one["endpoint"])
    for number, (labels, process) in enumerate(zip(shown, stage.processes, strict=True)):
        assert labels == {
            "__name__": "seen_total",
            "instance": f"{own_address()}:{process.port}",
            "namespace": "postrider",
            "pod": "api-one",
            "container": "api",
            "endpoint": f"metrics-{number}",
            "job": "postrider-api",
            "pool": "api",
            "version": HASH,
        }


def test_an_exemplar_leads_from_a_metric_to_its_trace(stage: Stage) -> None:
    words = {"query": "seen_total", "start": "1699999999", "end": "1700000001"}
    found = stage.asked("query_exemplars", **words)
    assert {one["labels"]["trace_id"] for each in found for one in each["exemplars"]} == {TRACE}


def test_a_pod_that_goes_away_is_read_no_more_and_one_that_has_ended_is_not_read(stage: Stage) -> None:
    (gone,) = stage.series('seen_total{pod="api-gone"}')
    assert stage.series('seen_total{pod="api-ended"}') == []
    stage.kube.delete("v1", "Pod", "api-gone", grace=0)
    targets = stage.folder / "targets.json"
    soon(lambda: gone["instance"] not in targets.read_text(), 2)
    soon(lambda: gone["instance"] not in stage.addresses())
    assert len(stage.series('seen_total{pod="api-one"}')) == 2


def test_an_alert_fires_and_rules_that_are_wrong_are_told_beside_it(stage: Stage) -> None:
    stage.rule("broken", "sum(")
    stage.rule("seen-once", 'seen_total{endpoint="metrics-1"} > 0')
    soon(lambda: "the rules broken are not taken" in stage.log)
    soon(lambda: any(one["labels"]["alertname"] == "seen-once" for one in stage.asked("alerts")["alerts"]))
    (alert,) = [one for one in stage.asked("alerts")["alerts"] if one["labels"]["alertname"] == "seen-once"]
    assert (alert["state"], alert["labels"]["version"], alert["labels"]["severity"]) == ("firing", HASH, "page")
    groups = stage.asked("rules")["groups"]
    assert {"seen-once", "ApiDown", "NobodyDelivers"} <= {rule["name"] for one in groups for rule in one["rules"]}
    assert "broken" not in {one["name"] for one in groups}
    stage.kube.delete(MONITORING, "PrometheusRule", "seen-once")
    soon(lambda: "seen-once" not in {one["name"] for one in stage.asked("rules")["groups"]})


def test_a_monitor_that_is_not_understood_is_told_and_the_others_are_read(stage: Stage) -> None:
    endpoint = {"port": "metrics-0", "proxyUrl": "http://proxy:3128"}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "podMetricsEndpoints": [endpoint]}
    meta = {"name": "other", "namespace": "postrider"}
    stage.kube.apply({"apiVersion": MONITORING, "kind": "PodMonitor", "metadata": meta, "spec": spec})
    soon(lambda: "proxyUrl is not understood here" in stage.log)
    assert len(stage.series('seen_total{pod="api-one"}')) == 2
