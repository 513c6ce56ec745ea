"""The application that a path names, for whoever may know of it."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.auth.dependencies import AnyCaller, Db, require
from app.domain.ids import decode
from app.domain.permissions import Permission
from app.kit.errors import not_found
from app.kit.query import Reference
from app.kit.telemetry import about
from app.kit.wire import is_name
from app.models import Application, ApplicationKind

APPLICATION = "app"
AppId = Annotated[Reference, Path(description="The application's id or uid")]


def find_application(environment_id: UUID, reference: str, *, lock: bool = False) -> Select[Application]:
    """The application of this id or uid; an id wins over a uid that reads like it.

    While it is locked nobody else changes it, but what belongs to it may come and go.
    """
    application_id = decode(APPLICATION, reference)
    named: ColumnElement[bool] = Application.uid == reference
    statement = select(Application).where(
        Application.environment_id == environment_id,
        Application.kind == ApplicationKind.tenant,
        Application.deleted_at.is_(None),
    )
    if lock:
        statement = statement.with_for_update(key_share=True)
    if application_id is None:
        return statement.where(named)
    by_id = Application.id == application_id
    return statement.where(or_(by_id, named)).order_by(by_id.desc()).limit(1)


def find_deleted_application(environment_id: UUID, reference: str) -> Select[Application]:
    """The deleted application of this id, locked; by its uid it is no longer known."""
    return (
        select(Application)
        .where(
            Application.environment_id == environment_id,
            Application.id == decode(APPLICATION, reference),
            Application.kind == ApplicationKind.tenant,
            Application.deleted_at.is_not(None),
        )
        .with_for_update(key_share=True)
    )


async def seek_application(
    db: AsyncSession, environment_id: UUID, reference: str, *, lock: bool = False
) -> Application | None:
    """The application; None when there is none, or it was deleted."""
    if not is_name(reference):
        return None
    return (await db.execute(find_application(environment_id, reference, lock=lock))).scalar_one_or_none()


async def load_application(
    db: AsyncSession, environment_id: UUID, reference: str, *, lock: bool = False
) -> Application:
    """The application; Problem `not_found` when there is none, or it was deleted."""
    found = await seek_application(db, environment_id, reference, lock=lock)
    if found is None:
        raise not_found("Application")
    about.current().application_id = found.id
    return found


async def load_deleted_application(db: AsyncSession, environment_id: UUID, reference: str) -> Application:
    """The deleted application of this id, locked. Raises Problem `not_found`."""
    found = (await db.execute(find_deleted_application(environment_id, reference))).scalar_one_or_none()
    if found is None:
        raise not_found("Deleted application")
    return found


class ApplicationFor:
    """A dependency: the application in the path, for a caller that holds `permission`.

    One that may not even look is told so, whatever the path says. For all others what is not theirs is not there, and
    only of what they can see are they told that they may not.
    """

    def __init__(self, permission: Permission, *, lock: bool = False) -> None:
        self.permission = permission
        self.lock = lock

    async def __call__(self, app_id: AppId, db: Db, caller: AnyCaller) -> Application:
        """The application. Raises Problem `not_found` or `forbidden`."""
        if not (caller.may(self.permission) or caller.may(Permission.application_read)):
            require(caller, self.permission)
        application = await load_application(db, caller.environment_id, app_id, lock=self.lock)
        if not _shown(caller, application):
            raise not_found("Application")
        require(caller, self.permission)
        return application


def _shown(caller: Caller, application: Application) -> bool:
    return caller.is_organisation or caller.application_id == application.id


ReadableApplication = Annotated[Application, Depends(ApplicationFor(Permission.application_read))]
WritableApplication = Annotated[Application, Depends(ApplicationFor(Permission.application_write, lock=True))]
ApplicationWithMessages = Annotated[Application, Depends(ApplicationFor(Permission.message_read))]
ApplicationToExpunge = Annotated[Application, Depends(ApplicationFor(Permission.message_expunge))]
ApplicationWithDeliveries = Annotated[Application, Depends(ApplicationFor(Permission.delivery_read))]
ApplicationToReplay = Annotated[Application, Depends(ApplicationFor(Permission.delivery_replay))]
ApplicationToClose = Annotated[Application, Depends(ApplicationFor(Permission.portal_grant))]
