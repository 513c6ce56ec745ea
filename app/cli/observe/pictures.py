"""Pictures of dashboards, drawn from their JSON and what a running Prometheus answers: Grafana has no part in it."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator

from app.cli.observe.answers import Prometheus, Series, Span
from app.cli.observe.canvas import CURVES, DARK, FAINT, GAP, GREEN, GREY, HEAD, RED, Box, png, sheet
from app.cli.observe.units import written

_Json = Mapping[str, Any]
_MOST_NAMES, _NAME = 8, 0.135
_MOST_SHADED, _TICKS = 4, 4
_TIME_TICKS = 6
_ROUND_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440, 2880, 10080)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_CLUSTER = re.compile(r"\b(?:kube|container)_\w+")
_LEGEND: Any = {
    "frameon": False,
    "fontsize": 6.5,
    "borderpad": 0,
    "borderaxespad": 0,
    "handlelength": 1,
    "labelspacing": 0.3,
    "columnspacing": 1.2,
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A series that has values, and what the legend calls it."""

    name: str
    series: Series

    @property
    def last(self) -> float:
        """The value that it ended with."""
        return next(value for value in reversed(self.series.values) if not math.isnan(value))

    @property
    def highest(self) -> float:
        """The greatest value."""
        return max(value for value in self.series.values if not math.isnan(value))


def picture(dashboard: _Json, prometheus: Prometheus) -> bytes:
    """A PNG of a dashboard over the time that Prometheus is asked about."""
    figure = sheet(max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in dashboard["panels"]))
    _write_head(figure, dashboard, prometheus.span)
    prometheus.choose(dashboard)
    for panel in dashboard["panels"]:
        _draw(figure, panel, prometheus)
    return png(figure)


def curves(panel: _Json, prometheus: Prometheus) -> list[Curve]:
    """What there is to draw of a panel's queries."""
    return [
        Curve(_name(target["legendFormat"], one.labels), one)
        for target in panel["targets"]
        for one in prometheus.series(target["expr"])
        if not all(math.isnan(value) for value in one.values)
    ]


def _write_head(figure: Figure, dashboard: _Json, span: Span) -> None:
    start, end = (datetime.fromtimestamp(at, UTC) for at in (span.start, span.end))
    drawn = (
        f"{start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC, drawn by `postrider observe pictures` from the dashboard's JSON"
        " and the answers of a running Prometheus: not a screenshot of Grafana."
    )
    head = Box(figure, 0, 0, figure.get_figwidth(), HEAD)
    head.write(dashboard["title"], 0.28, size=13, weight="bold", color=DARK)
    head.write(dashboard["description"], 0.46, size=8, color=DARK)
    head.write(drawn, 0.62, size=7, color=GREY)


def _draw(figure: Figure, panel: _Json, prometheus: Prometheus) -> None:
    box = Box.on_grid(figure, panel["gridPos"])
    if panel["type"] == "row":
        box.write(panel["title"], 0.25, size=9.5, weight="bold", color=DARK)
        return
    box.frame()
    box.write(panel["title"], 0.18, size=8, weight="bold", color=DARK)
    if panel["type"] == "text":
        box.write(_prose(panel["options"]["content"]), 0.36, size=7.5, color=DARK, linespacing=1.4)
        return
    says = textwrap.shorten(panel["description"], int(box.width * 17), placeholder=" …")
    box.write(says, 0.32, size=6.5, color=GREY)
    found = curves(panel, prometheus)
    if panel["type"] == "stat":
        found = [one for one in found if one.series.times[-1] >= prometheus.span.end - prometheus.step]
    if not found:
        box.say("no data, as there is no Kubernetes here" if _is_of_a_cluster(panel) else "no data")
    elif panel["type"] == "stat":
        _draw_stats(box, panel, found)
    else:
        axes = _draw_curves(box, panel, found, prometheus.span)
        _draw_exemplars(axes, panel, prometheus)


def _is_of_a_cluster(panel: _Json) -> bool:
    return any(_CLUSTER.search(target["expr"]) for target in panel["targets"])


def _draw_stats(box: Box, panel: _Json, found: Sequence[Curve]) -> None:
    """The last value of each, side by side, over what it was before."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    width = (box.width - GAP) / len(found)
    for place, curve in enumerate(found):
        colour = _colour(curve.last, panel)
        left = place * width + GAP
        box.write(written(curve.last, unit), 0.62, left, size=15, weight="bold", color=colour)
        box.write(_in_two_lines(curve.name, int(width * 18)), 0.80, left, size=6.5, color=DARK)
        behind = box.axes(left, 1.0, box.width - left - width + GAP, 0.05)
        behind.axis("off")
        behind.fill_between(curve.series.times, curve.series.values, color=colour, alpha=0.25, linewidth=0)
        behind.margins(x=0)
        behind.set_ylim(bottom=0)


def _in_two_lines(name: str, room: int) -> str:
    """Breaks a name within its words only where they are too long, and there before a capital letter."""
    if any(len(word) > room for word in name.split()):
        name = _CAPITAL.sub(" ", name)
    return "\n".join(textwrap.wrap(name, max(6, room))[:2])


def _draw_curves(box: Box, panel: _Json, found: Sequence[Curve], span: Span) -> Axes:
    """All of them over time, with their names below."""
    found = sorted(found, key=lambda one: one.highest, reverse=True)
    named = [one.name for one in found if one.name][:_MOST_NAMES]
    columns = max(1, int((box.width - 0.2) / (0.054 * max(map(len, named), default=1) + 0.26)))
    names_height = _NAME * math.ceil(len(named) / columns)
    axes = box.axes(0.58, 0.44, 0.14, 0.30 + names_height)
    defaults = panel["fieldConfig"]["defaults"]
    shade = defaults["custom"]["fillOpacity"] / 100 if len(found) <= _MOST_SHADED else 0
    for curve, colour in zip(found, cycle(CURVES)):
        axes.plot(curve.series.times, curve.series.values, color=colour, linewidth=1)
        axes.fill_between(curve.series.times, curve.series.values, color=colour, alpha=shade, linewidth=0)
    _scale(axes, found, defaults["unit"], span)
    for step in _steps(panel)[1:]:
        axes.axhline(step["value"], color=RED, linewidth=0.9, linestyle=(0, (4, 3)))
    below = box.axes(0.12, box.height - names_height - 0.08)
    below.axis("off")
    lines = axes.get_lines()[: len(named)]
    below.legend(lines, named, loc="upper left", ncols=columns, **_LEGEND)
    return axes


def _scale(axes: Axes, found: Sequence[Curve], unit: str, span: Span) -> None:
    highest = max(one.highest for one in found)
    axes.set_ylim(0, highest * 1.1 or 1)
    axes.set_xlim(span.start, span.end)
    axes.xaxis.set_major_locator(MultipleLocator(_tick_seconds(span)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{datetime.fromtimestamp(at, UTC):%H:%M}"))
    axes.yaxis.set_major_locator(_ticks(unit, highest))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.tick_params(labelsize=6.5, length=2, width=0.5, colors=GREY)
    axes.grid(color=FAINT, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)


def _tick_seconds(span: Span) -> float:
    """Some six over the whole time, at round minutes."""
    seconds = span.end - span.start
    return next((60.0 * one for one in _ROUND_MINUTES if seconds / one <= 60 * _TIME_TICKS), seconds)


def _ticks(unit: str, highest: float) -> Locator:
    """Some four, at round numbers: of bytes those are powers of two."""
    if unit == "bytes" and highest > 0:
        return MultipleLocator(2 ** math.ceil(math.log2(highest / _TICKS)))
    return MaxNLocator(_TICKS, integer=unit == "short" and highest >= _TICKS)


def _draw_exemplars(axes: Axes, panel: _Json, prometheus: Prometheus) -> None:
    """A point for each observation that names its trace."""
    asked = [target["expr"] for target in panel["targets"] if target["exemplar"]]
    points = sorted({point for expr in asked for point in prometheus.exemplars(expr)})
    times, values = [at for at, _ in points], [value for _, value in points]
    axes.scatter(times, values, marker="D", s=5, color=DARK, linewidths=0, alpha=0.6, zorder=3)


def _steps(panel: _Json) -> Sequence[_Json]:
    steps: Sequence[_Json] = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return steps


def _colour(value: float, panel: _Json) -> str:
    """That of the last step which the value has reached."""
    reached = [one["color"] for one in _steps(panel) if one["value"] is None or value >= one["value"]]
    return {"green": GREEN, "red": RED}[reached[-1]]


def _name(template: str, labels: Mapping[str, str]) -> str:
    """What the legend calls a series; empty where the dashboard says nothing."""
    return " ".join(re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), template).split())


def _prose(markdown: str) -> str:
    """Plain lines that fit into the whole width."""
    paragraphs = re.sub(r"[*`]", "", markdown).split("\n\n")
    return "\n\n".join(textwrap.fill(one, 190) for one in paragraphs)
