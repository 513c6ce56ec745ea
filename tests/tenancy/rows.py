"""What is in the tables, whoever's it is: every tenant table of the models, without a list to keep."""

import hashlib
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Table, select, text
from sqlalchemy.orm import Session, sessionmaker

import app.models  # noqa: F401 whose tables are looked at
from app.kit.db import Base

Snapshot = Mapping[str, str]


def tenant_column(table: Table) -> str:
    """The column that names the organisation."""
    return "id" if table.name == "organisations" else "organisation_id"


def tenant_tables() -> Mapping[str, str]:
    """Every table that has rows of organisations, with the column that names them."""
    return {table.name: tenant_column(table) for table in Base.metadata.sorted_tables}


def filled_tables(sessions: sessionmaker[Session], organisation_id: UUID) -> set[str]:
    """The tables in which the organisation has rows."""
    with sessions() as db:
        return {
            table.name
            for table in Base.metadata.sorted_tables
            if db.execute(select(table).where(table.c[tenant_column(table)] == organisation_id).limit(1)).first()
        }


def snapshot(sessions: sessionmaker[Session], organisation_id: UUID) -> Snapshot:
    """A digest of all that the organisation has, table by table."""
    with sessions() as db:
        return {name: _digest(db, name, column, organisation_id) for name, column in tenant_tables().items()}


def _digest(db: Session, table: str, column: str, organisation_id: UUID) -> str:
    statement = text(f"SELECT t::text FROM {table} t WHERE {column} = :tenant ORDER BY 1")  # noqa: S608  # our own names
    rows = db.scalars(statement, {"tenant": organisation_id}).all()
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def rows_that_show(sessions: sessionmaker[Session], signs: Sequence[str]) -> list[str]:
    """The table of each row, whoever's it is, in whose text one of these regular expressions is found."""
    each = [f"SELECT '{name}' FROM {name} t WHERE t::text ~ :signs" for name in tenant_tables()]  # noqa: S608  # as above
    with sessions() as db:
        return sorted(db.scalars(text(" UNION ALL ".join(each)), {"signs": "|".join(signs)}))
