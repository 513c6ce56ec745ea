"""Makes and changes applications."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Insert, Update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.features.applications import queries
from app.features.deliveries import operations as deliveries
from app.kit.clock import new_id
from app.kit.errors import conflict, not_found
from app.models import Application

DELETED = "application deleted"


def add(db: Session, environment_id: UUID, values: queries.Values) -> Application | None:
    """Adds an application; None when another one has its uid."""
    return _row(db, queries.add(environment_id, new_id(), values))


def add_or_find(db: Session, environment_id: UUID, values: queries.Values) -> tuple[Application, bool]:
    """The application, and whether it is new; Problem `conflict` when the one that has its uid is being deleted."""
    added = add(db, environment_id, values)
    if added is not None:
        return added, True
    found = db.scalars(queries.by_uid(environment_id, values["uid"])).one_or_none()
    if found is None:
        raise uid_taken()
    return found, False


def change(db: Session, environment_id: UUID, application_id: UUID, values: queries.Values) -> Application:
    """Changes an application. Raises Problem `conflict` when the uid is taken, `not_found` when it was just deleted."""
    return _changed(db, queries.change(environment_id, application_id, values), uid_taken)


def remove(db: Session, environment_id: UUID, application_id: UUID) -> None:
    """Deletes an application with its endpoints, and cancels what they are owed. Raises Problem `not_found`.

    Secrets and headers stay until it can no longer be restored.
    """
    if db.execute(queries.remove(environment_id, application_id)).first() is None:
        raise not_found("Application")
    db.execute(queries.close_endpoints(environment_id, application_id))
    deliveries.cancel(db, environment_id, application_id=application_id, reason=DELETED)


def restore(db: Session, application: Application, values: queries.Values) -> Application:
    """Brings back a deleted application, locked, with the endpoints that were deleted with it.

    Raises Problem `conflict` when another one has its uid by now, `not_found` when it is too late.
    """
    owner, deleted_at = (application.environment_id, application.id), application.deleted_at
    assert deleted_at is not None
    restored = _changed(db, queries.restore(*owner, values), uid_taken_meanwhile)
    db.execute(queries.reopen_endpoints(*owner, deleted_at))
    db.execute(queries.forget_health(*owner))
    return restored


def uid_taken() -> Exception:
    """Another application of the organisation has the uid."""
    return conflict("An application with this uid exists")


def uid_taken_meanwhile() -> Exception:
    """Another application got the uid of a deleted one."""
    return conflict("Another application has this uid by now; restore it under another one, or with null under none")


def _changed(db: Session, statement: Update, taken: Callable[[], Exception]) -> Application:
    try:
        changed = _row(db, statement)
    except IntegrityError as error:
        if queries.UID_IS_TAKEN in str(error.orig):
            raise taken() from None
        raise
    if changed is None:
        raise not_found("Application")
    return changed


def _row(db: Session, statement: Insert | Update) -> Application | None:
    returning: Any = statement.returning(Application)
    row: Application | None = db.scalars(returning, execution_options={"populate_existing": True}).one_or_none()
    return row
