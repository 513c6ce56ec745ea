"""How often a secret of a person may be tried, by whom and from where.

Failures in a row are counted in PostgreSQL for each account and kind of secret, apart for each browser that the person
has signed in with before: whoever guesses makes other strangers wait, and never the person at its own browser. Beside
it the failures of an address are counted over all accounts, and those of a known device, in Redis or while that is out
in the process. An address that nobody has is counted as every other one is.
"""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from sqlalchemy.orm import Session

from app.auth.limits import CODE
from app.auth.phases import Phases
from app.domain.audit import SYSTEM, Actor, Where
from app.domain.failures import is_stopped, wait
from app.domain.ids import encode
from app.features.audit.refusals import Refusals
from app.features.people import queries as people
from app.features.sign_in import queries
from app.features.sign_in.circumstances import Circumstances
from app.features.sign_in.measures import ANY, measure_letter_refused, measure_refused
from app.features.sign_in.queries import UNKNOWN_DEVICE
from app.kit.encryption import KeyRing
from app.kit.errors import Kind, Problem
from app.kit.rate_limits.addresses import network_of
from app.kit.rate_limits.exact import Exact
from app.kit.rate_limits.policy import Identity, Policy, Rate, Standing

PASSWORD, SECOND_STEP = "password", "second_step"
ABSENT_PURPOSE = "absent-account"
FAILED, SPRAYED = "session.refused", "sign_in.sprayed"
STOPPED_SECONDS = 24 * 3600.0
STOPPED = "Too many wrong tries: this is closed until you choose a new password by mail"
LETTERS_ASKED, LETTERS_SENT = Policy("letters-asked", 20, 3600), Policy("letters-sent", 3, 3600)
ADDRESSES_ASKED = Policy("addresses-asked", 5, 3600)
_NOBODY = Actor("nobody")
_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class Account:
    """Whose secret is tried: a person, or what stands for an address that nobody has."""

    id: UUID
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Try:
    """A secret of this kind is tried, such as PASSWORD or SECOND_STEP."""

    account: Account
    kind: str
    circumstances: Circumstances


def account_of(ring: KeyRing, user_id: UUID | None, email_key: str) -> Account:
    """The account of an address, whose it may be or nobody's."""
    if user_id is not None:
        return Account(user_id)
    digest = hmac.digest(ring.derive(ABSENT_PURPOSE)[1], email_key.encode(), sha256)
    return Account(UUID(bytes=digest[:_ID_BYTES], version=4), is_known=False)


def take(db: Session, account_id: UUID, kind: str, device_id: UUID = UNKNOWN_DEVICE) -> None:
    """Counts a try as a failure before it is made, so that no two are made for one; `clear` follows a success.

    The transaction names the account. Raises Problem `too_many` where none may be made now.
    """
    if db.scalar(queries.take(account_id, kind, device_id)) is None:
        failures, seconds = db.execute(queries.count(account_id, kind, device_id)).one()
        measure_refused(kind, "throttled")
        raise _too_often(failures, seconds)


def clear(db: Session, account_id: UUID, kind: str, device_id: UUID = UNKNOWN_DEVICE) -> None:
    """Begins to count anew, after a success."""
    db.execute(queries.clear(account_id, kind, device_id))


def end_stops(db: Session, account_id: UUID) -> None:
    """Lets a person try again who has read its mail.

    The password's failures are forgotten with the password; other kinds go on at the slowest pace, else whoever reads
    the mail could guess codes without end.
    """
    db.execute(queries.clear_kind(account_id, PASSWORD))
    db.execute(queries.slow_down(account_id))


def _too_often(failures: int, seconds_ago: float) -> Problem:
    if is_stopped(failures):
        return Problem(Kind.too_many, CODE, STOPPED, retry_after=STOPPED_SECONDS, word="stopped")
    left = max(1.0, wait(failures).total_seconds() - seconds_ago)
    detail = f"Too many wrong tries: the next one is possible in {_spoken(left)}"
    return Problem(Kind.too_many, CODE, detail, retry_after=left, word="throttled")


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds <= 60 else f"{-(-seconds // 60):.0f} minutes"  # noqa: PLR2004 a minute


@dataclass(frozen=True, slots=True)
class _Spender:
    """Whose failures are counted over all accounts: a device that is known, else an address."""

    device_id: UUID
    policy: Policy | None
    identity: Identity


class Throttle:
    """Watches over tries; one for each process. Without a rate addresses or devices are not counted."""

    def __init__(
        self, exact: Exact, refusals: Refusals, *, per_address: Rate | None, per_device: Rate | None = None
    ) -> None:
        self._exact = exact
        self._refusals = refusals
        self._per_address = None if per_address is None else Policy.of("sign-in-address", per_address)
        self._per_device = None if per_device is None else Policy.of("sign-in-device", per_device)

    async def guard(self, phases: Phases, tried: Try, prove: Callable[[], Awaitable[bool]]) -> bool:
        """What `prove` says, which is asked only where a try may be made, and its answer is counted.

        It runs in no transaction. Raises Problem `too_many`, and whatever `prove` raises: then nothing was tried.
        """
        spender = await self._spender(phases, tried)
        await self._require_room(spender, tried)
        organisations = await self._take(phases, tried, spender.device_id)
        try:
            is_good = await prove()
        except Problem:
            await self._give_back(phases, tried, spender.device_id)
            raise
        if is_good:
            # Others may have failed meanwhile; a guess among very many at once is worth nothing either.
            await self._require_room(spender, tried)
            async with phases.begin(tried.account.id) as db:
                await db.run_sync(clear, tried.account.id, tried.kind, spender.device_id)
        else:
            measure_refused(tried.kind, "failed")
            self._note_failure(tried, organisations)
            async with phases.begin(tried.account.id) as db:
                await db.execute(queries.note_lately(tried.account.id, spender.device_id))
            await self._spend(spender, tried)
        return is_good

    async def admit_letter(self, account: Account, where: Where) -> bool:
        """Whether another letter that anybody may ask for goes to the account; who asks is not told.

        Raises Problem `too_many` for an address that asks for too many.
        """
        asker = Identity("ip", network_of(where.ip or ""))
        await self._take_letter(LETTERS_ASKED, asker, where)
        return (await self._exact.take(LETTERS_SENT, Identity("account", str(account.id)))).allowed

    async def admit_address(self, user_id: UUID, where: Where) -> None:
        """Counts a letter that a person has sent to an address that may be anybody's. Raises Problem `too_many`."""
        await self._take_letter(ADDRESSES_ASKED, Identity("account", str(user_id)), where)

    async def require_room_at(self, circumstances: Circumstances) -> None:
        """Refuses a stranger whose address has spent its tries before anything is looked up.

        Raises Problem `too_many`. Who shows a device is judged by `guard`, which knows whether it is the person's.
        """
        if circumstances.device_id is None and self._per_address is not None:
            address = Identity("ip", network_of(circumstances.where.ip or ""))
            self._require(await self._exact.look(self._per_address, address), circumstances.where)

    async def failures_at(self, address: str | None) -> int:
        """How often strangers failed lately at this address, over all accounts."""
        if self._per_address is None:
            return 0
        standing = await self._exact.look(self._per_address, Identity("ip", network_of(address or "")))
        return self._per_address.amount - (standing.remaining or 0)

    async def _spender(self, phases: Phases, tried: Try) -> _Spender:
        device_id = tried.circumstances.device_id
        if device_id is not None:
            async with phases.begin(tried.account.id) as db:
                if await db.scalar(queries.device(tried.account.id, device_id)) is not None:
                    return _Spender(device_id, self._per_device, Identity("device", str(device_id)))
        address = network_of(tried.circumstances.where.ip or "")
        return _Spender(UNKNOWN_DEVICE, self._per_address, Identity("ip", address))

    async def _take(self, phases: Phases, tried: Try, device_id: UUID) -> list[UUID]:
        account_id = tried.account.id
        async with phases.begin(account_id) as db:
            found = await db.execute(people.organisations(account_id))
            await db.run_sync(take, account_id, tried.kind, device_id)
            return [one.organisation_id for one in found]

    async def _give_back(self, phases: Phases, tried: Try, device_id: UUID) -> None:
        async with phases.begin(tried.account.id) as db:
            await db.execute(queries.give_back(tried.account.id, tried.kind, device_id))

    async def _require_room(self, spender: _Spender, tried: Try) -> None:
        if spender.policy is not None:
            self._require(await self._exact.look(spender.policy, spender.identity), tried.circumstances.where)

    async def _spend(self, spender: _Spender, tried: Try) -> None:
        if spender.policy is not None:
            self._require(await self._exact.take(spender.policy, spender.identity), tried.circumstances.where)

    def _require(self, standing: Standing, where: Where) -> None:
        if not standing.allowed:
            measure_refused(ANY, "throttled")
            raise self._sprayed(standing, where)

    async def _take_letter(self, policy: Policy, asker: Identity, where: Where) -> None:
        standing = await self._exact.take(policy, asker)
        if not standing.allowed:
            measure_letter_refused(asker.kind)
            raise self._sprayed(standing, where)

    def _sprayed(self, standing: Standing, where: Where) -> Problem:
        """Notes it, and says when to come again."""
        self._refusals.note(None, _NOBODY, SPRAYED, where)
        left = max(1.0, standing.reset)
        detail = f"Too many tries from here: the next one is possible in {_spoken(left)}"
        return Problem(Kind.too_many, CODE, detail, retry_after=left, word="throttled")

    def _note_failure(self, tried: Try, organisations: list[UUID]) -> None:
        account = tried.account
        actor = Actor("user", encode("user", account.id)) if account.is_known else _NOBODY
        for one in organisations or [SYSTEM]:
            self._refusals.note(one, actor, FAILED, tried.circumstances.where)
