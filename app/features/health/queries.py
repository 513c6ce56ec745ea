"""The statement that asks the database for nothing."""

from sqlalchemy import Select, literal, select


def nothing() -> Select[int]:
    """Something to answer."""
    return select(literal(1))
