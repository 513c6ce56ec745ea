"""Refused requests, counted in memory: a flood of them makes few events."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.audit import SYSTEM, Actor, Event, Outcome, Where
from app.features.audit.documents import moment
from app.features.audit.operations import record
from app.kit.batches import FLUSH_SECONDS, MOST, Batches
from app.kit.clock import utc_now
from app.kit.db import enter_tenants

OVERFLOW = Actor("overflow", label="more callers than are told apart")


@dataclass(frozen=True, slots=True)
class Refused:
    """What refusals are counted by."""

    organisation_id: UUID
    actor: Actor
    action: str
    ip: str | None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many there were, from when to when, and whence the last one came."""

    count: int
    first: datetime
    last: datetime
    where: Where

    def and_(self, later: "Tally") -> "Tally":
        """Both together."""
        return replace(later, count=self.count + later.count, first=self.first)


class Refusals:
    """Counts refusals by organisation, actor, action and address, and writes them down every few seconds.

    Beyond `most` kinds at once they are counted as one, without an organisation.
    """

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], *, most: int = MOST, seconds: float = FLUSH_SECONDS
    ) -> None:
        self._sessions = sessions
        self._batches = Batches[Refused, Tally](self._store, Tally.and_, most=most, seconds=seconds)

    def note(self, organisation_id: UUID | None, actor: Actor, action: str, where: Where) -> None:
        """Counts one; returns at once. `organisation_id` None is for a credential of nobody."""
        now = utc_now()
        tally = Tally(1, now, now, where)
        if not self._batches.add(Refused(organisation_id or SYSTEM, actor, action, where.ip), tally):
            self._batches.add(Refused(SYSTEM, OVERFLOW, action, None), tally, beyond=True)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Writes them down within the block and at its end."""
        return self._batches.running()

    async def flush(self) -> None:
        """Writes down what there is."""
        await self._batches.flush()

    async def _store(self, items: Mapping[Refused, Tally]) -> None:
        async with self._sessions.begin() as db:
            await db.run_sync(enter_tenants, {one.organisation_id for one in items})
            for refused, tally in items.items():
                record(db, _event(refused, tally))


def _event(refused: Refused, tally: Tally) -> Event:
    return Event(
        refused.organisation_id,
        refused.action,
        refused.actor,
        where=replace(tally.where, ip=refused.ip),
        outcome=Outcome.refused,
        details={"first": moment(tally.first), "last": moment(tally.last)},
        count=tally.count,
    )
