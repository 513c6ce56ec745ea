"""Statements that turn the key ring over what lies encrypted; as the workers', they cross organisations."""

from typing import Any

from sqlalchemy import Column, LargeBinary, Row, Select, Table, Update, bindparam, func, select, update


def under_other_keys(column: Column[Any], header: bytes, most: int) -> Select[*tuple[Any, ...]]:
    """At most so many rows, locked, whose bytes in the column do not begin with `header`: their keys and the bytes."""
    start = bindparam("header", header, LargeBinary)
    return (
        select(*_key(column), column.label("sealed_bytes"))
        .where(column.is_not(None), func.substr(column, 1, len(header)) != start)
        .limit(most)
        .with_for_update()
    )


def replace(column: Column[Any], row: Row[*tuple[Any, ...]], new: bytes) -> Update:
    """Puts `new` where the row's bytes still are; the thing itself has not changed, so neither has its version."""
    table = _table(column)
    mine = [one == getattr(row, one.name) for one in _key(column)]
    unchanged = {"updated_at": table.c.updated_at} if "updated_at" in table.c else {}
    return update(table).where(*mine, column == row.sealed_bytes).values({column.name: new, **unchanged})


def _key(column: Column[Any]) -> list[Column[Any]]:
    return list(_table(column).primary_key)


def _table(column: Column[Any]) -> Table:
    found = column.table
    assert isinstance(found, Table)
    return found
