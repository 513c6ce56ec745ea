"""What a running Prometheus answers to the queries of a dashboard."""

import json
import math
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

_POINTS = 120
_PATIENCE_SECONDS = 30.0
_SCRAPES_IN_RATE = 4
_UNITS = {"s": 1, "m": 60, "h": 3600}
_LABEL_VALUES = re.compile(r"label_values\((\w+), (\w+)\)")


class NoAnswerError(Exception):
    """Prometheus did not answer, or not with what was asked for; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve: its labels, and its values by Unix time; NaN where there is none that can be drawn."""

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when is asked, in Unix time."""

    start: float
    end: float


class Prometheus:
    """Asks about a span of time, as Grafana does: with as many points as a panel has room for."""

    def __init__(self, url: str, span: Span, chosen: Mapping[str, str]) -> None:
        if urlsplit(url).scheme not in {"http", "https"}:
            msg = f"{url!r} is no address of a Prometheus: give one such as http://localhost:9090"
            raise NoAnswerError(msg)
        self._url, self.span, self._chosen = url.rstrip("/"), span, dict(chosen)
        self._scrape = self._scrape_seconds()
        self.step = max(self._scrape, math.ceil((span.end - span.start) / _POINTS))

    def series(self, expr: str) -> list[Series]:
        """The curves of a query."""
        answer = self._get("query_range", {"query": self._filled(expr), **self._when(), "step": self.step})
        return [_series(one["metric"], one["values"], self.step) for one in answer["result"]]

    def exemplars(self, expr: str) -> list[tuple[float, float]]:
        """Time and value of each observation that names its trace."""
        found = self._get("query_exemplars", {"query": self._filled(expr), **self._when()})
        return [(float(one["timestamp"]), float(one["value"])) for series in found for one in series["exemplars"]]

    def choose(self, dashboard: Mapping[str, Any]) -> None:
        """Chooses a value for each variable of a dashboard that has none: one that there is, the last one first.

        Variables get different values as long as there are some.
        """
        for one in dashboard["templating"]["list"]:
            question = _LABEL_VALUES.fullmatch(one["query"])
            if question is not None and one["name"] not in self._chosen:
                there = self._get(f"label/{question[2]}/values", {"match[]": question[1], **self._when()})
                free = [value for value in there if value not in self._chosen.values()] or there
                self._chosen[one["name"]] = free[-1] if free else ""

    def _filled(self, expr: str) -> str:
        window = max(self.step + self._scrape, _SCRAPES_IN_RATE * self._scrape)
        for name, value in {"__rate_interval": f"{window}s", **self._chosen}.items():
            expr = expr.replace(f"${name}", value)
        return expr

    def _when(self) -> dict[str, float]:
        return {"start": self.span.start, "end": self.span.end}

    def _scrape_seconds(self) -> int:
        """How often it scrapes what it scrapes least often."""
        targets = self._get("targets", {"state": "active"})["activeTargets"]
        if not targets:
            msg = "Prometheus scrapes nothing: see its page /targets"
            raise NoAnswerError(msg)
        return max(_seconds(one["scrapeInterval"]) for one in targets)

    def _get(self, what: str, query: Mapping[str, object]) -> Any:  # noqa: ANN401 JSON
        try:
            url = f"{self._url}/api/v1/{what}?{urlencode(query)}"
            # Its scheme was looked at.
            with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310  # nosec B310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(500).decode(errors="replace")
            msg = f"Prometheus refuses {what} ({error.code}): {said}"
            raise NoAnswerError(msg) from error
        except OSError as error:
            msg = f"no Prometheus answers at {self._url} ({error}): start it by `make observe`, or name another"
            raise NoAnswerError(msg) from error


def _seconds(duration: str) -> int:
    """A duration such as 1m30s; Prometheus writes it so."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", duration)) or 1


def _series(labels: Mapping[str, str], pairs: list[tuple[float, str]], step: float) -> Series:
    """With a hole wherever a point is missing, so that no line is drawn over it."""
    times: list[float] = []
    values: list[float] = []
    for at, value in pairs:
        if times and at - times[-1] > 1.5 * step:
            times.append(times[-1] + step)
            values.append(math.nan)
        times.append(float(at))
        values.append(float(value) if math.isfinite(float(value)) else math.nan)
    return Series(labels, tuple(times), tuple(values))
