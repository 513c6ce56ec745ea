"""The catalogues: each metric is written by the product, nothing beside them is, and no label tells tenants apart."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from app.kit.telemetry import figures, metrics
from app.kit.telemetry.figures import Figure
from tests.servers import ROOT

CATALOGUE = {
    name: one for name, one in vars(metrics).items() if name.isupper() and isinstance(one, Counter | Gauge | Histogram)
}
FIGURES = {name: one for name, one in vars(figures).items() if isinstance(one, Figure)}
# Whose values a program knows beforehand.
LABELS = {"cache", "component", "event", "figure", "identity", "kind", "lane", "loop", "method", "outcome", "pool"}
LABELS |= {"result", "revision", "route", "route_class", "signal", "state", "status", "task", "tries", "use"}
# By whoever exports: what is counted, what goes up and down, what is observed, what is read.
WRITING = {
    Counter: {"inc"},
    Gauge: {"inc", "dec", "set", "set_function"},
    Histogram: {"observe"},
    Figure: {"of", "by"},
}
MAKERS = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum", "Metric"}
HOMES = {ROOT / "app/kit/telemetry" / name for name in ("metrics.py", "figures.py")}


def sources() -> Iterator[Path]:
    """The product's."""
    return (one for part in ("app", "worker") for one in (ROOT / part).rglob("*.py") if one not in HOMES)


def writes(source: str, name: str, verbs: set[str]) -> bool:
    """Whether a module calls one of these methods on what has the name, or on what it got from that."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    carriers, before = {name}, set[str]()
    while carriers != before:
        before = set(carriers)
        for node in nodes:
            match node:
                case ast.Assign(targets=targets, value=value) if carriers & mentioned(value):
                    carriers.update(*map(mentioned, targets))
                case ast.FunctionDef(name=function) if any(carriers & mentioned(one) for one in returned(node)):
                    carriers.add(function)
    calls = [one.func for one in nodes if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)]
    return any(one.attr in verbs and carriers & mentioned(one.value) for one in calls)


def mentioned(tree: ast.AST) -> set[str]:
    """The names and attributes in an expression, but for `self`."""
    names = {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)} - {"self"}
    return names | {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute)}


def returned(function: ast.AST) -> Iterator[ast.expr]:
    """What a function may return."""
    return (one.value for one in ast.walk(function) if isinstance(one, ast.Return) and one.value is not None)


def made(source: str) -> set[str]:
    """The names of the client library by which a module makes metrics."""
    tree = ast.parse(source)
    imported = {
        alias.asname or alias.name: alias.name
        for one in ast.walk(tree)
        if isinstance(one, ast.ImportFrom) and (one.module or "").startswith("prometheus_client")
        for alias in one.names
    }
    called = {one.func.id for one in ast.walk(tree) if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)}
    return {
        original
        for name, original in imported.items()
        if original.endswith("MetricFamily") or (original in MAKERS and name in called)
    }


def row_of_metric(one: Counter | Gauge | Histogram) -> str:
    """What the README's table says of it."""
    (family,) = one.describe()
    name = f"{family.name}_total" if isinstance(one, Counter) else family.name
    return f"| `{name}` | {family.type} |{cell(one._labelnames)} | {family.documentation} |"


def row_of_figure(one: Figure) -> str:
    """What the README's other table says of it."""
    return f"| `{one.sample}` |{cell(one.labels)} | {one.words} |"


def cell(labels: Sequence[str]) -> str:
    return f" {', '.join(labels)}" if labels else ""


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [one.read_text() for one in sources()]


@pytest.mark.parametrize("name", [*CATALOGUE, *FIGURES])
def test_the_product_writes_it(name: str, texts: list[str]) -> None:
    one = {**CATALOGUE, **FIGURES}[name]
    assert any(writes(text, name, WRITING[type(one)]) for text in texts if name in text)


def test_nothing_is_exported_beside_the_catalogues() -> None:
    assert {str(one): made(one.read_text()) for one in sources() if made(one.read_text())} == {}


@pytest.mark.parametrize(
    "source",
    [
        "GOOD.inc()",
        "GOOD.labels('a').inc()",
        "_KEPT = GOOD.labels('a')\n_KEPT.inc()",
        "_ONE, _TWO = map(GOOD.labels, 'ab')\n_TWO.inc()",
        "class A:\n def __init__(self): self._kept = GOOD\n def count(self): self._kept.inc()",
        "def child(): return GOOD.labels('a')\none = child()\none.inc()",
    ],
)
def test_a_metric_that_is_written_in_any_of_these_ways_is_found(source: str) -> None:
    assert writes(source, "GOOD", {"inc"})


@pytest.mark.parametrize(
    "source", ["GOOD.labels('a')", "print(GOOD)", "OTHER.inc()", "GOOD.inc", "kept = GOOD\nother.inc()", "GOOD.set(1)"]
)
def test_a_metric_that_is_only_named_is_not_taken_for_one_that_is_written(source: str) -> None:
    assert not writes(source, "GOOD", {"inc"})


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from prometheus_client import Counter as C\nC('a', 'b')", {"Counter"}),
        ("from prometheus_client.core import GaugeMetricFamily", {"GaugeMetricFamily"}),
        ("from prometheus_client import Counter\none: Counter", set()),
        ("from collections import Counter\nCounter()", set()),
    ],
)
def test_a_metric_that_is_made_is_found(source: str, found: set[str]) -> None:
    assert made(source) == found


@pytest.mark.parametrize("name", [*CATALOGUE, *FIGURES])
def test_its_labels_have_few_values(name: str) -> None:
    labels = CATALOGUE[name]._labelnames if name in CATALOGUE else FIGURES[name].labels
    assert set(labels) <= LABELS


@pytest.mark.parametrize("row", [*map(row_of_metric, CATALOGUE.values()), *map(row_of_figure, FIGURES.values())])
def test_the_readme_says_the_same(row: str) -> None:
    assert row in (ROOT / "README.md").read_text().splitlines()
