"""The schema: it is what the models say, each step can be taken back, and every tenant's rows are its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from app.cli.dev.roles import DatabaseUrls
from app.kit.db import Base, NotDurableError, assert_durable, make_engine
from app.models import Organisation
from tests.canaries import keep_said
from tests.servers import ROOT, Servers, cloned_database

assert Organisation.metadata is Base.metadata
UNSCOPED = {"alembic_version"}


def alembic(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    keep_said("alembic", done.stderr)
    return done


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def test_the_models_and_the_migrations_agree(environment: dict[str, str]) -> None:
    checked = alembic(environment, "check")

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_step_can_be_taken_back_and_again(servers: Servers, template: str, environment: dict[str, str]) -> None:
    with cloned_database(servers, template) as urls:
        own = environment | urls.as_environment()
        for step in (("downgrade", "base"), ("upgrade", "head"), ("check",)):
            done = alembic(own, *step)
            assert done.returncode == 0, done.stdout + done.stderr


def test_every_table_forces_row_level_security(database: DatabaseUrls) -> None:
    with connected(database.migrator) as connection:
        rows = connection.execute(
            "SELECT relname, relrowsecurity AND relforcerowsecurity FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        ).fetchall()

    assert {name for name, is_forced in rows if not is_forced} == UNSCOPED
    assert {name for name, _ in rows} >= set(Base.metadata.tables)


OWNERS = {"environment_id", "organisation_id", "owner_id", "user_id"}


def test_every_table_has_its_owner_first_in_its_key() -> None:
    keys = {table.name: table.primary_key.columns.keys() for table in Base.metadata.sorted_tables}

    alone = {name for name, key in keys.items() if key[0] not in OWNERS}
    assert alone == {"environments", "organisations", "users"}


@pytest.mark.parametrize("role", ["api", "worker", "migrator"])
def test_no_role_is_above_the_rules(database: DatabaseUrls, role: str) -> None:
    with connected(getattr(database, role)) as connection:
        row = connection.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user").fetchone()

    assert row == (False, False)


@pytest.mark.parametrize("table", sorted(set(Base.metadata.tables)))
def test_the_api_sees_nothing_where_it_names_no_organisation(database: DatabaseUrls, table: str) -> None:
    with connected(database.worker) as connection:
        connection.execute(
            "INSERT INTO organisations (id, name) VALUES (gen_random_uuid(), 'somebody') ON CONFLICT DO NOTHING"
        )
    statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    for setting in ("", "00000000-0000-0000-0000-000000000001"):
        with connected(database.api) as connection, connection.transaction():
            connection.execute("SELECT set_config('app.organisations', %s, true)", (setting,))
            assert connection.execute(statement).fetchone() == (0,)


def test_the_setting_does_not_outlive_its_transaction(database: DatabaseUrls) -> None:
    with connected(database.worker) as connection:
        row = connection.execute(
            "INSERT INTO organisations (id, name) VALUES (gen_random_uuid(), 'one') RETURNING id"
        ).fetchone()
    assert row is not None
    count = "SELECT count(*) FROM organisations"
    with connected(database.api) as connection:
        with connection.transaction():
            connection.execute("SELECT set_config('app.organisations', %s, true)", (str(row[0]),))
            assert connection.execute(count).fetchone() == (1,)
        assert connection.execute(count).fetchone() == (0,)


def test_a_row_cannot_be_written_for_another_organisation(database: DatabaseUrls) -> None:
    with connected(database.api) as connection, connection.transaction():
        connection.execute("SELECT set_config('app.organisations', '00000000-0000-0000-0000-000000000001', true)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO applications (environment_id, id, name, metadata)"
                " VALUES ('00000000-0000-0000-0000-000000000002', gen_random_uuid(), 'theirs', '{}')"
            )


def test_partitions_are_out_of_reach_but_through_their_table(database: DatabaseUrls) -> None:
    with connected(database.api) as connection:
        partition = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'messages'::regclass LIMIT 1"
        ).fetchone()
        assert partition is not None
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(partition[0])))


def test_a_database_that_would_lose_commits_is_refused(servers: Servers, template: str) -> None:
    with cloned_database(servers, template) as urls:
        engine = make_engine(urls.worker, pool_size=1)
        with engine.connect() as connection:
            assert_durable(connection)
        engine.dispose()
        with connected(urls.migrator) as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(connection.info.dbname))
            )
        with engine.connect() as connection, pytest.raises(NotDurableError, match="synchronous_commit=off"):
            assert_durable(connection)
        engine.dispose()
