"""Migrating a database that is in use: one at a time, behind nobody for long, and from where the last one stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from app.cli.dev.ports import any_free
from app.cli.dev.roles import DatabaseUrls, database_of
from app.features.health.revision import built_in
from app.kit.db import make_engine
from migrations.turn import HOLDER, LOCK, LOCK_SECONDS, MIGRATING, WAITING, CannotMigrateError, patiently, turn
from tests.servers import ROOT, Servers, cloned_database

PATIENCE_SECONDS = 60.0
# The step after it waits for a table that somebody reads.
BEFORE, BLOCKED = "0009", "0010"
NAMES = (
    "SELECT application_name FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name IN ('postrider-waits', 'postrider-migrate')"
)
READS = "LOCK TABLE payloads IN ACCESS SHARE MODE"


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


@pytest.fixture
def urls(servers: Servers, template: str) -> Iterator[DatabaseUrls]:
    """A database of the test's own, which has every table."""
    with cloned_database(servers, template) as made:
        yield made


@pytest.fixture
def own(environment: dict[str, str], urls: DatabaseUrls) -> dict[str, str]:
    return environment | urls.as_environment()


@pytest.fixture
def connection(urls: DatabaseUrls) -> Iterator[Connection]:
    """The migrator's, as env.py has it."""
    engine = make_engine(urls.migrator, name=WAITING)
    with engine.connect() as opened:
        opened.execute(text("SET lock_timeout = '100ms'"))
        opened.commit()
        yield opened
    engine.dispose()


@contextmanager
def migrating(own: dict[str, str], *options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "app.cli.main", "migrate", *options],
        env=own,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def migrate(own: dict[str, str], *options: str) -> tuple[int, str]:
    """How it ended, and what it said."""
    with migrating(own, *options) as process:
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, said


def take_back(own: dict[str, str], revision: str) -> None:
    subprocess.run([sys.executable, "-m", "alembic", "downgrade", revision], env=own, cwd=ROOT, check=True)


def revision_of(urls: DatabaseUrls) -> str:
    with psycopg.connect(urls.migrator) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return "" if row is None else str(row[0])


def waits(urls: DatabaseUrls) -> bool:
    """Whether somebody waits for a lock."""
    with psycopg.connect(urls.migrator) as connection:
        row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return row is not None and bool(row[0])


class TestTurns:
    def test_two_at_once_do_it_one_after_the_other(self, own: dict[str, str], urls: DatabaseUrls) -> None:
        take_back(own, "base")
        with migrating(own) as one, migrating(own) as other:
            said = [process.communicate(timeout=PATIENCE_SECONDS)[0] for process in (one, other)]

        assert [one.returncode, other.returncode] == [0, 0], said
        assert revision_of(urls) == built_in()

    def test_who_waits_for_its_turn_has_no_snapshot_that_an_index_would_wait_for(
        self, own: dict[str, str], urls: DatabaseUrls
    ) -> None:
        with psycopg.connect(urls.migrator, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
            with migrating(own) as process:
                wait_until_it_waits(process)
                holder.execute("SET lock_timeout = '20s'")
                holder.execute("CREATE INDEX CONCURRENTLY planted ON environments (kind)")
                holder.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
                process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0

    def test_another_one_is_waited_for_only_so_long(self, own: dict[str, str], urls: DatabaseUrls) -> None:
        with psycopg.connect(urls.migrator, autocommit=True) as holder:
            holder.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
            status, said = migrate(own, "--wait-seconds", "1")

        assert status == 1
        assert "Error: another migration has run for more than 1 s: let it end, or end its connection" in said
        assert HOLDER in said
        assert "Traceback" not in said

    def test_whose_turn_it_is_can_be_told_from_who_waits(
        self, own: dict[str, str], urls: DatabaseUrls, connection: Connection
    ) -> None:
        with turn(connection), migrating(own) as other, psycopg.connect(urls.migrator, autocommit=True) as looking:
            wait_until_it_waits(other)
            holders = looking.execute(HOLDER).fetchall()
            names = looking.execute(NAMES).fetchall()
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

        assert holders == [(pid,)]
        assert sorted(names) == [(MIGRATING,), (WAITING,)]

    def test_what_broke_the_connection_is_told_and_not_that_it_has_no_turn_to_give_back(
        self, servers: Servers, urls: DatabaseUrls, connection: Connection
    ) -> None:
        name = sql.Identifier(database_of(urls.migrator))
        with psycopg.connect(servers.database_url, autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            with pytest.raises(OperationalError, match="terminating connection"), turn(connection):
                connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))

    def test_the_next_one_gets_its_turn_after_an_error(self, connection: Connection) -> None:
        def enter() -> None:
            with turn(connection, 1.0):
                raise LookupError

        for _ in range(2):
            with pytest.raises(LookupError):
                enter()


def wait_until_it_waits(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any("migration_waits" in line for line in process.stdout)


class TestLocks:
    def test_a_table_in_use_is_waited_for_in_several_tries(self, own: dict[str, str], urls: DatabaseUrls) -> None:
        take_back(own, BEFORE)
        with psycopg.connect(urls.migrator) as reader, migrating(own) as process:
            reader.execute(READS)
            wait_for(lambda: waits(urls))
            time.sleep(LOCK_SECONDS + 1)
            assert process.poll() is None
            reader.rollback()
            said, _ = process.communicate(timeout=PATIENCE_SECONDS)

        assert process.returncode == 0, said
        assert "migration_waits" in said
        assert revision_of(urls) == built_in()

    def test_between_tries_everybody_else_goes_on(self, urls: DatabaseUrls, connection: Connection) -> None:
        with psycopg.connect(urls.migrator) as reader, psycopg.connect(urls.api, autocommit=True) as other:
            reader.execute(READS)
            tries: list[float] = []

            def change() -> None:
                tries.append(time.monotonic())
                connection.execute(text("ALTER TABLE payloads ADD COLUMN planted int"))

            with pytest.raises(CannotMigrateError, match="in use at each of 3 tries"):
                patiently(connection, change, tries=3, pause=0.2)
            other.execute("SET lock_timeout = '1s'")
            other.execute("SELECT FROM payloads")
        assert len(tries) == 3

    def test_another_error_is_no_reason_to_try_again(self, connection: Connection) -> None:
        tries = []

        def change() -> None:
            tries.append(1)
            connection.execute(text("ALTER TABLE there_is_none ADD COLUMN a int"))

        with pytest.raises(Exception, match="there_is_none"):
            patiently(connection, change, pause=0.0)
        assert len(tries) == 1


class TestInterruption:
    def test_the_next_one_goes_on_where_a_killed_one_stopped(self, own: dict[str, str], urls: DatabaseUrls) -> None:
        take_back(own, "0008")
        with psycopg.connect(urls.migrator) as reader:
            reader.execute(READS)
            with migrating(own) as process:
                wait_for(lambda: revision_of(urls) == BEFORE and waits(urls))
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        assert revision_of(urls) == BEFORE

        status, said = migrate(own)

        assert status == 0, said
        assert revision_of(urls) == built_in()


class TestWaiting:
    """What a pod does before it starts."""

    def test_with_the_schema_of_its_build_it_does_not_wait(self, own: dict[str, str]) -> None:
        assert migrate(own, "--wait") == (0, "")

    def test_a_newer_schema_serves_an_older_build(self, own: dict[str, str], urls: DatabaseUrls) -> None:
        with psycopg.connect(urls.migrator, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        assert migrate(own, "--wait") == (0, "")

    def test_it_waits_until_somebody_has_migrated(self, own: dict[str, str]) -> None:
        take_back(own, "0011")
        with migrating(own, "--wait") as process:
            assert process.stdout is not None
            first = process.stdout.readline().strip()
            assert first == f"waiting: {older('0011')}"
            assert migrate(own)[0] == 0
            assert process.wait(PATIENCE_SECONDS) == 0

    @pytest.mark.parametrize("revision", ["base", "0010", "0011"])
    def test_it_says_what_is_missing(self, own: dict[str, str], revision: str) -> None:
        take_back(own, revision)
        missing = older(revision) if revision == "0011" else "the database has no schema yet: run `postrider migrate`"

        status, said = migrate(own, "--wait", "--wait-seconds", "1")

        assert status == 1
        assert said.splitlines()[-1] == f"Error: after 1 s {missing}"

    def test_it_says_that_the_database_is_away(self, own: dict[str, str]) -> None:
        nowhere = {"POSTRIDER_DATABASE__URL": f"postgresql://nobody@127.0.0.1:{any_free()}/none"}
        status, said = migrate(own | nowhere, "--wait", "--wait-seconds", "1")

        assert status == 1
        assert "the database is out of reach" in said


def older(revision: str) -> str:
    return f"the schema is at revision {revision}, and this build needs {built_in()}: run `postrider migrate`"
