"""The catalogue of metrics: each is written by the product, and no label of any tells tenants apart."""

import ast
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram

from app.kit.telemetry import metrics
from tests.servers import ROOT

CATALOGUE = {
    name: one for name, one in vars(metrics).items() if name.isupper() and isinstance(one, Counter | Gauge | Histogram)
}
# Whose values a program knows beforehand.
LABELS = {"cache", "component", "event", "identity", "kind", "lane", "loop", "method", "outcome", "pool", "result"}
LABELS |= {"revision", "route", "route_class", "signal", "status", "task", "tries", "use"}


def names_read(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


@pytest.fixture(scope="module")
def read_by_the_product() -> set[str]:
    catalogue = ROOT / "app/kit/telemetry/metrics.py"
    sources = [one for part in ("app", "worker") for one in (ROOT / part).rglob("*.py") if one != catalogue]
    return set().union(*map(names_read, sources))


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_product_writes_it(name: str, read_by_the_product: set[str]) -> None:
    assert name in read_by_the_product


@pytest.mark.parametrize("name", CATALOGUE)
def test_its_labels_have_few_values(name: str) -> None:
    assert set(CATALOGUE[name]._labelnames) <= LABELS


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_readme_names_it(name: str) -> None:
    (family,) = CATALOGUE[name].describe()
    suffix = "_total" if isinstance(CATALOGUE[name], Counter) else ""
    assert f"`{family.name}{suffix}`" in (ROOT / "README.md").read_text()
