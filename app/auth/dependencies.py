"""What routes ask for: the caller with a permission, and a transaction that sees the caller's tenants only."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBase as HTTPBaseModel
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.auth.entrance import Entrance
from app.domain.permissions import Permission
from app.kit.changes import noted
from app.kit.db import enter_tenants
from app.kit.errors import forbidden
from app.kit.methods import READS
from app.kit.openapi import SECURITY, answers
from app.kit.wakes import asked

BASIC = HTTPBaseModel(scheme="basic", description="An API key as the user name; the password stays empty")


class Bearer(SecurityBase):
    """A dependency: the caller behind `Authorization: Bearer`, or a signature, when it holds `permission`.

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

    async def __call__(self, request: Request) -> Caller:
        """The caller. Raises what `Entrance.admit` does, and `forbidden`."""
        caller = await admit(request, basic=self.basic)
        if self.permission is not None:
            require(caller, self.permission)
        return caller


async def admit(request: Request, *, basic: bool = False) -> Caller:
    """Who calls; see Entrance."""
    entrance: Entrance = request.app.state.entrance
    return await entrance.admit(request, basic=basic)


def require(caller: Caller, permission: Permission) -> None:
    """Raises Problem `forbidden` unless the caller holds the permission."""
    if permission not in caller.permissions:
        raise forbidden(f"The credential lacks the permission {permission}")


identify = Bearer()
AnyCaller = Annotated[Caller, Depends(identify)]


async def transaction(request: Request, caller: AnyCaller) -> AsyncIterator[AsyncSession]:
    """One transaction for one request, committed before the answer leaves."""
    if request.method not in READS:
        # A connection is not held while a body comes, for as long as that may take.
        await request.body()
    async with request.app.state.sessions.begin() as session:
        await session.run_sync(enter_tenants, caller.tenants)
        yield session
    if owners := noted(session.sync_session):
        await request.app.state.cache.forget(*owners)
    for wake in asked(session.sync_session):
        request.app.state.waker.wake(wake)


Db = Annotated[AsyncSession, Depends(transaction, scope="function")]

CanSendMessages = Annotated[Caller, Depends(Bearer(Permission.message_send, basic=True))]
CanListApplications = Annotated[Caller, Depends(Bearer(Permission.application_list))]
CanWriteApplications = Annotated[Caller, Depends(Bearer(Permission.application_write))]
CanReadEventTypes = Annotated[Caller, Depends(Bearer(Permission.event_type_read))]
CanWriteEventTypes = Annotated[Caller, Depends(Bearer(Permission.event_type_write))]
CanReadTasks = Annotated[Caller, Depends(Bearer(Permission.task_read))]
CanReadAudit = Annotated[Caller, Depends(Bearer(Permission.audit_read))]
CanReadOrganisation = Annotated[Caller, Depends(Bearer(Permission.organisation_read, basic=True))]
CanWriteOrganisation = Annotated[Caller, Depends(Bearer(Permission.organisation_write))]
CanDeleteOrganisation = Annotated[Caller, Depends(Bearer(Permission.organisation_delete))]
CanReadMembers = Annotated[Caller, Depends(Bearer(Permission.member_read))]
CanWriteMembers = Annotated[Caller, Depends(Bearer(Permission.member_write))]
CanReadKeys = Annotated[Caller, Depends(Bearer(Permission.key_read))]
CanWriteKeys = Annotated[Caller, Depends(Bearer(Permission.key_write))]
CanReadClients = Annotated[Caller, Depends(Bearer(Permission.oauth_client_read))]
CanWriteClients = Annotated[Caller, Depends(Bearer(Permission.oauth_client_write))]
CanGrantPortals = Annotated[Caller, Depends(Bearer(Permission.portal_grant))]
CanReadProviders = Annotated[Caller, Depends(Bearer(Permission.identity_provider_read))]
CanWriteProviders = Annotated[Caller, Depends(Bearer(Permission.identity_provider_write))]
