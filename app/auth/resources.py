"""The application that a path names, for whoever may know of it."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path
from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.auth.dependencies import AnyCaller, Db
from app.domain.ids import decode
from app.kit.errors import not_found
from app.kit.query import Reference
from app.kit.wire import is_name
from app.models import Application, ApplicationKind

APPLICATION = "app"
AppId = Annotated[Reference, Path(description="The application's id or uid")]


def find_application(organisation_id: UUID, reference: str) -> Select[Application]:
    """The application of this id or uid; an id wins over a uid that reads like it."""
    application_id = decode(APPLICATION, reference)
    named: ColumnElement[bool] = Application.uid == reference
    statement = select(Application).where(
        Application.organisation_id == organisation_id,
        Application.kind == ApplicationKind.tenant,
        Application.deleted_at.is_(None),
    )
    if application_id is None:
        return statement.where(named)
    by_id = Application.id == application_id
    return statement.where(or_(by_id, named)).order_by(by_id.desc()).limit(1)


async def seek_application(db: AsyncSession, organisation_id: UUID, reference: str) -> Application | None:
    """The application; None when there is none, or it was deleted."""
    if not is_name(reference):
        return None
    return (await db.execute(find_application(organisation_id, reference))).scalar_one_or_none()


async def load_application(db: AsyncSession, organisation_id: UUID, reference: str) -> Application:
    """The application; Problem `not_found` when there is none, or it was deleted."""
    found = await seek_application(db, organisation_id, reference)
    if found is None:
        raise not_found("Application")
    return found


async def target_application(app_id: AppId, db: Db, caller: AnyCaller) -> Application:
    """The application in the path; another one than a portal token's own does not exist for it."""
    application = await load_application(db, caller.organisation_id, app_id)
    if not _shown(caller, application):
        raise not_found("Application")
    return application


def _shown(caller: Caller, application: Application) -> bool:
    return caller.is_organisation or caller.application_id == application.id


TargetApplication = Annotated[Application, Depends(target_application)]
