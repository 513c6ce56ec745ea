"""Grafana's provisioning: whatever points somewhere points at what there is."""

import json
import re
from typing import Any

import pytest
import yaml

from app.cli.observe.dashboards import dashboard_files
from app.kit.telemetry import trace_context
from app.kit.telemetry.metrics import exemplar
from tests.servers import ROOT

FOLDER = ROOT / "k8s" / "telemetry"
SAMPLED = trace_context.from_header(b"00-11111111111111111111111111111111-2222222222222222-01")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def sources() -> dict[str, dict[str, Any]]:
    """The data sources by their type."""
    return {one["type"]: one for one in read("grafana-datasources.yaml")["datasources"]}


def test_there_is_one_source_of_numbers_and_one_of_traces_and_each_has_a_uid_of_its_own() -> None:
    assert set(sources()) == {"prometheus", "jaeger"}
    assert len({one["uid"] for one in sources().values()}) == 2
    assert all(one["access"] == "proxy" for one in sources().values())


def test_an_exemplar_leads_to_its_trace() -> None:
    (way,) = sources()["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert {way["name"]} == set(exemplar(SAMPLED) or {})
    assert way["datasourceUid"] == sources()["jaeger"]["uid"]


@pytest.mark.parametrize("text", dashboard_files().values(), ids=dashboard_files())
def test_dashboards_take_the_prometheus_that_is_the_default(text: str) -> None:
    dashboard = json.loads(text)
    (chosen,) = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
    source = sources()[chosen["query"]]
    assert source["isDefault"]
    asked = {json.dumps(panel["datasource"]) for panel in dashboard["panels"] if "datasource" in panel}
    assert asked == {json.dumps({"type": source["type"], "uid": f"${{{chosen['name']}}}"})}


@pytest.mark.parametrize("name", ["grafana-datasources.yaml", "grafana-dashboards.yaml"])
def test_the_head_of_a_file_sets_whatever_it_asks_the_environment_for(name: str) -> None:
    text = (FOLDER / name).read_text()
    (command,) = [line for line in text.splitlines() if line.endswith(" grafana server")]
    assert set(re.findall(r"(\w+)=", command)) == set(re.findall(r"\$\{(\w+)\}", text))
    assert read(name)["apiVersion"] == 1


def test_dashboards_are_read_from_files_and_not_changed_by_hand() -> None:
    (provider,) = read("grafana-dashboards.yaml")["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
    head = (FOLDER / "grafana-dashboards.yaml").read_text()
    folder = re.search(r"DASHBOARDS=/srv/postrider/(\S+)", head)
    assert folder is not None
    assert {file.name for file in (ROOT / folder[1]).iterdir()} == set(dashboard_files())
