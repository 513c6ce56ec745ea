"""The rule files of Prometheus: what is recorded of the objectives, and the alerts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from app.cli.observe.alerts import ALERTS, Alert
from app.cli.observe.objectives import BURNS, DAYS, OBJECTIVES, WINDOWS, Burn, Objective

INTERVAL_SECONDS = 30
SLOWLY_SECONDS = 300
# A burn of fewer bad events than these is one caller's bad moment.
LEAST_BAD_EVENTS = 10
_LEAST = "1e-9"


@dataclass(frozen=True, slots=True)
class Links:
    """Where the runbooks and Grafana are."""

    runbooks: str = "k8s/runbooks"
    grafana: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """What stands in a rule file: a series that is recorded, or an alert."""

    kind: str
    name: str
    expr: str
    lasts: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are judged together, so often."""

    name: str
    seconds: int
    rules: Sequence[Rule]


def rule_files(links: Links) -> dict[str, str]:
    """The files by name."""
    return {"objectives.yaml": render(objective_groups(links)), "alerts.yaml": render(alert_groups(links))}


def objective_groups(links: Links) -> list[Group]:
    """What is recorded of the objectives, and the alerts on their budgets."""
    return [
        Group("postrider-objectives", INTERVAL_SECONDS, [*_events(), *map(_errors_over, WINDOWS)]),
        Group("postrider-budgets", SLOWLY_SECONDS, [_errors_over(f"{DAYS}d"), _budget()]),
        Group("postrider-burns", INTERVAL_SECONDS, [_alert(one, links) for one in burn_alerts()]),
    ]


def alert_groups(links: Links) -> list[Group]:
    """The other alerts: symptoms first, then causes."""
    by_group: dict[str, list[Rule]] = {}
    for one in ALERTS:
        by_group.setdefault(f"postrider-{one.group}", []).append(_alert(one, links))
    return [Group(name, INTERVAL_SECONDS, rules) for name, rules in by_group.items()]


def burn_alerts() -> list[Alert]:
    """An alert for each objective that has a budget, and each speed."""
    return [_burn_alert(objective, burn) for objective in OBJECTIVES if objective.budget for burn in BURNS]


def _events() -> Iterator[Rule]:
    for one in OBJECTIVES:
        labels = {"objective": one.name}
        yield Rule("record", "postrider:slo_goal:ratio", f"vector({one.goal})", labels=labels)
        yield Rule("record", "postrider:slo_events:rate5m", f"({one.every}) or vector(0)", labels=labels)
        yield Rule("record", "postrider:slo_bad_events:rate5m", f"({one.bad}) or vector(0)", labels=labels)
    share = f"postrider:slo_bad_events:rate5m / clamp_min(postrider:slo_events:rate5m, {_LEAST})"
    yield Rule("record", "postrider:slo_errors:ratio_rate5m", share)


def _errors_over(window: str) -> Rule:
    """The share of bad events; where there were no events none was bad."""
    bad = f"sum_over_time(postrider:slo_bad_events:rate5m[{window}])"
    every = f"sum_over_time(postrider:slo_events:rate5m[{window}])"
    return Rule("record", f"postrider:slo_errors:ratio_rate{window}", f"{bad} / clamp_min({every}, {_LEAST})")


def _budget() -> Rule:
    """What is left of the budget: 1 is all of it, -1 that at least twice of it was used."""
    used = f"postrider:slo_errors:ratio_rate{DAYS}d / clamp_min(1 - postrider:slo_goal:ratio, {_LEAST})"
    return Rule("record", f"postrider:slo_budget:remaining_ratio{DAYS}d", f"clamp_min(1 - {used}, -1)")


def _burn_alert(objective: Objective, burn: Burn) -> Alert:
    only = f'{{objective="{objective.name}"}}'
    limit = f"{burn.factor:g} * {objective.budget:g}"
    count = f"sum_over_time(postrider:slo_bad_events:rate5m{only}[{burn.long}]) * {INTERVAL_SECONDS}"
    # A slow burn is one that was seen for long: what is young has no three days.
    seen = f"\nand present_over_time(postrider:slo_events:rate5m{only}[{burn.seen}] offset {burn.seen})"
    return Alert(
        name=objective.alert,
        group="burns",
        severity="page" if burn.wakes and objective.wakes else "ticket",
        owner=objective.owner,
        dashboard=objective.dashboard,
        expr=f"postrider:slo_errors:ratio_rate{burn.long}{only} > {limit}\n"
        f"and postrider:slo_errors:ratio_rate{burn.short}{only} > {limit}\n"
        f"and {count} > {LEAST_BAD_EVENTS}" + (seen if burn.seen else ""),
        summary=f"{{{{ $value | humanizePercentage }}}} {objective.summary}, over {burn.long}",
        impact=objective.impact,
        labels={"burn": f"{burn.factor:g}"},
    )


def _alert(one: Alert, links: Links) -> Rule:
    return Rule(
        "alert",
        one.name,
        one.expr,
        one.lasts,
        {"severity": one.severity, "owner": one.owner, **one.labels},
        {
            "summary": one.summary,
            "impact": one.impact,
            "runbook_url": f"{links.runbooks}/{one.name}.md",
            "dashboard_url": f"{links.grafana}/d/{one.dashboard}",
        },
    )


def render(groups: Sequence[Group]) -> str:
    """A rule file; that it is written by a command stands in its first line."""
    lines = ["# Written by `postrider observe rules` from app/cli/observe.", "groups:"]
    for group in groups:
        lines += [f"  - name: {group.name}", f"    interval: {group.seconds}s", "    rules:"]
        for rule in group.rules:
            lines += _lines(rule)
    return "\n".join(lines) + "\n"


def _lines(rule: Rule) -> Iterator[str]:
    yield f"      - {rule.kind}: {rule.name}"
    yield "        expr: |-"
    yield from (f"          {line}" for line in rule.expr.splitlines())
    if rule.lasts:
        yield f"        for: {rule.lasts}"
    for name in ("labels", "annotations"):
        values: Mapping[str, str] = getattr(rule, name)
        if values:
            yield f"        {name}:"
            # A string of JSON is one of YAML.
            yield from (f"          {key}: {json.dumps(text, ensure_ascii=False)}" for key, text in values.items())
