"""Statements about applications; the tenant comes first in each."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Delete, Select, Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from app.models import Application, ApplicationKind, Endpoint, EndpointSecret

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
    return (
        update(Application)
        .where(
            Application.environment_id == environment_id,
            Application.id == application_id,
            Application.deleted_at.is_(None),
        )
        .values(**values)
    )


def remove(environment_id: UUID, application_id: UUID) -> Update:
    """Marks an application as deleted, which frees its uid; its id comes back."""
    return change(environment_id, application_id, {"deleted_at": func.now()}).returning(Application.id)


def close_endpoints(environment_id: UUID, application_id: UUID) -> Update:
    """Marks the endpoints as deleted, so that a message that is coming in meanwhile is not delivered either."""
    return (
        update(Endpoint)
        .where(
            Endpoint.environment_id == environment_id,
            Endpoint.application_id == application_id,
            Endpoint.deleted_at.is_(None),
        )
        .values(deleted_at=func.now(), headers=None, revision=Endpoint.revision + 1)
    )


def drop_secrets(environment_id: UUID, application_id: UUID) -> Delete:
    """Forgets the signing keys of the endpoints."""
    endpoints = select(Endpoint.id).where(
        Endpoint.environment_id == environment_id, Endpoint.application_id == application_id
    )
    return delete(EndpointSecret).where(
        EndpointSecret.environment_id == environment_id, EndpointSecret.endpoint_id.in_(endpoints)
    )
