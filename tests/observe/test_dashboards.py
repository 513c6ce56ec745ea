"""Dashboards are what the command writes, lay their panels out side by side, and ask for metrics that there are."""

import json
import re
from itertools import combinations

import pytest

from app.cli.observe.alerts import ALERTS
from app.cli.observe.dashboards import DASHBOARDS, dashboard_files
from app.cli.observe.dashboards.panels import Dashboard, as_json
from app.cli.observe.objectives import OBJECTIVES
from tests.observe.exported import recorded, samples
from tests.servers import ROOT

SHIPPED = ROOT / "charts" / "postrider" / "dashboards"
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.uid)


def test_the_dashboards_that_are_shipped_are_those_that_the_command_writes() -> None:
    assert {file.name: file.read_text() for file in SHIPPED.glob("*.json")} == dashboard_files()


@every_dashboard
def test_panels_stand_side_by_side_and_none_behind_another(dashboard: Dashboard) -> None:
    places = [panel["gridPos"] for panel in as_json(dashboard)["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert [pair for pair in combinations(places, 2) if overlap(*pair)] == []


@every_dashboard
def test_each_panel_says_what_it_shows_and_has_a_name_of_its_own(dashboard: Dashboard) -> None:
    panels = [panel for row in dashboard.rows for panel in row.panels]
    assert all(panel.says for panel in panels)
    assert len({panel.title for panel in panels}) == len(panels)
    numbers = [panel["id"] for panel in json.loads(dashboard_files()[f"{dashboard.uid}.json"])["panels"]]
    assert len(set(numbers)) == len(numbers)


@every_dashboard
def test_what_is_asked_for_is_exported(dashboard: Dashboard) -> None:
    asked = {name for panel in dashboard.panels for query in panel.queries for name in names_in(query.expr)}
    assert asked - samples() - recorded() == set()


def test_alerts_and_objectives_link_to_dashboards_that_there_are() -> None:
    linked = {one.dashboard for one in (*ALERTS, *OBJECTIVES)}
    assert linked <= {one.uid for one in DASHBOARDS}


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    """Whether two places on the grid have a cell in common."""
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )


def names_in(expr: str) -> list[str]:
    """Our own series that a query names."""
    return re.findall(r"\bpostrider[_:][\w:]+", re.sub(r'"[^"]*"', '""', expr))
