"""Who somebody is, by a password: proven at sign-in, and shown once more before dangerous acts."""

from dataclasses import dataclass
from uuid import UUID

from app.auth.phases import Phases
from app.domain import email
from app.domain.passwords import normalised
from app.features.people import operations, queries
from app.features.sign_in.circumstances import Circumstances
from app.features.sign_in.service import WRONG, Proven
from app.features.sign_in.throttle import PASSWORD, Account, Throttle, Try, account_of
from app.kit.encryption import KeyRing
from app.kit.errors import unauthenticated
from app.kit.hashing import Hasher


@dataclass(frozen=True, slots=True)
class Passwords:
    """Verifies passwords; one for each process."""

    hasher: Hasher
    throttle: Throttle
    ring: KeyRing

    async def prove(self, phases: Phases, address: str, password: str, circumstances: Circumstances) -> Proven:
        """The person of this address, whose password it is.

        Whether there is such a person shows neither in the answer nor in the time that it takes. Raises Problem
        `unauthenticated`, `too_many`, `unavailable`.
        """
        key = email.key(address)
        async with phases.begin() as db:
            user_id = await db.scalar(queries.find_user(key or ""))
        account = account_of(self.ring, user_id, key or address.strip().casefold())
        if not await self._try(phases, Try(account, PASSWORD, circumstances), password) or user_id is None:
            raise unauthenticated(WRONG)
        return Proven(user_id, ("pwd",), failures_here=await self.throttle.failures_at(circumstances.where.ip))

    async def confirm(self, phases: Phases, user_id: UUID, password: str, circumstances: Circumstances) -> bool:
        """Whether it is the person's password. Raises Problem `too_many`, `unavailable`."""
        return await self._try(phases, Try(Account(user_id), PASSWORD, circumstances), password)

    async def _try(self, phases: Phases, tried: Try, password: str) -> bool:
        async with phases.begin(tried.account.id) as db:
            row = await db.scalar(queries.password(tried.account.id))
        stored, given = None if row is None else row.hash, normalised(password)

        async def prove() -> bool:
            return await self.hasher.verify(stored, given)

        is_good = await self.throttle.guard(phases, tried, prove)
        if is_good and stored is not None and self.hasher.is_outdated(stored):
            await self._hash_anew(phases, tried.account.id, stored, given)
        return is_good

    async def _hash_anew(self, phases: Phases, user_id: UUID, old: str, password: str) -> None:
        hashed = await self.hasher.hash(password)
        async with phases.begin(user_id) as db:
            await db.run_sync(operations.replace_hash, user_id, old, hashed)
