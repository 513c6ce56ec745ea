"""Statements about applications; the tenant comes first in each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Delete, Select, Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from app.domain.lifecycle import RESTORABLE
from app.models import Application, ApplicationKind, Endpoint, EndpointHealth

UID_IS_TAKEN = "uq_applications_uid"
Values = Mapping[str, Any]


def live(environment_id: UUID) -> Select[Application]:
    """The applications that are not deleted, in no order."""
    return select(Application).where(
        Application.environment_id == environment_id,
        Application.kind == ApplicationKind.tenant,
        Application.deleted_at.is_(None),
    )


def by_uid(environment_id: UUID, uid: str) -> Select[Application]:
    """The application of this uid."""
    return live(environment_id).where(Application.uid == uid)


def add(environment_id: UUID, application_id: UUID, values: Values) -> Insert:
    """Adds an application, which comes back; nothing does when its uid is taken."""
    return (
        insert(Application)
        .values(environment_id=environment_id, id=application_id, **values)
        .on_conflict_do_nothing(index_elements=["environment_id", "uid"], index_where=Application.deleted_at.is_(None))
    )


def change(environment_id: UUID, application_id: UUID, values: Values) -> Update:
    """Changes an application that is not deleted."""
    return _update(environment_id, application_id, values).where(Application.deleted_at.is_(None))


def remove(environment_id: UUID, application_id: UUID) -> Update:
    """Marks an application as deleted, which frees its uid; its id comes back."""
    return change(environment_id, application_id, {"deleted_at": func.now()}).returning(Application.id)


def deleted(environment_id: UUID) -> Select[Application]:
    """The applications that can be restored, in no order."""
    return select(Application).where(
        Application.environment_id == environment_id,
        Application.kind == ApplicationKind.tenant,
        Application.deleted_at > func.now() - RESTORABLE,
    )


def restore(environment_id: UUID, application_id: UUID, values: Values) -> Update:
    """Brings back an application that can be restored, changed as given."""
    values = {**values, "deleted_at": None}
    return _update(environment_id, application_id, values).where(Application.deleted_at > func.now() - RESTORABLE)


def close_endpoints(environment_id: UUID, application_id: UUID) -> Update:
    """Marks the endpoints as deleted, so that a message that is coming in meanwhile is not delivered either."""
    return _endpoints(environment_id, application_id, func.now()).where(Endpoint.deleted_at.is_(None))


def reopen_endpoints(environment_id: UUID, application_id: UUID, deleted_at: datetime) -> Update:
    """Brings back the endpoints that were deleted at this very moment, with their application."""
    return _endpoints(environment_id, application_id, None).where(Endpoint.deleted_at == deleted_at)


def forget_health(environment_id: UUID, application_id: UUID) -> Delete:
    """Lets the endpoints start afresh."""
    endpoints = select(Endpoint.id).where(
        Endpoint.environment_id == environment_id, Endpoint.application_id == application_id
    )
    return delete(EndpointHealth).where(
        EndpointHealth.environment_id == environment_id, EndpointHealth.endpoint_id.in_(endpoints)
    )


def _update(environment_id: UUID, application_id: UUID, values: Values) -> Update:
    return (
        update(Application)
        .where(Application.environment_id == environment_id, Application.id == application_id)
        .values(**values, version=Application.version + 1)
    )


def _endpoints(environment_id: UUID, application_id: UUID, deleted_at: ColumnElement[datetime] | None) -> Update:
    return (
        update(Endpoint)
        .where(Endpoint.environment_id == environment_id, Endpoint.application_id == application_id)
        .values(deleted_at=deleted_at, revision=Endpoint.revision + 1)
    )
