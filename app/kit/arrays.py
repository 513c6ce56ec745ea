"""Many rows in one statement: arrays that PostgreSQL unnests."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, TableValuedAlias, bindparam, column, func
from sqlalchemy.types import TypeEngine


def unnest(**columns: TypeEngine[Any]) -> TableValuedAlias:
    """A table `given` with one row for each place in the arrays of its columns.

    The statement it stands in is built once and executed with what `transpose` makes.
    """
    arrays = [bindparam(_parameter(name), type_=ARRAY(type_)) for name, type_ in columns.items()]
    return (
        func.unnest(*arrays)
        .table_valued(*(column(name, type_) for name, type_ in columns.items()), name="given")
        .render_derived()
    )


def transpose(rows: Sequence[tuple[Any, ...]], *names: str) -> dict[str, list[Any]]:
    """Rows as the parameters of `unnest`: each name with the list of its values.

    A column in which every value is None is an empty list: PostgreSQL fills up what is shorter than the others.
    """
    if not rows:
        return {_parameter(name): [] for name in names}
    return {_parameter(name): _values(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _values(column: tuple[Any, ...]) -> list[Any]:
    is_empty = column[0] is None and all(value is None for value in column)
    return [] if is_empty else list(column)


def _parameter(name: str) -> str:
    # SQLAlchemy keeps the names of columns for the values of an UPDATE.
    return f"given_{name}"
