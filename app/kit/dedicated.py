"""A connection that one hot path keeps for itself, with the transactions on it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import Session

from app.kit.db import TENANTS_SETTING
from app.kit.direct import command, session_on

T = TypeVar("T")

# SQLAlchemy begins nothing then, so that the transactions are ours.
_OURS = "AUTOCOMMIT"


class NotCommittedError(RuntimeError):
    """The server ended a transaction otherwise than it was asked to."""


class _Line:
    """A connection with a session on it, and one transaction after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session = session_on(connection)

    @contextmanager
    def transaction(self, beginning: str) -> Iterator[Session]:
        db = self._session
        try:
            command(self._connection, beginning)
            yield db
            self._commit()
        except BaseException:
            # With those who wait for a commit that does not come.
            db.close()
            self._session = session_on(self._connection)
            self._roll_back()
            raise
        # Nothing is left to commit but what the session remembers.
        db.commit()

    def _commit(self) -> None:
        # The server answers a COMMIT of what has failed with a ROLLBACK, and with no error.
        if (status := command(self._connection, "COMMIT")) != "COMMIT":
            raise NotCommittedError(status)

    def _roll_back(self) -> None:
        if self._connection.invalidated:
            return
        try:
            command(self._connection, "ROLLBACK")
        except BaseException:
            # Whatever was begun would be committed with what comes next.
            self._connection.invalidate()
            raise


class Dedicated:
    """For one thread, which works in one transaction after the other. A connection that is lost is replaced.

    To begin and to commit is a round trip each. A session from a pool spends two fifths of the processor time of a
    small transaction on them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level=_OURS)
        self._connection: Connection | None = None
        self._line: _Line

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A session in a transaction that is committed at the end of the block. Raises what a session does.

        NotCommittedError when something in it had failed, and was hidden.
        """
        connection = self._connection or self._open()
        try:
            with self._line.transaction("BEGIN") as db:
                yield db
        except BaseException:
            if connection.invalidated:
                self.close()
            raise

    def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> Connection:
        self._connection = self._engine.connect()
        self._line = _Line(self._connection)
        return self._connection


class AsyncDedicated:
    """The same for a task on an event loop, whose transactions see the tenants that they begin with and no other."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine.execution_options(isolation_level=_OURS)
        self._connection: AsyncConnection | None = None
        self._line: _Line

    async def open(self) -> AsyncConnection:
        """Connects, unless it is; for those who cannot wait for it later."""
        if self._connection is None:
            self._connection = await self._engine.connect()
            self._line = await self._connection.run_sync(_Line)
        return self._connection

    async def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def run(self, tenants: Iterable[UUID], work: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401 the work's
        """What `work` of a session and the arguments returns, once that is committed. Raises what `begin` does."""
        connection = await self.open()
        try:
            return await connection.run_sync(self._work, tenants, work, *arguments)
        except BaseException:
            if connection.invalidated:
                await self.close()
            raise

    def _work(self, _: Connection, tenants: Iterable[UUID], work: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401 as above
        with self._line.transaction(_beginning(tenants)) as db:
            return work(db, *arguments)


def _beginning(tenants: Iterable[UUID]) -> str:
    return f"BEGIN; SELECT set_config('{TENANTS_SETTING}', '{','.join([one.hex for one in tenants])}', true)"
