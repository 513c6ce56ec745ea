"""When and from where each API key was used last, written down in batches."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Self
from uuid import UUID

from sqlalchemy import DateTime, Select, Update, Uuid, or_, select, update
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.ext.asyncio import AsyncEngine

from app.domain.addresses import Address
from app.domain.networks import normal
from app.kit.arrays import transpose, unnest
from app.kit.db import enter_tenants
from app.kit.telemetry.logs import get_logger
from app.models import ApiKey

FLUSH_SECONDS = 10.0
logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Use:
    """The last use of a key; `address` None when it is not known."""

    organisation_id: UUID
    key_id: UUID
    at: datetime
    address: Address | None


class Uses:
    """Keeps the last use of each key for a moment; what nobody uses wakes nobody.

    A process that dies loses ten seconds of it, which is worth less than a write for each request.
    """

    def __init__(self, engine: AsyncEngine, *, seconds: float = FLUSH_SECONDS) -> None:
        self._engine = engine
        self._seconds = seconds
        self._noted: dict[UUID, tuple[UUID, float, str]] = {}
        self._flushing: asyncio.Task[None] | None = None

    def note(self, key_id: UUID, organisation_id: UUID, address: str) -> None:
        """A key was used now; returns at once."""
        self._noted[key_id] = organisation_id, time.time(), address
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush_later(), name="uses")

    async def flush(self) -> None:
        """Writes down what was noted. What cannot be written is kept, unless the key is used again."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            await self._store([_use(key_id, *seen) for key_id, seen in noted.items()])
        except Exception:
            self._noted = noted | self._noted
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Writes down what is left."""
        if self._flushing is not None:
            self._flushing.cancel()
        await self._try_to_flush()

    async def _flush_later(self) -> None:
        try:
            await asyncio.sleep(self._seconds)
            await self._try_to_flush()
        finally:
            self._flushing = None

    async def _try_to_flush(self) -> None:
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001 no request waits for it, and the next batch takes it along
            logger.warning("key_uses_not_stored", error=type(error).__name__)

    async def _store(self, uses: Sequence[Use]) -> None:
        rows = [(one.organisation_id, one.key_id, one.at, one.address) for one in uses]
        async with self._engine.begin() as connection:
            await connection.run_sync(enter_tenants, {one.organisation_id for one in uses})
            await connection.execute(_used(), transpose(rows, "organisation_id", "key_id", "at", "address"))


def _use(key_id: UUID, organisation_id: UUID, at: float, address: str) -> Use:
    try:
        known = normal(address)
    except ValueError:
        known = None
    return Use(organisation_id, key_id, datetime.fromtimestamp(at, UTC), known)


@cache
def _used() -> Update:
    """Sets the last use of each key given; keys that someone else writes at the moment are left to them."""
    given = unnest(organisation_id=Uuid(), key_id=Uuid(), at=DateTime(timezone=True), address=INET())
    newer = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < given.c.at)
    mine = (ApiKey.organisation_id == given.c.organisation_id) & (ApiKey.id == given.c.key_id) & newer
    free: Select[UUID, datetime, Address] = (
        select(ApiKey.id, given.c.at, given.c.address)
        .join(given, mine)
        .with_for_update(of=ApiKey, skip_locked=True, key_share=True)
    )
    found = free.cte("found")
    values = {
        "last_used_at": found.c.at,
        "last_used_from": found.c.address,
        "updated_at": ApiKey.updated_at,
    }
    return update(ApiKey).where(ApiKey.id == found.c.id).values(**values)
