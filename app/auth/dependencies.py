"""What routes ask for: the caller with a permission, and a transaction that sees the caller's tenants only."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import State
from starlette.types import Scope

from app.auth.caller import Caller
from app.auth.keys import Callers
from app.auth.limits import Limits
from app.domain.permissions import Permission
from app.kit.db import enter_tenants
from app.kit.errors import Problem, forbidden, unauthenticated
from app.kit.openapi import answers
from app.kit.wakes import asked

CALLER = "postrider.caller"


class Bearer(SecurityBase):
    """A dependency: the caller behind `Authorization: Bearer`, when it holds `permission`.

    One object instead of a chain of functions, since every request pays for each link.
    """

    def __init__(self, permission: Permission | None = None) -> None:
        self.scheme_name = "Bearer"
        self.model = HTTPBearerModel(description="An API key of the organisation, or a portal token")
        self.permission = permission
        answers(401, 403, 429, 503)(self)

    async def __call__(self, request: Request) -> Caller:
        """The caller. Raises Problem `unauthenticated` or `forbidden`."""
        caller: Caller | None = request.scope.get(CALLER)
        if caller is None:
            caller = request.scope[CALLER] = await authenticate(request)
        if self.permission is not None:
            require(caller, self.permission)
        return caller


async def authenticate(request: Request) -> Caller:
    """Who calls.

    Raises Problem `unauthenticated`, `forbidden` for an address from which it may not call, and `too_many`.
    """
    state: State = request.app.state
    caller = await known(state, request.scope, credential(request))
    await state.limits.admit(caller, request.scope)
    return caller


async def known(state: State, scope: Scope, text: str) -> Caller:
    """The caller behind a credential's text; see `authenticate`."""
    callers: Callers = state.callers
    try:
        caller = await callers.identify(text)
    except Problem as error:
        limits: Limits = state.limits
        raise (await limits.failed(scope) or error) from None
    admit_address(caller, address_of(scope))
    return caller


def address_of(scope: Scope) -> str:
    """The address from which a request comes; empty when the server does not know."""
    client = scope.get("client")
    return client[0] if client else ""


def credential(request: Request) -> str:
    """The text behind `Authorization: Bearer`. Raises Problem `unauthenticated`."""
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise unauthenticated()
    return text.strip()


def admit_address(caller: Caller, address: str) -> None:
    """Raises Problem `forbidden` (`ip_denied`) when the caller may not call from this address."""
    if caller.networks and not caller.may_call_from(address):
        raise forbidden("The credential may not be used from this address", "ip_denied")


def require(caller: Caller, permission: Permission) -> None:
    """Raises Problem `forbidden` unless the caller holds the permission."""
    if permission not in caller.permissions:
        raise forbidden(f"The credential lacks the permission {permission}")


identify = Bearer()
AnyCaller = Annotated[Caller, Depends(identify)]


async def transaction(request: Request, caller: AnyCaller) -> AsyncIterator[AsyncSession]:
    """One transaction for one request, committed before the answer leaves."""
    async with request.app.state.sessions.begin() as session:
        await session.run_sync(enter_tenants, caller.tenants)
        yield session
    for wake in asked(session.sync_session):
        request.app.state.waker.wake(wake)


Db = Annotated[AsyncSession, Depends(transaction, scope="function")]

CanSendMessages = Annotated[Caller, Depends(Bearer(Permission.message_send))]
CanListApplications = Annotated[Caller, Depends(Bearer(Permission.application_list))]
CanWriteApplications = Annotated[Caller, Depends(Bearer(Permission.application_write))]
CanReadEventTypes = Annotated[Caller, Depends(Bearer(Permission.event_type_read))]
CanWriteEventTypes = Annotated[Caller, Depends(Bearer(Permission.event_type_write))]
CanReadTasks = Annotated[Caller, Depends(Bearer(Permission.task_read))]
CanReadAudit = Annotated[Caller, Depends(Bearer(Permission.audit_read))]
CanGrantPortals = Annotated[Caller, Depends(Bearer(Permission.portal_grant))]
