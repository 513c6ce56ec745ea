"""What import-linter's contracts cannot say: a slice uses of another slice what lies below its service."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FEATURES = Path(__file__).parents[2] / "app" / "features"
PRIVATE = frozenset({"router", "schemas", "service"})
MODULES = sorted(FEATURES.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FEATURES)))
def test_a_slice_leaves_the_private_rooms_of_others_alone(path: Path) -> None:
    own = path.relative_to(FEATURES).parts[0]
    foreign = [name for name in imported_names(path) if slice_of(name) not in {own, None}]
    assert [name for name in foreign if PRIVATE & set(name.split("."))] == []


def test_the_rule_sees_every_way_to_import(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import app.features.a.router\nfrom app.features.b import service\nfrom app.features.c.schemas import D"
    )
    assert [name for name in imported_names(module) if PRIVATE & set(name.split("."))] == [
        "app.features.a.router",
        "app.features.b.service",
        "app.features.c.schemas.D",
    ]


def imported_names(path: Path) -> Iterator[str]:
    """Every name that a module imports, in full."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def slice_of(name: str) -> str | None:
    """The slice that a module belongs to; None outside the features."""
    parts = name.split(".")
    return parts[2] if parts[:2] == ["app", "features"] and len(parts) > 2 else None
