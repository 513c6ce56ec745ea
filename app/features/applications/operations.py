"""Makes and changes applications."""

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
    try:
        changed = _row(db, queries.change(environment_id, application_id, values))
    except IntegrityError as error:
        if queries.UID_IS_TAKEN in str(error.orig):
            raise uid_taken() from None
        raise
    if changed is None:
        raise not_found("Application")
    return changed


def remove(db: Session, environment_id: UUID, application_id: UUID) -> None:
    """Deletes an application with its endpoints, and cancels what they are owed. Raises Problem `not_found`."""
    if db.execute(queries.remove(environment_id, application_id)).first() is None:
        raise not_found("Application")
    db.execute(queries.close_endpoints(environment_id, application_id))
    db.execute(queries.drop_secrets(environment_id, application_id))
    deliveries.cancel(db, environment_id, application_id=application_id, reason=DELETED)


def uid_taken() -> Exception:
    """Another application of the organisation has the uid."""
    return conflict("An application with this uid exists")


def _row(db: Session, statement: Insert | Update) -> Application | None:
    returning: Any = statement.returning(Application)
    row: Application | None = db.scalars(returning, execution_options={"populate_existing": True}).one_or_none()
    return row
