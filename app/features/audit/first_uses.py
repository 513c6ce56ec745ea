"""Notices when an API key is used from an address for the first time."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from app.domain.audit import Actor, Event, Target, Where, address
from app.domain.ids import encode
from app.features.audit import queries
from app.features.audit.operations import record
from app.kit.arrays import transpose
from app.kit.batches import FLUSH_SECONDS, MOST, Batches
from app.kit.db import enter_tenants

ACTION = "key.first_use"
REMEMBERED = 100_000
Use = tuple[UUID, UUID, str]


class FirstUses:
    """Keeps the addresses of keys, and writes an event for each that is new. What is known is asked about no more."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], *, most: int = MOST, seconds: float = FLUSH_SECONDS
    ) -> None:
        self._sessions = sessions
        self._known: dict[Use, None] = {}
        self._batches = Batches[Use, None](self._store, lambda *_: None, most=most, seconds=seconds)

    def note(self, organisation_id: UUID, key_id: UUID, ip: str | None) -> None:
        """A key was used; returns at once. When there is no room, its next use is noted instead."""
        use = (organisation_id, key_id, ip or "")
        if use not in self._known and (found := address(ip)):
            self._batches.add((organisation_id, key_id, found), None)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Stores them within the block and at its end."""
        return self._batches.running()

    async def flush(self) -> None:
        """Stores what there is."""
        await self._batches.flush()

    async def _store(self, uses: Mapping[Use, None]) -> None:
        async with self._sessions.begin() as db:
            await db.run_sync(_note, list(uses))
        self._known |= uses
        for oldest in list(self._known)[: max(0, len(self._known) - REMEMBERED)]:
            del self._known[oldest]


def _note(db: Session, uses: list[Use]) -> None:
    enter_tenants(db, {organisation_id for organisation_id, _, _ in uses})
    given = transpose(uses, "organisation_id", "key_id", "address")
    for organisation_id, key_id, ip in db.execute(queries.note_addresses(), given).all():
        key = encode("key", key_id)
        record(db, Event(organisation_id, ACTION, Actor("key", key), Target("key", key), Where(ip)))
