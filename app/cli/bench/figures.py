"""What was measured, as a table and as JSON."""

import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from app.cli.bench.numbers import spread
from app.cli.bench.plan import FLOORS, Plan

_WIDTHS = (36, 12, 9, 9)


class Figures:
    """Values of each round by name; a figure is their median."""

    def __init__(self, plan: Plan, processes: int) -> None:
        self._plan = plan
        self._processes = processes
        self._rounds: defaultdict[str, list[float]] = defaultdict(list)
        self._memory: dict[str, int] = {}

    def add(self, **values: float) -> None:
        """Notes values of one round."""
        for name, value in values.items():
            self._rounds[name].append(value)

    def add_memory(self, peaks: dict[str, int]) -> None:
        """Notes the most bytes that processes have held at once."""
        for name, peak in peaks.items():
            self._memory[name] = max(peak, self._memory.get(name, 0))

    def __getitem__(self, name: str) -> float:
        return median(self._rounds[name])

    def last(self, name: str) -> float:
        """The value of the round before."""
        return self._rounds[name][-1]

    def missed(self) -> list[str]:
        """The floors that do not hold, or whose figure was not measured."""
        return [name for name, floor in FLOORS.items() if name not in self._rounds or not floor.holds(self[name])]

    def table(self) -> Iterator[str]:
        """Lines for people."""
        yield _row("figure", "median", "spread", "floor", "")
        for name in sorted(self._rounds, key=lambda name: name not in FLOORS):
            floor = FLOORS.get(name)
            verdict = "" if floor is None else "holds" if floor.holds(self[name]) else "MISSED"
            shown = f"{spread(self._rounds[name]):.0%}" if len(self._rounds[name]) > 1 else "-"
            yield _row(name, _number(self[name]), shown, str(floor or ""), verdict)
        for name, peak in sorted(self._memory.items()):
            yield _row(f"peak memory of {name}", f"{peak / 1e6:.0f} MB", "", "", "")

    def save(self, path: Path) -> None:
        """Writes the JSON."""
        path.write_text(json.dumps(self._document(), indent=1) + "\n")

    def _document(self) -> dict[str, Any]:
        return {
            "plan": self._plan.name,
            "rounds": self._plan.rounds,
            "processes": self._processes,
            "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
            "figures": {name: self._figure(name) for name in self._rounds},
            "peak_memory_bytes": self._memory,
            "missed": self.missed(),
        }

    def _figure(self, name: str) -> dict[str, Any]:
        values, floor = self._rounds[name], FLOORS.get(name)
        known: dict[str, Any] = {"median": self[name], "spread": spread(values), "rounds": values}
        return known if floor is None else known | {"floor": str(floor), "holds": floor.holds(self[name])}


def _row(*cells: str) -> str:
    name, *others = cells
    return f"{name:<{_WIDTHS[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(others, (*_WIDTHS[1:], 9), strict=True)
    )


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"  # noqa: PLR2004 three digits that count
