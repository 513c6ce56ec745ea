"""Triggers by which transactions stop until they are let go, or come into conflict with each other."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Self

import psycopg
from psycopg import sql

from tests.faults.installation import Postgres

_LOCK = 470_001
_numbers = itertools.count(_LOCK + 1)


class Failpoint(AbstractContextManager["Failpoint"]):
    """Where an INSERT into a table has done its work, or with `at_commit` where its transaction commits.

    Transactions pass unless it is `closed`. The trigger is gone when the block ends.
    """

    def __init__(self, postgres: Postgres, database: str, table: str, *, at_commit: bool = False) -> None:
        self._connection = psycopg.connect(postgres.url, dbname=database, autocommit=True)
        self._table = table
        self._when = "DEFERRED" if at_commit else "IMMEDIATE"

    def __enter__(self) -> Self:
        code = f"BEGIN PERFORM pg_advisory_xact_lock_shared({_LOCK}); RETURN NULL; END"
        quoted = sql.Literal(code).as_string(self._connection)
        self._connection.execute(
            f"CREATE OR REPLACE FUNCTION failpoint() RETURNS trigger LANGUAGE plpgsql AS {quoted}".encode()
        )
        self._connection.execute(
            f"CREATE CONSTRAINT TRIGGER failpoint AFTER INSERT ON {self._table} DEFERRABLE INITIALLY {self._when} "
            "FOR EACH ROW EXECUTE FUNCTION failpoint()".encode()
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.execute(f"DROP TRIGGER failpoint ON {self._table}".encode())
        self._connection.close()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Whoever comes here waits until the block ends."""
        self._connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            yield
        finally:
            self._connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])

    def waiting(self) -> int:
        """How many transactions wait here."""
        return _waiting(self._connection, _LOCK)


@contextmanager
def serialization_failures(postgres: Postgres, database: str, table: str) -> Iterator[Callable[[], int]]:
    """One INSERT in ten into a table fails as if it could not be serialized; yields how many there were."""
    name = f"fails_{table}"
    code = (
        f"BEGIN IF random() < 0.1 THEN PERFORM nextval('{name}'); "
        "RAISE EXCEPTION 'injected' USING ERRCODE = '40001'; END IF; RETURN NULL; END"
    )
    with psycopg.connect(postgres.url, dbname=database, autocommit=True) as admin:
        admin.execute(f"CREATE SEQUENCE {name}; GRANT USAGE ON SEQUENCE {name} TO PUBLIC".encode())
        with _trigger(admin, name, table, code):
            yield lambda: _int(admin, f"SELECT nextval('{name}')") - 1
        admin.execute(f"DROP SEQUENCE {name}".encode())


@contextmanager
def deadlocks(postgres: Postgres, database: str, table: str) -> Iterator[Callable[[], int]]:
    """Another writer takes two locks in the opposite order of INSERTs into a table, and lives.

    Yields how often the server ended the INSERT's transaction to let it live.
    """
    first, second = next(_numbers), next(_numbers)
    code = f"BEGIN PERFORM pg_advisory_xact_lock({first}), pg_advisory_xact_lock({second}); RETURN NULL; END"
    ended, won = threading.Event(), []

    def quarrel() -> None:
        with psycopg.connect(postgres.url, dbname=database, autocommit=True) as writer:
            while not ended.is_set():
                with suppress(psycopg.errors.DeadlockDetected), writer.transaction():
                    writer.execute("SELECT pg_advisory_xact_lock(%s)", [second])
                    while not ended.is_set() and not _waiting(writer, second):
                        ended.wait(0.001)
                    # Who waits longer looks for a deadlock first, and is the one to end.
                    writer.execute("SELECT pg_advisory_xact_lock(%s)", [first])
                    won.append(not ended.is_set())
                ended.wait(0.3)

    thread = threading.Thread(target=quarrel)
    with psycopg.connect(postgres.url, dbname=database, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET deadlock_timeout = '50ms'")
        admin.execute("SELECT pg_reload_conf()")
        with _trigger(admin, f"deadlocks_{table}", table, code):
            thread.start()
            try:
                yield lambda: sum(won)
            finally:
                ended.set()
                thread.join()
        admin.execute("ALTER SYSTEM RESET deadlock_timeout")
        admin.execute("SELECT pg_reload_conf()")


@contextmanager
def _trigger(admin: psycopg.Connection, name: str, table: str, code: str) -> Iterator[None]:
    """Runs code after each INSERT into a table."""
    quoted = sql.Literal(code).as_string(admin)
    admin.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS {quoted}".encode())
    admin.execute(
        f"CREATE TRIGGER {name} AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()".encode()
    )
    try:
        yield
    finally:
        admin.execute(f"DROP FUNCTION {name}() CASCADE".encode())


def _waiting(connection: psycopg.Connection, lock: int) -> int:
    statement = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
    return _int(connection, statement, lock)


def _int(connection: psycopg.Connection, statement: str, *values: object) -> int:
    found = connection.execute(statement.encode(), values or None).fetchone()
    assert found
    return int(found[0])
