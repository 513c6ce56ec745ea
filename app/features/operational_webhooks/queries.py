"""Statements about the hidden application through which an organisation is told of Postrider's own events."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Insert, Select, and_, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from app.models import Application, ApplicationKind, Endpoint

NAME = "Operational webhooks"


def application(organisation_id: UUID) -> Select[Application]:
    """The hidden application, when there is one."""
    return select(Application).where(
        Application.organisation_id == organisation_id, Application.kind == ApplicationKind.operational
    )


def add_application(organisation_id: UUID, application_id: UUID) -> Insert:
    """Makes the hidden application unless there is one."""
    return (
        insert(Application)
        .values(
            organisation_id=organisation_id,
            id=application_id,
            kind=ApplicationKind.operational,
            name=NAME,
            metadata_={},
        )
        .on_conflict_do_nothing(index_elements=["organisation_id"], index_where=text("kind = 'operational'"))
    )


def listeners(organisation_ids: Collection[UUID], event_types: Collection[str]) -> Select[UUID, UUID, list[str] | None]:
    """(organisation, hidden application, event types) of each enabled endpoint that may want one of the events."""
    return (
        select(Endpoint.organisation_id, Endpoint.application_id, Endpoint.event_types)
        .join(
            Application,
            and_(Application.organisation_id == Endpoint.organisation_id, Application.id == Endpoint.application_id),
        )
        .where(
            Application.organisation_id.in_(organisation_ids),
            Application.kind == ApplicationKind.operational,
            Endpoint.deleted_at.is_(None),
            Endpoint.disabled.is_(False),
            or_(Endpoint.event_types.is_(None), Endpoint.event_types.bool_op("&&")(sorted(event_types))),
        )
    )
