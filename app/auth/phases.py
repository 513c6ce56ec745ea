"""Short transactions around something slow: the named exception to one transaction for one request.

Hashing a password and asking an identity provider take long, and no transaction is open meanwhile: one reads what is
needed, the slow work is done without any, another one writes. What was read may have changed by then; the second one
looks again at whatever it relies on.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.kit.cache import Cache
from app.kit.changes import noted
from app.kit.db import enter_tenants
from app.kit.openapi import answers
from app.kit.queue import Waker
from app.kit.wakes import asked


@dataclass(frozen=True, slots=True)
class Phases:
    """Begins the transactions of one request."""

    sessions: async_sessionmaker[AsyncSession]
    waker: Waker
    cache: Cache

    @asynccontextmanager
    async def begin(self, *tenants: UUID) -> AsyncIterator[AsyncSession]:
        """A transaction that sees these tenants (people, organisations, environments), committed at the block's end."""
        async with self.sessions.begin() as session:
            await session.run_sync(enter_tenants, tenants)
            yield session
        await self.cache.forget(*noted(session.sync_session))
        for wake in asked(session.sync_session):
            self.waker.wake(wake)


@answers(503)
def phases(request: Request) -> Phases:
    """The dependency."""
    return Phases(request.app.state.sessions, request.app.state.waker, request.app.state.cache)


InPhases = Annotated[Phases, Depends(phases)]
