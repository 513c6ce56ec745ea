"""What routes ask for: the caller with a permission, and a transaction that sees the caller's tenants only."""

import base64
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.openapi.models import HTTPBase as HTTPBaseModel
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import State
from starlette.types import Scope

from app.auth.caller import Caller
from app.auth.expiry import announce_end
from app.auth.keys import Callers
from app.auth.limits import Limits
from app.auth.signed_requests import is_signed
from app.auth.uses import Uses
from app.domain.permissions import Permission
from app.kit.db import enter_tenants
from app.kit.errors import Kind, Problem, forbidden, unauthenticated
from app.kit.openapi import SECURITY, answers
from app.kit.wakes import asked

CALLER = "postrider.caller"
BASIC = HTTPBaseModel(scheme="basic", description="An API key as the user name; the password stays empty")


class Bearer(SecurityBase):
    """A dependency: the caller behind `Authorization: Bearer`, when it holds `permission`.

    With `basic` the key may also come as the user name of HTTP Basic; such a dependency comes first in its route. One
    object instead of a chain of functions, since every request pays for each link.
    """

    def __init__(self, permission: Permission | None = None, *, basic: bool = False) -> None:
        self.scheme_name = "Bearer"
        self.model = HTTPBearerModel(description="An API key of the organisation, or a portal token")
        self.permission = permission
        self.basic = basic
        answers(400, 401, 403, 429, 503)(self)
        if basic:
            setattr(self, SECURITY, {"Basic": BASIC})

    async def __call__(self, request: Request, response: Response) -> Caller:
        """The caller. Raises Problem `unauthenticated`, `forbidden`, or `invalid_request` for two credentials."""
        caller = await admit(request, basic=self.basic)
        announce_end(caller, response.headers)
        if self.permission is not None:
            require(caller, self.permission)
        return caller


async def admit(request: Request, *, basic: bool = False) -> Caller:
    """Who calls; a request is asked once."""
    caller: Caller | None = request.scope.get(CALLER)
    if caller is None:
        caller = request.scope[CALLER] = await authenticate(request, basic=basic)
    return caller


async def authenticate(request: Request, *, basic: bool = False) -> Caller:
    """Who calls.

    Raises Problem `unauthenticated`, `forbidden` for an address from which it may not call, and `too_many`.
    """
    state: State = request.app.state
    caller = await known(state, request.scope, credential(request, basic=basic))
    await state.limits.admit(caller, request.scope)
    return caller


async def known(state: State, scope: Scope, text: str) -> Caller:
    """The caller behind a credential's text; see `authenticate`. Its use is noted."""
    callers: Callers = state.callers
    try:
        caller = await callers.identify(text)
    except Problem as error:
        limits: Limits = state.limits
        raise (await limits.failed(scope) or error) from None
    address = address_of(scope)
    admit_address(caller, address)
    note_use(state, caller, address)
    return caller


def note_use(state: State, caller: Caller, address: str) -> None:
    """What is kept of a call by an API key: when and from where it was used last."""
    if caller.key_id is not None:
        uses: Uses = state.uses
        uses.note(caller.key_id, caller.organisation_id, address)


def address_of(scope: Scope) -> str:
    """The address from which a request comes; empty when the server does not know."""
    client = scope.get("client")
    return client[0] if client else ""


def credential(request: Request, *, basic: bool = False) -> str:
    """The text behind `Authorization: Bearer`, or the user name of HTTP Basic where that is taken.

    Raises Problem `unauthenticated`, and `invalid_request` for more than one credential.
    """
    given = request.headers.getlist("authorization")
    if len(given) > 1 or (given and is_signed(request.scope)):
        detail = "The request carries more than one credential; send one"
        raise Problem(Kind.bad_request, "invalid_request", detail)
    scheme, _, text = (given[0] if given else "").partition(" ")
    found = _text(scheme.lower(), text.strip(), basic=basic)
    if not found:
        raise unauthenticated()
    return found


def _text(scheme: str, text: str, *, basic: bool) -> str:
    if scheme == "bearer":
        return text
    return _user_name(text) if basic and scheme == "basic" else ""


def _user_name(text: str) -> str:
    try:
        name, _, password = base64.b64decode(text, validate=True).decode("ascii").partition(":")
    except ValueError:
        return ""
    return "" if password else name


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

CanSendMessages = Annotated[Caller, Depends(Bearer(Permission.message_send, basic=True))]
CanListApplications = Annotated[Caller, Depends(Bearer(Permission.application_list))]
CanWriteApplications = Annotated[Caller, Depends(Bearer(Permission.application_write))]
CanReadEventTypes = Annotated[Caller, Depends(Bearer(Permission.event_type_read))]
CanWriteEventTypes = Annotated[Caller, Depends(Bearer(Permission.event_type_write))]
CanReadTasks = Annotated[Caller, Depends(Bearer(Permission.task_read))]
CanReadOrganisation = Annotated[Caller, Depends(Bearer(Permission.organisation_read, basic=True))]
CanWriteOrganisation = Annotated[Caller, Depends(Bearer(Permission.organisation_write))]
CanDeleteOrganisation = Annotated[Caller, Depends(Bearer(Permission.organisation_delete))]
CanReadKeys = Annotated[Caller, Depends(Bearer(Permission.key_read))]
CanWriteKeys = Annotated[Caller, Depends(Bearer(Permission.key_write))]
CanReadAudit = Annotated[Caller, Depends(Bearer(Permission.audit_read))]
CanGrantPortals = Annotated[Caller, Depends(Bearer(Permission.portal_grant))]
