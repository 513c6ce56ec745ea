"""What routes ask for: the caller with its permission, and a transaction that sees the caller's organisation only."""

from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.auth.keys import Callers
from app.kit.db import enter_tenants
from app.kit.errors import forbidden, unauthenticated
from app.kit.openapi import answers
from app.kit.wakes import asked


class Capability(StrEnum):
    """What a portal token can be narrowed to; looking is part of each."""

    view_base = "ViewBase"
    view_endpoint_secret = "ViewEndpointSecret"  # noqa: S105 a capability's name on the wire
    manage_endpoint_secret = "ManageEndpointSecret"  # noqa: S105 as above
    manage_transformations = "ManageTransformations"
    create_attempts = "CreateAttempts"
    manage_endpoint = "ManageEndpoint"


class Bearer(SecurityBase):
    """A dependency: the caller behind `Authorization: Bearer`, when `allowed` says yes.

    One object instead of a chain of functions, since every request pays for each link.
    """

    def __init__(self, allowed: Callable[[Caller], bool] | None = None) -> None:
        self.scheme_name = "Bearer"
        self.model = HTTPBearerModel(description="An API key of the organisation, or a portal token")
        self._allowed = allowed
        answers(401, 429, 503, *(() if allowed is None else (403,)))(self)

    async def __call__(self, request: Request) -> Caller:
        """The caller. Raises Problem `unauthenticated` or `forbidden`."""
        callers: Callers = request.app.state.callers
        caller = await callers.identify(credential(request))
        await request.app.state.limits.admit(caller, request.scope)
        if self._allowed is not None and not self._allowed(caller):
            raise forbidden()
        return caller


def credential(request: Request) -> str:
    """The text behind `Authorization: Bearer`. Raises Problem `unauthenticated`."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise unauthenticated()
    return text.strip()


def capable(capability: Capability, *, writes: bool = True) -> Bearer:
    """A dependency: the caller, when it may do this. A read-only portal token never writes."""
    return Bearer(lambda caller: caller.may(capability) and not (writes and caller.read_only))


identify = Bearer()
organisation_only = Bearer(lambda caller: caller.is_organisation)
AnyCaller = Annotated[Caller, Depends(identify)]
OrganisationCaller = Annotated[Caller, Depends(organisation_only)]
CanCreateAttempts = Annotated[Caller, Depends(capable(Capability.create_attempts))]


async def transaction(request: Request, caller: AnyCaller) -> AsyncIterator[AsyncSession]:
    """One transaction for one request, committed before the answer leaves."""
    async with request.app.state.sessions.begin() as session:
        await session.run_sync(enter_tenants, [caller.organisation_id])
        yield session
    for wake in asked(session.sync_session):
        request.app.state.waker.wake(wake)


Db = Annotated[AsyncSession, Depends(transaction, scope="function")]
