"""Finds the caller behind an API key, an access token or a portal token, and remembers it for a moment."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, DateTime, Select, Text, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.expression import column, true

from app.auth.access_tokens import TYPES, AccessTokens
from app.auth.caller import Caller
from app.auth.portal import PortalTokens
from app.auth.signed_requests import SigningSecret
from app.domain import api_key
from app.domain.ids import decode
from app.domain.networks import network_list
from app.domain.permissions import Role, permissions_of
from app.kit.arrays import transpose, unnest
from app.kit.clock import utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import unauthenticated
from app.kit.telemetry.lookups import Lookups
from app.kit.token_keys import type_of

REMEMBERED_SECONDS = 1.0
RENEWED_SECONDS = 0.25
REMEMBERED_CALLERS = 10_000
PATIENCE_SECONDS = 5.0
ACCESS_SECONDS = 0.5
JWT_DOTS = 2
TICKET = "ticket+jwt"
"""The type of a half-finished sign-in's ticket, which opens nothing here."""
KEY = "key"
LIVE = "live"


@dataclass(slots=True)
class _Remembered:
    """A caller until its time is over; `used` says whether anyone asked since the database was asked."""

    caller: Caller
    until: float
    used: bool = False


@dataclass(frozen=True, slots=True)
class SigningKey(SigningSecret):
    """A secret of a key that signs, with the caller that it stands for."""

    caller: Caller


class Callers:
    """Turns the text of a credential into a Caller; what was revoked is refused at most a second later.

    Keys in use are asked about together, before their time is over, one query at a time: the cost does not rise
    with the requests, and requests do not wait for it.
    """

    def __init__(self, engine: AsyncEngine, portal: PortalTokens, ring: KeyRing, access: AccessTokens) -> None:
        self._engine = engine
        self._reads = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._portal = portal
        self._access = access
        self._ring = ring
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._lookups = Lookups("credentials")
        self._waiting: dict[str, asyncio.Future[Caller | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._renew_at = 0.0

    async def identify(self, credential: str) -> Caller:
        """The caller; Problem `unauthenticated` when there is none. TimeoutError when the database does not say."""
        known, now = self._remembered.get(credential), time.monotonic()
        if known is None or known.until <= now:
            self._lookups.miss()
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._find(credential)
        self._lookups.hits += 1
        known.used = True
        if now >= self._renew_at:
            self._ask()
        return known.caller

    def forget(self, credential: str) -> None:
        """Asks the database about this credential the next time."""
        self._remembered.pop(credential, None)

    async def signing_keys(self, key_id: str) -> list[SigningKey]:
        """The live secrets of the key of this id, if it is one that signs."""
        wanted = decode(KEY, key_id) or UUID(int=0)
        async with asyncio.timeout(PATIENCE_SECONDS), self._reads.connect() as connection:
            rows = await connection.execute(_signing_keys(), {"wanted": wanted})
            return [self._signing_key(row) for row in rows if row.signs]

    def _signing_key(self, row: Any) -> SigningKey:  # noqa: ANN401 a row of find_signing_key
        text = self._ring.decrypt(row.sealed, api_key.sealed_for(row.secret_id))
        return SigningKey(row.organisation_id, row.key_id, text, caller_of(row))

    async def _find(self, credential: str) -> Caller:
        if api_key.looks_valid(credential):
            found = await self._find_key(credential)
            if found is None:
                raise unauthenticated()
            return found
        if credential.count(".") == JWT_DOTS:
            return await self._find_token(credential)
        raise unauthenticated()

    async def _find_token(self, token: str) -> Caller:
        asked_at, kind = time.monotonic(), type_of(token)
        if kind == TICKET:
            raise unauthenticated("The second step is missing: finish signing in", "mfa_required")
        if kind in TYPES:
            caller, ends_at = await self._access.caller(token)
            self._remember(token, caller, asked_at, ends_at, ACCESS_SECONDS)
            return caller
        async with self._engine.connect() as connection, connection.begin():
            caller = await self._portal.read(connection, token)
        self._remember(token, caller, asked_at, caller.ends_at)
        return caller

    async def _find_key(self, key: str) -> Caller | None:
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
        self._ask()
        return await asyncio.shield(answer)

    def _ask(self) -> None:
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_for_all(), name="keys")
            self._asking.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        task.result()

    async def _ask_for_all(self) -> None:
        while self._waiting or time.monotonic() >= self._renew_at:
            waiting, self._waiting = self._waiting, {}
            asked_at = time.monotonic()
            self._renew_at = asked_at + REMEMBERED_SECONDS - RENEWED_SECONDS
            self._lookups.tell()
            try:
                found = await self._read_keys({*waiting, *self._take_used()})
            except Exception as error:  # noqa: BLE001 raised in each request that waits; without one, in those that ask again
                _fail(waiting, error)
            else:
                for key, caller in found.items():
                    self._remember(key, caller, asked_at, caller.ends_at)
                _answer(waiting, found)

    def _take_used(self) -> list[str]:
        """The keys that were used since they were asked about last."""
        used = [text for text, known in self._remembered.items() if known.used and api_key.looks_valid(text)]
        for text in used:
            self._remembered[text].used = False
        return used

    async def _read_keys(self, keys: Collection[str]) -> dict[str, Caller]:
        digests = {api_key.digest(key): key for key in keys}
        async with self._reads.connect() as connection:
            rows = await connection.execute(_keys(), transpose([(one,) for one in digests], "digest"))
            # One that signs is never sent.
            return {digests[row.digest]: caller_of(row) for row in rows if not row.signs}

    def _remember(
        self,
        credential: str,
        caller: Caller,
        asked_at: float,
        ends_at: datetime | None,
        seconds: float = REMEMBERED_SECONDS,
    ) -> None:
        until = asked_at + seconds
        if ends_at is not None:
            until = min(until, time.monotonic() + (ends_at - utc_now()).total_seconds())
        self._remembered[credential] = _Remembered(caller, until)
        self._remembered.move_to_end(credential)
        if len(self._remembered) > REMEMBERED_CALLERS:
            self._remembered.popitem(last=False)


def _answer(waiting: Mapping[str, asyncio.Future[Caller | None]], found: Mapping[str, Caller]) -> None:
    for key, answer in waiting.items():
        if not answer.done():
            answer.set_result(found.get(key))


def _fail(waiting: Mapping[str, asyncio.Future[Caller | None]], error: Exception) -> None:
    for answer in waiting.values():
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # seen, should everyone who waited have left


def caller_of(row: Any) -> Caller:  # noqa: ANN401 a row of find_api_key or find_signing_key
    """The caller that a key in force stands for; it may do no more than whoever made it."""
    is_live = row.environment == LIVE
    scopes = None if row.scopes is None else tuple(row.scopes)
    permissions = permissions_of(Role(row.role), scopes, live=is_live)
    lists = (
        network_list(tuple(row.organisation_allows), tuple(row.organisation_denies)),
        network_list(tuple(row.key_allows), tuple(row.key_denies)),
    )
    return Caller(
        organisation_id=row.organisation_id,
        environment_id=row.environment_id,
        subject=f"key:{row.key_id}",
        permissions=permissions & permissions_of(Role(row.maker_role or row.role), None, live=is_live),
        is_live=is_live,
        networks=tuple(one for one in lists if one is not None),
        key_id=row.key_id,
        ends_at=row.ends_at,
        maker_id=row.maker_id,
    )


FOUND = (
    column("organisation_id", Uuid),
    column("environment_id", Uuid),
    column("environment", Text),
    column("key_id", Uuid),
    column("secret_id", Uuid),
    column("role", Text),
    column("scopes", ARRAY(Text)),
    column("signs", Boolean),
    column("sealed", BYTEA),
    column("organisation_allows", ARRAY(Text)),
    column("organisation_denies", ARRAY(Text)),
    column("key_allows", ARRAY(Text)),
    column("key_denies", ARRAY(Text)),
    column("ends_at", DateTime(timezone=True)),
    column("maker_id", Uuid),
    column("maker_role", Text),
)
"""What the database says of a key in force."""


@cache
def _signing_keys() -> Select[*tuple[Any, ...]]:
    """The live secrets of a key in force."""
    found = func.find_signing_key(bindparam("wanted", type_=Uuid())).table_valued(*FOUND).alias("found")
    return select(*found.c)


@cache
def _keys() -> Select[*tuple[Any, ...]]:
    """Each key in force among those with these digests."""
    given = unnest(digest=BYTEA())
    found = func.find_api_key(given.c.digest).table_valued(*FOUND).lateral("found")
    return select(given.c.digest, *found.c).select_from(given).join(found, true())
