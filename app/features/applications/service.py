"""What the API does with applications."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.ids import decode
from app.features.applications import operations
from app.features.applications.operations import uid_taken
from app.features.applications.schemas import ApplicationIn, ApplicationPatch, ApplicationRestoreIn
from app.kit.errors import not_found
from app.kit.wire import is_name
from app.models import Application

COLUMNS = {"metadata": "metadata_"}


async def create(
    db: AsyncSession, environment_id: UUID, body: ApplicationIn, *, get_if_exists: bool
) -> tuple[Application, bool]:
    """The application, and whether it is new. Raises Problem `conflict` when the uid is taken and that is no reason."""
    application, new = await db.run_sync(operations.add_or_find, environment_id, columns(body))
    if not new and not get_if_exists:
        raise uid_taken()
    return application, new


async def replace(db: AsyncSession, environment_id: UUID, current: Application, body: ApplicationIn) -> Application:
    """The application with everything as in the body; a uid that is left out stays."""
    values = columns(body)
    if "uid" not in body.model_fields_set:
        values.pop("uid")
    return await db.run_sync(operations.change, environment_id, current.id, values)


async def create_at(db: AsyncSession, environment_id: UUID, reference: str, body: ApplicationIn) -> Application:
    """A new application whose uid is the one in the path, unless the body has its own.

    Raises Problem `not_found` when the path holds an id: ids are not for callers to choose.
    """
    if decode("app", reference) is not None or not is_name(reference):
        raise not_found("Application")
    values = columns(body)
    values["uid"] = body.uid or reference
    application = await db.run_sync(operations.add, environment_id, values)
    if application is None:
        raise uid_taken()
    return application


async def patch(db: AsyncSession, environment_id: UUID, current: Application, body: ApplicationPatch) -> Application:
    """The application with the given fields changed."""
    values = columns(body, only=body.model_fields_set)
    return await db.run_sync(operations.change, environment_id, current.id, values) if values else current


async def remove(db: AsyncSession, environment_id: UUID, application_id: UUID) -> None:
    """Deletes the application and cancels what it is owed."""
    await db.run_sync(operations.remove, environment_id, application_id)


async def restore(db: AsyncSession, deleted: Application, body: ApplicationRestoreIn) -> Application:
    """The application, brought back with its endpoints. Raises Problem `conflict` or `not_found`."""
    return await db.run_sync(operations.restore, deleted, body.model_dump(exclude_unset=True))


def columns(body: ApplicationIn | ApplicationPatch, only: set[str] | None = None) -> dict[str, Any]:
    """The fields of a body by the attributes of the row."""
    return {COLUMNS.get(name, name): value for name, value in body.model_dump(include=only).items()}
