"""Points at which transactions stop until they are let go: a trigger that waits for a lock of ours."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self

import psycopg
from psycopg import sql

from tests.faults.installation import Postgres

_LOCK = 470_001
_DEFERRED, _IMMEDIATE = sql.SQL("DEFERRED"), sql.SQL("IMMEDIATE")


class Failpoint(AbstractContextManager["Failpoint"]):
    """Where an INSERT into a table has done its work, or with `at_commit` where its transaction commits.

    Transactions pass unless it is `closed`. The trigger is gone when the block ends.
    """

    def __init__(self, postgres: Postgres, database: str, table: str, *, at_commit: bool = False) -> None:
        self._connection = psycopg.connect(postgres.url, dbname=database, autocommit=True)
        self._table = sql.Identifier(table)
        self._when = _DEFERRED if at_commit else _IMMEDIATE

    def __enter__(self) -> Self:
        wait = sql.SQL("BEGIN PERFORM pg_advisory_xact_lock_shared({}); RETURN NULL; END").format(_LOCK)
        self._connection.execute(
            sql.SQL("CREATE OR REPLACE FUNCTION failpoint() RETURNS trigger LANGUAGE plpgsql AS {}").format(
                sql.Literal(wait.as_string(self._connection))
            )
        )
        self._connection.execute(
            sql.SQL(
                "CREATE CONSTRAINT TRIGGER failpoint AFTER INSERT ON {} DEFERRABLE INITIALLY {} "
                "FOR EACH ROW EXECUTE FUNCTION failpoint()"
            ).format(self._table, self._when)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.execute(sql.SQL("DROP TRIGGER failpoint ON {}").format(self._table))
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
        found = self._connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", [_LOCK]
        ).fetchone()
        assert found
        return int(found[0])
