"""The database as its catalogues describe it leaves no way around row-level security."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from app.cli.dev.roles import API, WORKER, DatabaseUrls
from app.kit.db import Base
from tests.tenancy.catalogue import EXCEPTIONS, UNSCOPED, exceptions

# The audit log is added to, events by columns.
READ = {"alembic_version": "SELECT"}
ADDED_TO = {
    "audit_chain": "INSERT SELECT",
    "audit_events": "SELECT",
    "audit_seals": "INSERT SELECT",
    "audit_unsealed": "DELETE SELECT",
}
NO_ID = "00000000-0000-0000-0000-000000000000"
FINDERS = {
    "demands_mfa",
    "find_access_token",
    "find_api_key",
    "find_identity_provider",
    "find_oauth_client",
    "find_provider",
    "find_provider_sessions",
    "find_signing_key",
    "find_user",
}
# What an owner could do wrong, and the rule that finds it.
PLANTED = (
    ("CREATE VIEW planted AS SELECT * FROM applications", "a view sees with its owner's eyes"),
    ("CREATE VIEW planted WITH (security_invoker=false) AS SELECT 1", "a view sees with its owner's eyes"),
    ("CREATE MATERIALIZED VIEW planted AS SELECT 1", "a view that keeps rows has no policies"),
    ("CREATE TABLE planted (id int)", "a table does not force row-level security"),
    ("CREATE SCHEMA other; CREATE TABLE other.planted (id int)", "a table does not force row-level security"),
    ("ALTER TABLE applications NO FORCE ROW LEVEL SECURITY", "a table does not force row-level security"),
    ("ALTER TABLE attempts DISABLE ROW LEVEL SECURITY", "a table does not force row-level security"),
    (
        f"CREATE TABLE planted PARTITION OF messages FOR VALUES FROM ('{NO_ID}') TO ('{NO_ID[:-1]}1')",
        "a table does not force row-level security",
    ),
    (f'GRANT UPDATE ON alembic_version TO "{API}"', "a table of no organisation is more than read"),
    ("DROP POLICY tenant ON endpoints", "a table that the API reads has no policy by the organisation"),
    (
        "CREATE POLICY planted ON endpoints USING (true)",
        "a policy of the API's does not ask for the organisation",
    ),
    (
        f'CREATE POLICY planted ON endpoints TO "{API}" USING (id IS NOT NULL)',
        "a policy of the API's does not ask for the organisation",
    ),
    (f'GRANT TRUNCATE ON messages TO "{WORKER}"', "a right that goes around policies"),
    ("GRANT SELECT ON messages TO PUBLIC", "everybody may reach a table"),
    (f'GRANT CREATE ON SCHEMA public TO "{API}"', "a role may make objects"),
    (
        "CREATE FUNCTION planted() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "a function of its owner's rights looks names up where its caller says",
    ),
    (
        "CREATE FUNCTION planted() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = public AS 'SELECT 1'",
        "a function of its owner's rights looks names up where its caller says",
    ),
    (
        "CREATE FUNCTION planted() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_temp AS 'SELECT 1'",
        "everybody may call a function of its owner's rights",
    ),
)
# Only a superuser could break these; the tests of the roles stand for them.
NOT_PLANTED = {"a role may more than it needs", "a role can become another", "a role owns something"}


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    """A transaction that is taken back."""
    with psycopg.connect(url) as connection, connection.transaction(force_rollback=True):
        yield connection


@pytest.mark.acceptance("Z06")
def test_the_catalogues_say_nothing_against_it(database: DatabaseUrls) -> None:
    with connected(database.migrator) as connection:
        assert exceptions(connection, API, WORKER) == set()
        tables = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace"
        ).fetchone()
    assert tables is not None
    assert tables[0] > len(Base.metadata.tables)


@pytest.mark.acceptance("Z06")
@pytest.mark.parametrize(("planted", "rule"), PLANTED)
def test_what_an_owner_could_do_wrong_is_found(database: DatabaseUrls, planted: str, rule: str) -> None:
    with connected(database.migrator) as connection:
        connection.execute(planted.encode())
        assert {one.partition(":")[0] for one in exceptions(connection, API, WORKER)} >= {rule}


def test_every_rule_is_shown_to_bite() -> None:
    assert {rule for _, rule in PLANTED} == EXCEPTIONS.keys() - NOT_PLANTED


@pytest.mark.acceptance("Z06")
def test_the_rules_of_roles_bite_on_a_role_that_has_it_all(database: DatabaseUrls) -> None:
    """The owner of the tables, looked at as if the API ran as it."""
    with connected(database.migrator) as connection:
        owner = connection.info.user
        found = {one.partition(":")[0] for one in exceptions(connection, owner, WORKER)}
    assert found >= {"a role owns something", "a role may make objects", "a right that goes around policies"}


@pytest.mark.acceptance("Z06")
@pytest.mark.parametrize("role", ["api", "worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE applications DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE applications NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant ON applications",
        "CREATE POLICY mine ON applications USING (true)",
        "TRUNCATE applications CASCADE",
        "CREATE TABLE planted (id int)",
        "CREATE TEMPORARY TABLE applications (id int)",
        "SET ROLE postrider_migrator",
        "SET SESSION AUTHORIZATION postrider_migrator",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
        "CREATE FUNCTION planted() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COPY applications TO PROGRAM 'true'",
    ],
)
def test_a_role_cannot_free_itself(database: DatabaseUrls, role: str, statement: str) -> None:
    with connected(getattr(database, role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.acceptance("Z06")
def test_row_level_security_that_is_off_for_a_session_reads_nothing(database: DatabaseUrls) -> None:
    with connected(database.api) as connection:
        connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM applications")


def test_only_the_revision_belongs_to_nobody(database: DatabaseUrls) -> None:
    with connected(database.migrator) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relrowsecurity"
            " AND relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert tuple(name for (name,) in rows) == UNSCOPED


def test_the_workers_read_and_write_every_organisation_and_may_nothing_else(database: DatabaseUrls) -> None:
    with connected(database.worker) as connection:
        rows = connection.execute(
            "SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)"
            " FROM information_schema.role_table_grants WHERE grantee = current_user GROUP BY table_name"
        ).fetchall()
    assert dict(rows) == dict.fromkeys(Base.metadata.tables, "DELETE INSERT SELECT UPDATE") | ADDED_TO | READ


@pytest.mark.parametrize(
    ("role", "callable_"),
    [
        ("api", FINDERS | {"ensure_partitions"}),
        ("worker", {"ensure_partitions", "drop_partition", "sendable_deliveries"}),
    ],
)
def test_a_role_calls_the_functions_of_the_owner_that_it_needs(
    database: DatabaseUrls, role: str, callable_: set[str]
) -> None:
    with connected(getattr(database, role)) as connection:
        rows = connection.execute(
            "SELECT proname FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace"
            " AND has_function_privilege(oid, 'EXECUTE')"
        ).fetchall()
    assert {name for (name,) in rows} == callable_
