"""The statements of health checks."""

from sqlalchemy import Select, Text, column, literal, select, table


def nothing() -> Select[int]:
    """Something to answer."""
    return select(literal(1))


def revision() -> Select[str]:
    """The revision that the migrations have brought the schema to."""
    return select(column("version_num", Text())).select_from(table("alembic_version"))
