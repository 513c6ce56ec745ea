"""The keys that tokens are signed and verified with, as the database has them now."""

import asyncio
import time

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.domain.audit import SYSTEM
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.telemetry.lookups import Lookups
from app.kit.token_keys import KeySet
from app.models import SigningKey

REMEMBERED_SECONDS = 0.5
AGAIN_SECONDS = 0.1


class SigningKeys:
    """Reads the keys and remembers them for half a second; one for each process.

    The API cannot make keys: `postrider migrate` makes the first ones, beat turns them, the operator revokes them.
    """

    def __init__(self, sessions: async_sessionmaker[AsyncSession], ring: KeyRing) -> None:
        self._sessions = sessions
        self._ring = ring
        self._known: KeySet | None = None
        self._until = 0.0
        self._lookups = Lookups("signing_keys")
        self._reading = asyncio.Lock()

    async def current(self) -> KeySet:
        """The keys in force. Raises WeakKey, and Undecryptable when the key ring has lost what sealed them."""
        if self._known is not None and time.monotonic() < self._until:
            self._lookups.hits += 1
        else:
            self._lookups.miss()
            async with self._reading:
                if self._known is None or time.monotonic() >= self._until:
                    await self._read()
        assert self._known is not None
        return self._known

    async def naming(self, token: str) -> KeySet:
        """The keys in force; a token of a key that nobody knew makes look again, a few times a second at most."""
        known = await self.current()
        if known.names_key_of(token) or time.monotonic() < self._until - REMEMBERED_SECONDS + AGAIN_SECONDS:
            return known
        self._until = 0.0
        return await self.current()

    async def _read(self) -> None:
        asked_at = time.monotonic()
        async with self._sessions.begin() as db:
            await db.run_sync(enter_tenants, [SYSTEM])
            rows = (await db.scalars(_in_force())).all()
        self._known = KeySet.of(rows, self._ring, self._known)
        self._until = asked_at + REMEMBERED_SECONDS


def _in_force() -> Select[SigningKey]:
    """What verifies, and what will."""
    return (
        select(SigningKey)
        .where(
            SigningKey.organisation_id == SYSTEM,
            SigningKey.revoked_at.is_(None),
            or_(SigningKey.verifies_until.is_(None), SigningKey.verifies_until > func.now()),
        )
        .order_by(SigningKey.signs_from, SigningKey.id)
    )
