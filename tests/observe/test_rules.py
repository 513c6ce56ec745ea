"""Prometheus takes the rules, and each alert fires where it should and is silent near by, as promtool judges."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.main import main
from app.cli.observe.alerts import SYMPTOMS
from app.cli.observe.objectives import OBJECTIVES
from app.cli.observe.rules import (
    INTERVAL_SECONDS,
    Group,
    Links,
    Rule,
    alert_groups,
    objective_groups,
    render,
    rule_files,
)
from tests.observe.scenes import SCENES, Scene, Series, tells
from tests.servers import ROOT

RULES = ROOT / "charts" / "postrider" / "rules"
EVERY_ALERT = [
    rule
    for group in (*objective_groups(Links()), *alert_groups(Links()))
    for rule in group.rules
    if rule.kind == "alert"
]


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def test_the_rules_that_are_shipped_are_those_that_the_command_writes() -> None:
    shipped = {file.name: file.read_text() for file in RULES.glob("*.yaml")}
    assert shipped == rule_files(Links())


def test_prometheus_takes_the_rules() -> None:
    done = promtool("check", "rules", "--lint-fatal", *map(str, RULES.glob("*.yaml")))
    assert (done.returncode, done.stderr) == (0, "")


def test_links_lead_where_the_command_was_told(tmp_path: Path) -> None:
    main(
        ["observe", "rules", f"--folder={tmp_path}", "--runbooks=https://r.example", "--grafana=https://g.example"],
        standalone_mode=False,
    )
    groups = [group for file in tmp_path.iterdir() for group in yaml.safe_load(file.read_text())["groups"]]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(alerts) == len(EVERY_ALERT)
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"https://r.example/{alert['alert']}.md"
        assert alert["annotations"]["dashboard_url"].startswith("https://g.example/d/postrider-")


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: "-".join((scene.alert, *scene.tells())))
def test_an_alert_fires_where_it_should_and_is_silent_near_by(scene: Scene, tmp_path: Path) -> None:
    rule = rule_of(scene)
    (tmp_path / "rules.yaml").write_text(render([Group("alone", INTERVAL_SECONDS, [*recorded_for(rule), rule])]))
    expected = {
        "exp_labels": {**rule.labels, **scene.labels},
        "exp_annotations": {name: shown(text, scene) for name, text in rule.annotations.items()},
    }
    tests = [judged(scene, scene.fires, [expected]), judged(scene, scene.silent, [], scene.silent_at)]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "2m" if scene.at.endswith("h") else "30s",
        "tests": tests,
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    done = promtool("test", "rules", str(tmp_path / "test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_scene() -> None:
    assert {(scene.alert, *scene.tells()) for scene in SCENES} == {
        (rule.name, *tells(rule.labels)) for rule in EVERY_ALERT
    }


def test_what_wakes_somebody_at_night_is_felt_by_somebody_or_soon_will_be() -> None:
    pages = {rule.name for rule in EVERY_ALERT if rule.labels["severity"] == "page"}
    objectives = {one.alert for one in OBJECTIVES if one.wakes}
    assert pages == objectives | {one.name for one in SYMPTOMS if one.severity == "page"} | {"PartitionsRunOut"}


def rule_of(scene: Scene) -> Rule:
    """The alert that the scene is about."""
    [found] = [rule for rule in EVERY_ALERT if (rule.name, *tells(rule.labels)) == (scene.alert, *scene.tells())]
    return found


def recorded_for(alert: Rule) -> list[Rule]:
    """What is recorded and the alert looks at; over days the whole of it would take minutes."""
    recorded = [rule for group in objective_groups(Links()) for rule in group.rules if rule.kind == "record"]
    needed = [rule for rule in recorded if re.search(rf"\b{rule.name}\b", alert.expr)]
    events = [rule for rule in recorded if rule.name.endswith("events:rate5m")]
    return [*events, *(rule for rule in needed if rule not in events)] if needed else []


def shown(text: str, scene: Scene) -> str:
    """An annotation as Prometheus writes it for the scene."""
    with_labels = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: scene.labels[found[1]], text)
    return re.sub(r"\{\{ \$value \| \w+ \}\}", scene.shown, with_labels)


def judged(scene: Scene, series: Series, alerts: list[dict[str, Any]], at: str = "") -> dict[str, Any]:
    """A test of promtool: under these series the scene's alert comes to this."""
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": at or scene.at, "alertname": scene.alert, "exp_alerts": alerts}],
    }
