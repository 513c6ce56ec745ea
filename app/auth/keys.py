"""Finds the caller behind an API key or a portal token, and remembers it for a moment."""

import time
from collections import OrderedDict

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.expression import bindparam, column

from app.auth.caller import Caller
from app.auth.portal import PortalTokens
from app.domain import api_key
from app.kit.errors import unauthenticated

REMEMBERED_SECONDS = 1.0
REMEMBERED_CALLERS = 10_000
JWT_DOTS = 2


class Callers:
    """Turns the text of a credential into a Caller; what was revoked is refused at most a second later."""

    def __init__(self, engine: AsyncEngine, portal: PortalTokens) -> None:
        self._engine = engine
        self._portal = portal
        self._known: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    async def identify(self, credential: str) -> Caller:
        """The caller; Problem `unauthenticated` when there is none."""
        known = self._known.get(credential)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        caller = await self._find(credential)
        self._remember(credential, caller)
        return caller

    def forget(self, credential: str) -> None:
        """Asks the database about this credential the next time."""
        self._known.pop(credential, None)

    async def _find(self, credential: str) -> Caller:
        if api_key.looks_valid(credential):
            return await self._find_key(credential)
        if credential.count(".") == JWT_DOTS:
            async with self._engine.connect() as connection, connection.begin():
                return await self._portal.read(connection, credential)
        raise unauthenticated()

    async def _find_key(self, credential: str) -> Caller:
        async with self._engine.connect() as connection:
            found = (await connection.execute(_key_statement(credential))).one_or_none()
        if found is None:
            raise unauthenticated()
        return Caller(found.organisation_id, f"key:{found.id}")

    def _remember(self, credential: str, caller: Caller) -> None:
        self._known[credential] = (time.monotonic() + REMEMBERED_SECONDS, caller)
        self._known.move_to_end(credential)
        if len(self._known) > REMEMBERED_CALLERS:
            self._known.popitem(last=False)


def _key_statement(credential: str) -> Select[object, object]:
    digest = bindparam("digest", api_key.digest(credential), BYTEA)
    found = func.find_api_key(digest).table_valued(column("organisation_id"), column("id"))
    return select(found.c.organisation_id, found.c.id)
