"""What is in the tables, whoever's it is: every tenant table of the models, without a list to keep."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Table, select, text
from sqlalchemy.orm import Session, sessionmaker

import app.models  # noqa: F401 whose tables are looked at
from app.kit.db import Base
from tests.api.client import Tenant

Snapshot = Mapping[str, str]
# What was refused, from where a key was used and how much, which is written down whatever a request may.
OF_USE = frozenset(
    {
        "audit_events",
        "audit_unsealed",
        "audit_chain",
        "audit_seals",
        "api_key_addresses",
        "api_keys",
        "organisation_usage",
    }
)


def tenant_column(table: Table) -> str:
    """The column that names the environment, the organisation or the person whose a row is."""
    return {"organisations": "id", "users": "id", "environments": "organisation_id"}.get(table.name) or next(
        iter(table.primary_key)
    ).name


def owner(tenant: Tenant, table: str) -> UUID:
    """What stands in that column of the tenant's rows."""
    column = tenant_tables()[table]
    if table == "users" or column == "user_id":
        return tenant.person_id
    return tenant.id if column == "environment_id" else tenant.organisation_id


def tenant_tables() -> Mapping[str, str]:
    """Every table that has rows of organisations, with the column that names them."""
    return {table.name: tenant_column(table) for table in Base.metadata.sorted_tables}


def filled_tables(sessions: sessionmaker[Session], tenant: Tenant) -> set[str]:
    """The tables in which the tenant has rows."""
    with sessions() as db:
        return {table.name for table in Base.metadata.sorted_tables if db.execute(_one(table, tenant)).first()}


def _one(table: Table, tenant: Tenant) -> Select[Any]:
    column = tenant_column(table)
    return select(table).where(table.c[column] == owner(tenant, table.name)).limit(1)


def snapshot(sessions: sessionmaker[Session], tenant: Tenant) -> Snapshot:
    """A digest of all that the tenant has, table by table, but for what is kept of requests themselves."""
    with sessions() as db:
        tables = tenant_tables().items()
        return {name: _digest(db, name, column, owner(tenant, name)) for name, column in tables if name not in OF_USE}


def _digest(db: Session, table: str, column: str, value: UUID) -> str:
    statement = text(f"SELECT t::text FROM {table} t WHERE {column} = :tenant ORDER BY 1")  # noqa: S608  # our own names
    rows = db.scalars(statement, {"tenant": value}).all()
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def rows_that_show(sessions: sessionmaker[Session], signs: Sequence[str]) -> list[str]:
    """The table of each row, whoever's it is, in whose text one of these regular expressions is found."""
    each = [f"SELECT '{name}' FROM {name} t WHERE t::text ~ :signs" for name in tenant_tables()]  # noqa: S608  # as above
    with sessions() as db:
        return sorted(db.scalars(text(" UNION ALL ".join(each)), {"signs": "|".join(signs)}))
