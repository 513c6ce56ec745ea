"""What a dashboard is made of, and the JSON by which Grafana knows it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

WINDOW = "$__rate_interval"
_COLUMNS = 24
_HEIGHT = {"timeseries": 8, "stat": 4, "table": 8, "text": 6}
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

POINTING = frozenset(f"postrider_{name}_seconds" for name in ("http_request", "accept", "attempt", "delivery"))
"""Histograms that name traces beside their values."""

Kind = Literal["timeseries", "stat", "table", "text"]
Source = Literal["postrider", "exporter", "kubernetes"]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and how its series are named."""

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture and the question that it answers.

    `fault` names what must go wrong before there is anything to show. From `limit` on, and below `floor`, it is red.
    """

    title: str
    says: str
    queries: tuple[Query, ...] = ()
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 8
    fault: str = ""
    limit: float | None = None
    floor: float | None = None
    source: Source = "postrider"


@dataclass(frozen=True, slots=True)
class Variable:
    """What whoever looks may choose: one of the values of a label, or a text."""

    name: str
    label: str
    query: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that belong together."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels under a uid that alerts and runbooks link to."""

    uid: str
    title: str
    says: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def panels(self) -> list[Panel]:
        """All of them that ask something, from the top."""
        return [panel for row in self.rows for panel in row.panels if panel.queries]


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """What comes a second, in sum or for each value of these labels."""
    return f"{_summed(by)} (rate({metric}{_matching(labels)}[{WINDOW}]))"


def gauge(metric: str, by: str = "", labels: str = "", how: str = "sum") -> str:
    """A gauge over all processes."""
    return f"{_summed(by, how)} ({metric}{_matching(labels)})"


def share(metric: str, labels: str, by: str = "", among: str = "") -> str:
    """Which part of what comes (`among` labels) has these labels; nothing where nothing comes."""
    both = ", ".join(filter(None, (labels, among)))
    return f"{rate(metric, by, both)} / ({rate(metric, by, among)} > 0)"


def mean(metric: str, by: str = "") -> str:
    """The mean of a histogram's values; nothing where nothing was measured."""
    return f"{rate(f'{metric}_sum', by)} / ({rate(f'{metric}_count', by)} > 0)"


def quantile(part: float, metric: str, by: str = "", labels: str = "") -> str:
    """The value that so many of all stay under; nothing where nothing was measured."""
    grouping = f"le, {by}" if by else "le"
    return f"histogram_quantile({part:g}, {rate(f'{metric}_bucket', grouping, labels)})"


def quantiles(metric: str, by: str = "", labels: str = "") -> tuple[Query, ...]:
    """Half of all, nineteen in twenty, and all but one in a hundred; with the exemplars that there are of the slow."""
    legend = f" {{{{{by}}}}}" if by else ""
    parts = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
    return tuple(
        Query(quantile(part, metric, by, labels), name + legend, exemplars=metric in POINTING and part > 0.9)  # noqa: PLR2004 the slow
        for part, name in parts
    )


def as_json(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana imports it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": ["postrider"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "links": [_family(), *({"title": name, "type": "link", "url": url} for name, url in dashboard.links)],
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "panels": list(_laid_out(dashboard.rows)),
    }


def _summed(by: str, how: str = "sum") -> str:
    return f"{how} by ({by})" if by else how


def _matching(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    y, number = 0, 1
    for row in rows:
        yield {"type": "row", "id": number, "title": row.title, "collapsed": False, "gridPos": _place(0, y, 24, 1)}
        x, y, number, tallest = 0, y + 1, number + 1, 0
        for panel in row.panels:
            height = _HEIGHT[panel.kind]
            if x + panel.width > _COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            yield _panel(panel, number) | {"gridPos": _place(x, y, panel.width, height)}
            x, number, tallest = x + panel.width, number + 1, max(tallest, height)
        y += tallest


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int) -> Json:
    if panel.kind == "text":
        return {
            "id": number,
            "type": "text",
            "title": panel.title,
            "options": {"mode": "markdown", "content": panel.says},
        }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _DATASOURCE,
        "targets": [_target(query, panel, place) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(query: Query, panel: Panel, place: int) -> Json:
    return {
        "refId": chr(ord("A") + place),
        "datasource": _DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "exemplar": query.exemplars,
        "instant": panel.kind != "timeseries",
        "range": panel.kind == "timeseries",
        **({"format": "table"} if panel.kind == "table" else {}),
    }


def _field(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green" if panel.floor is None else "red", "value": None}]
    if panel.floor is not None:
        steps.append({"color": "green", "value": panel.floor})
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    drawn = {"thresholdsStyle": {"mode": "off" if panel.limit is None else "line"}, "fillOpacity": 8}
    return {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        **({"custom": drawn} if panel.kind == "timeseries" else {}),
    }


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {"showHeader": True}


def _datasource() -> Json:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(one: Variable) -> Json:
    chosen = {"text": one.default, "value": one.default}
    common = {"name": one.name, "label": one.label, "current": chosen}
    if not one.query:
        return common | {"type": "textbox", "query": one.default}
    return common | {"type": "query", "datasource": _DATASOURCE, "query": one.query, "refresh": 2, "sort": 1}


def _family() -> Json:
    return {"title": "Postrider", "type": "dashboards", "tags": ["postrider"], "asDropdown": True, "keepTime": True}
