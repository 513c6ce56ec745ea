"""What watches an installation comes with it, and looks where something is."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.deploy.chart.helm import CHART, Key, Manifest, by_key, containers, of_kind, pod_templates, render, values_of

RUNBOOKS = "https://github.com/postrider/postrider/blob/main/k8s/runbooks"
GRAFANA = "https://grafana.example.com"


@pytest.fixture(scope="module")
def full() -> list[Manifest]:
    return render(values_of("full"))


@pytest.mark.parametrize("path", sorted((CHART / "rules").glob("*.yaml")), ids=lambda path: path.stem)
def test_rules_are_shipped_as_they_are_but_for_where_their_links_lead(full: list[Manifest], path: Path) -> None:
    text = path.read_text().replace('"k8s/runbooks', f'"{RUNBOOKS}').replace('"/d/', f'"{GRAFANA}/d/')
    shipped = by_key(full)[Key("PrometheusRule", f"postrider-{path.stem}")]
    assert shipped["spec"] == yaml.safe_load(text)


def test_every_rule_and_dashboard_is_shipped(full: list[Manifest]) -> None:
    assert len(of_kind(full, "PrometheusRule")) == len(list((CHART / "rules").glob("*.yaml"))) > 0
    dashboards = {
        name: text for one in of_kind(full, "ConfigMap") for name, text in one["data"].items() if "json" in name
    }
    assert {name: json.loads(text) for name, text in dashboards.items()} == {
        path.name: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")
    }


def test_links_lead_to_a_runbook_and_to_a_dashboard(full: list[Manifest]) -> None:
    uids = {json.loads(path.read_text())["uid"] for path in (CHART / "dashboards").glob("*.json")}
    runbooks = {path.name for path in (CHART.parents[1] / "k8s/runbooks").glob("*.md")}
    alerts = [
        rule
        for one in of_kind(full, "PrometheusRule")
        for group in one["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert alerts
    for alert in alerts:
        links = alert["annotations"]
        assert links["runbook_url"].removeprefix(f"{RUNBOOKS}/") in runbooks, alert["alert"]
        assert links["dashboard_url"].removeprefix(f"{GRAFANA}/d/") in uids, alert["alert"]


def test_every_process_is_a_target_under_the_name_that_rules_know(full: list[Manifest]) -> None:
    jobs = {
        job for one in (CHART / "rules").glob("*.yaml") for job in re.findall(r'job="(postrider-\w+)"', one.read_text())
    }
    monitors = of_kind(full, "PodMonitor")
    for one in monitors:
        ends = one["spec"]["podMetricsEndpoints"]
        assert {end["relabelings"][0]["replacement"] for end in ends} == {one["metadata"]["name"]}
    assert jobs <= {one["metadata"]["name"] for one in monitors}
    ports = {name: _metrics_ports(pod) for name, pod in pod_templates(full).items()}
    # The main process of the workers, and each of its children.
    assert ports["postrider-worker-first"] == ["metrics-0", "metrics-1", "metrics-2"]
    assert ports["postrider-api"] == ["metrics-0", "metrics-1"]
    for name, wanted in ports.items():
        pod = pod_templates(full)[name]
        assert wanted == [] or set(wanted) <= _watched(monitors, pod), name


def test_a_version_is_the_hash_of_the_rollout_or_of_the_deployment(full: list[Manifest]) -> None:
    for one in of_kind(full, "PodMonitor"):
        for end in one["spec"]["podMetricsEndpoints"]:
            labels = [each["sourceLabels"][0] for each in end["relabelings"] if each["targetLabel"] == "version"]
            assert labels == [
                "__meta_kubernetes_pod_label_pod_template_hash",
                "__meta_kubernetes_pod_label_rollouts_pod_template_hash",
            ]


def test_spans_go_to_the_collector_and_the_policy_lets_them(full: list[Manifest]) -> None:
    (config,) = (one for one in of_kind(full, "ConfigMap") if "-config-" in one["metadata"]["name"])
    assert config["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.observability:4318"
    rules = by_key(full)[Key("NetworkPolicy", "postrider")]["spec"]["egress"]
    assert {"ports": [{"protocol": "TCP", "port": 4318}]} in rules


def test_without_an_operator_of_prometheus_there_is_nothing_of_it() -> None:
    rendered = render(values_of("minimal"))
    assert of_kind(rendered, "PodMonitor", "PrometheusRule") == []


def _metrics_ports(pod: Manifest) -> list[str]:
    ports = [port["name"] for one in containers(pod) for port in one.get("ports", [])]
    return [name for name in ports if name.startswith("metrics-")]


def _watched(monitors: list[Manifest], pod: Manifest) -> set[str]:
    component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
    return {
        end["port"]
        for one in monitors
        for end in one["spec"]["podMetricsEndpoints"]
        if component in one["spec"]["selector"]["matchExpressions"][0]["values"]
    }
