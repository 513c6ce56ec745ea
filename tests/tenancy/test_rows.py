"""The API's role in plain SQL: with every filter of the application gone, it still has one organisation's rows only."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from psycopg.types.json import Jsonb

from app.cli.dev.roles import API
from app.kit.db import TENANTS_SETTING
from tests.tenancy.conftest import Town
from tests.tenancy.resident import NOT_FILLED, Resident, missing
from tests.tenancy.rows import owner, tenant_tables

TABLES = tenant_tables()
every_table = pytest.mark.parametrize("table", sorted(TABLES.keys() - NOT_FILLED.keys()))


@contextmanager
def seen_by(url: str, *residents: Resident) -> Iterator[psycopg.Connection]:
    """A transaction that names these organisations with their people, and is taken back."""
    with psycopg.connect(url) as connection, connection.transaction(force_rollback=True):
        if residents:
            named = ",".join(str(own) for one in residents for own in one.tenants)
            connection.execute("SELECT set_config(%s, %s, true)", [TENANTS_SETTING, named])
        yield connection


def tenants_in(connection: psycopg.Connection, table: str) -> set[UUID]:
    """Whose rows can be read."""
    column, name = sql.Identifier(TABLES[table]), sql.Identifier(table)
    return {row[0] for row in connection.execute(sql.SQL("SELECT DISTINCT {} FROM {}").format(column, name))}


def row_of(town: Town, table: str, resident: Resident) -> Jsonb:
    """One of an organisation's rows."""
    with seen_by(town.urls.worker) as connection:
        statement = sql.SQL("SELECT to_jsonb(t) FROM {} t WHERE {} = %s LIMIT 1")
        named = statement.format(sql.Identifier(table), sql.Identifier(TABLES[table]))
        row = connection.execute(named, [owner(resident.tenant, table)]).fetchone()
    assert row is not None
    return Jsonb(row[0])


def insert(connection: psycopg.Connection, table: str, row: Jsonb) -> None:
    statement = sql.SQL("INSERT INTO {0} SELECT * FROM jsonb_populate_record(NULL::{0}, %s)")
    connection.execute(statement.format(sql.Identifier(table)), [row])


def granted(connection: psycopg.Connection, table: str, right: str) -> Sequence[str]:
    """The columns on which the role has the right."""
    statement = (
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND has_column_privilege(attrelid, attnum, %s)"
    )
    return [row[0] for row in connection.execute(statement, [table, right])]


def touched(connection: psycopg.Connection, table: str, where: sql.Composable) -> int:
    """How many rows the role can change and delete; what it has no right to is none."""
    name, count = sql.Identifier(table), 0
    for column in granted(connection, table, "UPDATE"):
        change = sql.SQL("UPDATE {0} SET {1} = {1} WHERE {2}").format(name, sql.Identifier(column), where)
        count += connection.execute(change).rowcount
    try:
        with connection.transaction():
            count += connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(name, where)).rowcount
    except InsufficientPrivilege:
        pass
    return count


def is_(table: str, resident: Resident) -> sql.Composed:
    return sql.SQL("{} = {}").format(sql.Identifier(TABLES[table]), sql.Literal(owner(resident.tenant, table)))


EVERYTHING = sql.SQL("true")


def test_both_have_something_in_every_table(town: Town) -> None:
    """What follows proves something of a table only then; a new table is filled in `settle`."""
    for resident in (town.ours, town.theirs):
        assert missing(town.system.sessions, resident.tenant) == set()


@pytest.mark.acceptance("Z08")
@every_table
def test_without_an_organisation_there_is_nothing_and_nothing_can_be_written(town: Town, table: str) -> None:
    row = row_of(town, table, town.ours)
    with seen_by(town.urls.api) as connection:
        assert tenants_in(connection, table) == set()
        assert touched(connection, table, EVERYTHING) == 0
        with pytest.raises(InsufficientPrivilege):
            insert(connection, table, row)


@pytest.mark.acceptance("Z05")
@every_table
def test_only_the_named_organisation_is_there(town: Town, table: str) -> None:
    both = {owner(one.tenant, table) for one in (town.ours, town.theirs)}
    with seen_by(town.urls.worker) as connection:
        assert tenants_in(connection, table) >= both
    for resident in (town.ours, town.theirs):
        with seen_by(town.urls.api, resident) as connection:
            assert tenants_in(connection, table) == {owner(resident.tenant, table)}
    with seen_by(town.urls.api, town.ours, town.theirs) as connection:
        assert tenants_in(connection, table) == both


@pytest.mark.acceptance("Z05")
@every_table
def test_nothing_of_another_can_be_changed_deleted_or_added(town: Town, table: str) -> None:
    row = row_of(town, table, town.theirs)
    with seen_by(town.urls.api, town.ours) as connection:
        assert touched(connection, table, is_(table, town.theirs)) == 0
        with pytest.raises(InsufficientPrivilege):
            insert(connection, table, row)


@pytest.mark.acceptance("Z05")
@every_table
def test_no_row_can_be_given_to_another(town: Town, table: str) -> None:
    change = sql.SQL("UPDATE {} SET {} = {} WHERE {}").format(
        sql.Identifier(table),
        sql.Identifier(TABLES[table]),
        sql.Literal(owner(town.theirs.tenant, table)),
        is_(table, town.ours),
    )
    with seen_by(town.urls.api, town.ours) as connection, pytest.raises(InsufficientPrivilege):
        connection.execute(change)


@contextmanager
def view_of(town: Town, table: str) -> Iterator[str]:
    """A view of a table, made by the owner as the catalogue asks, that the API's role may read."""
    name, api = sql.Identifier("seen"), sql.Identifier(API)
    with psycopg.connect(town.urls.migrator, autocommit=True) as owner_of_all:
        view = sql.SQL("CREATE VIEW {} WITH (security_invoker=true) AS SELECT * FROM {}")
        owner_of_all.execute(view.format(name, sql.Identifier(table)))
        try:
            owner_of_all.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(name, api))
            yield "seen"
        finally:
            owner_of_all.execute(sql.SQL("DROP VIEW {}").format(name))


@pytest.mark.acceptance("Z05")
@pytest.mark.parametrize("table", ["applications", "messages", "audit_events"])
def test_a_view_shows_the_named_organisation_alone(town: Town, table: str) -> None:
    column = sql.Identifier(TABLES[table])
    with view_of(town, table) as view:
        statement = sql.SQL("SELECT DISTINCT {} FROM {}").format(column, sql.Identifier(view))
        with seen_by(town.urls.api) as connection:
            assert connection.execute(statement).fetchall() == []
        with seen_by(town.urls.api, town.ours) as connection:
            assert connection.execute(statement).fetchall() == [(owner(town.ours.tenant, table),)]


def test_a_row_of_ones_own_can_be_changed(town: Town) -> None:
    """Else the refusals above would say nothing of whose a row is."""
    with seen_by(town.urls.api, town.ours) as connection:
        assert touched(connection, "endpoint_gates", is_("endpoint_gates", town.ours)) > 0


@pytest.mark.acceptance("Z05")
@pytest.mark.parametrize("named", ["", ",", "{}", "*", "%", "NULL", "00000000-0000-0000-0000-000000000000"])
def test_a_setting_that_names_nobody_shows_nothing(town: Town, named: str) -> None:
    with seen_by(town.urls.api) as connection:
        connection.execute("SELECT set_config(%s, %s, true)", [TENANTS_SETTING, named])
        try:
            assert tenants_in(connection, "applications") == set()
        except psycopg.errors.InvalidTextRepresentation:
            return  # it is no list of ids, and no rows come either
