"""What routes ask for: the caller with its permission, and a transaction that sees the caller's organisation only."""

from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.auth.keys import Callers
from app.kit.db import enter_tenants
from app.kit.errors import forbidden, unauthenticated


class Capability(StrEnum):
    """What a portal token can be narrowed to; looking is part of each."""

    view_base = "ViewBase"
    view_endpoint_secret = "ViewEndpointSecret"  # noqa: S105 a capability's name on the wire
    manage_endpoint_secret = "ManageEndpointSecret"  # noqa: S105 as above
    manage_transformations = "ManageTransformations"
    create_attempts = "CreateAttempts"
    manage_endpoint = "ManageEndpoint"


bearer = HTTPBearer(auto_error=False, description="An API key of the organisation, or a portal token")


async def credential(header: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)]) -> str:
    """The text behind `Authorization: Bearer`."""
    if header is None or not header.credentials:
        raise unauthenticated()
    return header.credentials


Credential = Annotated[str, Depends(credential)]


async def identify(request: Request, credential: Credential) -> Caller:
    """The caller of this request."""
    callers: Callers = request.app.state.callers
    return await callers.identify(credential)


AnyCaller = Annotated[Caller, Depends(identify)]


async def organisation_only(caller: AnyCaller) -> Caller:
    """The caller, when it is the organisation itself."""
    if not caller.is_organisation:
        raise forbidden()
    return caller


def capable(capability: Capability, *, writes: bool = True) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency: the caller, when it may do this. A read-only portal token never writes."""

    async def check(caller: AnyCaller) -> Caller:
        if not caller.may(capability) or (writes and caller.read_only):
            raise forbidden()
        return caller

    return check


OrganisationCaller = Annotated[Caller, Depends(organisation_only)]
CanManageEndpoints = Annotated[Caller, Depends(capable(Capability.manage_endpoint))]
CanViewSecrets = Annotated[Caller, Depends(capable(Capability.view_endpoint_secret, writes=False))]
CanManageSecrets = Annotated[Caller, Depends(capable(Capability.manage_endpoint_secret))]
CanCreateAttempts = Annotated[Caller, Depends(capable(Capability.create_attempts))]
CanManageTransformations = Annotated[Caller, Depends(capable(Capability.manage_transformations))]


async def transaction(request: Request, caller: AnyCaller) -> AsyncIterator[AsyncSession]:
    """One transaction for one request, committed before the answer leaves."""
    async with request.app.state.sessions.begin() as session:
        await session.run_sync(enter_tenants, [caller.organisation_id])
        yield session


Db = Annotated[AsyncSession, Depends(transaction, scope="function")]
