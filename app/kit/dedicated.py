"""A connection that one hot path keeps for itself, with the transactions on it."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import Session

from app.kit.db import TENANTS_SETTING
from app.kit.direct import command, session_on

T = TypeVar("T")


class NotCommittedError(RuntimeError):
    """The server ended a transaction otherwise than it was asked to."""


class Dedicated:
    """For one user at a time, who works in one transaction after the other. A connection that is lost is replaced.

    To begin, with the tenants, is one round trip, and so is to commit; a session from a pool spends half a batch's
    processor time on them.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        # SQLAlchemy begins nothing here, so that the transactions are ours.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._connection: AsyncConnection | None = None
        self._session: Session

    async def open(self) -> AsyncConnection:
        """Connects, unless it is; for those who cannot wait for it later."""
        if self._connection is None:
            self._connection = await self._engine.connect()
            self._session = await self._connection.run_sync(session_on)
        return self._connection

    async def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def run(self, tenants: Iterable[UUID], work: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401 the work's
        """What `work` of a session and the arguments returns, once that is committed. It sees these tenants only.

        Raises what a session does, and NotCommittedError.
        """
        connection = await self.open()
        try:
            return await connection.run_sync(self._transact, tenants, work, *arguments)
        except BaseException:
            if connection.invalidated:
                await self.close()
            raise

    def _transact(
        self,
        connection: Connection,
        tenants: Iterable[UUID],
        work: Callable[..., T],
        *arguments: Any,  # noqa: ANN401 the work's
    ) -> T:
        db = self._session
        command(connection, _beginning(tenants))
        try:
            result = work(db, *arguments)
            _commit(connection)
        except BaseException:
            # With those who wait for a commit that does not come.
            db.close()
            self._session = session_on(connection)
            if not connection.invalidated:
                command(connection, "ROLLBACK")
            raise
        # Nothing is left to commit but what the session remembers.
        db.commit()
        return result


def _commit(connection: Connection) -> None:
    # The server answers a COMMIT of what has failed with a ROLLBACK, and with no error.
    if (status := command(connection, "COMMIT")) != "COMMIT":
        raise NotCommittedError(status)


def _beginning(tenants: Iterable[UUID]) -> str:
    return f"BEGIN; SELECT set_config('{TENANTS_SETTING}', '{','.join([one.hex for one in tenants])}', true)"
