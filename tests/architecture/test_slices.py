"""What import-linter's contracts cannot say of slices and of what is loaded."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

import app.models  # noqa: F401 whose mappers are looked at
from app.kit.db import Base

ROOT = Path(__file__).parents[2]
FEATURES = ROOT / "app" / "features"
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


def lazily_loaded(base: type[DeclarativeBase]) -> list[str]:
    """The relationships that would ask the database when somebody touches them."""
    relationships = [one for mapper in base.registry.mappers for one in mapper.relationships]
    return [str(one) for one in relationships if one.lazy not in {"raise", "write_only"}]


def test_nothing_is_loaded_that_was_not_asked_for() -> None:
    assert lazily_loaded(Base) == []


def test_the_rule_sees_what_is_loaded_when_touched() -> None:
    class Own(DeclarativeBase):
        pass

    class Parent(Own):
        __tablename__ = "parents"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Child(Own):
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(ForeignKey("parents.id"), primary_key=True)
        touched: Mapped[Parent] = relationship(viewonly=True)
        refused: Mapped[Parent] = relationship(viewonly=True, lazy="raise")

    assert lazily_loaded(Own) == ["Child.touched"]


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
