"""What routes ask for: the caller, and a transaction that sees the caller's organisation only."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.kit.db import enter_tenants
from app.kit.errors import forbidden, unauthenticated


async def identify(request: Request) -> Caller:
    """The caller of this request, by its `Authorization: Bearer` header."""
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credential:
        raise unauthenticated()
    caller = await request.app.state.callers.identify(credential.strip())
    assert isinstance(caller, Caller)
    return caller


AnyCaller = Annotated[Caller, Depends(identify)]


async def organisation_only(caller: AnyCaller) -> Caller:
    """The caller, when it is the organisation itself."""
    if not caller.is_organisation:
        raise forbidden()
    return caller


OrganisationCaller = Annotated[Caller, Depends(organisation_only)]


async def transaction(request: Request, caller: AnyCaller) -> AsyncIterator[AsyncSession]:
    """One transaction for one request, committed before the answer leaves."""
    async with request.app.state.sessions.begin() as session:
        await session.run_sync(enter_tenants, [caller.organisation_id])
        yield session


Db = Annotated[AsyncSession, Depends(transaction, scope="function")]
