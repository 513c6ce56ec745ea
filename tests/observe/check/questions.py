"""What is asked of a Prometheus: the queries of panels and rules, and the series that they look at."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.cli.observe.dashboards import DASHBOARDS
from app.cli.observe.dashboards.panels import Panel
from tests.observe.check.watched import Prometheus

SERIES = re.compile(r"\b(?:postrider[_:]|pg_|redis_|process_)[\w:]+(?:\{[^}]*\})?|\bup\{[^}]*\}")
COMPARISON = re.compile(r" (>|<|==) (?!bool)")
LATER = re.compile(r" offset [\dywdhms]+")
NOTHING = re.compile(r" or absent\(.*\)$")
LABEL = re.compile(r"\$labels\.(\w+)")
BROKEN = re.compile(r"<no value>|<error")
Rule = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A panel of a dashboard."""

    uid: str
    panel: Panel

    def __str__(self) -> str:
        return f"{self.uid}: {self.panel.title}"


PANELS = [Asked(one.uid, panel) for one in DASHBOARDS for panel in one.panels]
OURS = [one for one in PANELS if one.panel.source != "kubernetes"]


def silent(prometheus: Prometheus, asked: Sequence[Asked]) -> list[Asked]:
    """Those of which a query has no answer."""
    return [one for one in asked if not all(prometheus.has(query.expr) for query in one.panel.queries)]


def still(prometheus: Prometheus, asked: Sequence[Asked], since: float) -> list[Asked]:
    """Those of which a query has shown nothing but 0 since then."""
    return [one for one in asked if not all(prometheus.rises(query.expr, since) for query in one.panel.queries)]


def pointless(prometheus: Prometheus, asked: Sequence[Asked]) -> list[Asked]:
    """Those that should lead to traces, and none does."""
    return [
        one
        for one in asked
        if (pointed := [query.expr for query in one.panel.queries if query.exemplars])
        and not any(map(prometheus.points, pointed))
    ]


def faults_of(prometheus: Prometheus, rule: Rule) -> list[str]:
    """What keeps a rule from being judged: series that are not there, no values, labels that its summary names."""
    return [f"{rule['name']}: {fault}" for fault in _faults(prometheus, rule)]


def _faults(prometheus: Prometheus, rule: Rule) -> list[str]:
    if rule["health"] != "ok":
        return [rule["lastError"]]
    absent = [series for series in sorted(set(SERIES.findall(rule["query"]))) if not prometheus.has(series)]
    if absent:
        return [f"there is no {series}" for series in absent]
    return _faults_of_record(prometheus, rule) if rule["type"] == "recording" else _faults_of_alert(prometheus, rule)


def _faults_of_record(prometheus: Prometheus, rule: Rule) -> list[str]:
    labels = ",".join(f'{name}="{value}"' for name, value in rule.get("labels", {}).items())
    asked = rule["query"], f"{rule['name']}{{{labels}}}"
    return [f"{expr} has no value" for expr in asked if not prometheus.has(expr)]


def _faults_of_alert(prometheus: Prometheus, rule: Rule) -> list[str]:
    if rule["query"].startswith("absent("):
        return []  # that its series is there was seen
    labels = set(LABEL.findall("".join(rule["annotations"].values())))
    found = prometheus.series(relaxed(rule["query"]))
    bad = [f"its summary says {label}" for label in labels if not all(label in one["metric"] for one in found)]
    broken = [text for alert in rule["alerts"] for text in alert["annotations"].values() if BROKEN.search(text)]
    return [*bad, *broken] if found else ["it looks at nothing"]


def relaxed(expr: str) -> str:
    """The same, with a value wherever it compares something, of now where it asks for long ago, of what there is."""
    return COMPARISON.sub(r" \1 bool ", LATER.sub("", NOTHING.sub("", expr)))
