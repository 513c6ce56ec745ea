"""Statements about the hidden application through which an organisation is told of Postrider's own events."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Insert, Select, and_, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from app.models import Application, ApplicationKind, Endpoint

NAME = "Operational webhooks"


def application(environment_id: UUID) -> Select[Application]:
    """The hidden application, when there is one."""
    return select(Application).where(
        Application.environment_id == environment_id, Application.kind == ApplicationKind.operational
    )


def add_application(environment_id: UUID, application_id: UUID) -> Insert:
    """Makes the hidden application unless there is one."""
    return (
        insert(Application)
        .values(
            environment_id=environment_id,
            id=application_id,
            kind=ApplicationKind.operational,
            name=NAME,
            metadata_={},
        )
        .on_conflict_do_nothing(index_elements=["environment_id"], index_where=text("kind = 'operational'"))
    )


def listeners(environment_ids: Collection[UUID], event_types: Collection[str]) -> Select[UUID, UUID, list[str] | None]:
    """(organisation, hidden application, event types) of each enabled endpoint that may want one of the events."""
    return (
        select(Endpoint.environment_id, Endpoint.application_id, Endpoint.event_types)
        .join(
            Application,
            and_(Application.environment_id == Endpoint.environment_id, Application.id == Endpoint.application_id),
        )
        .where(
            Application.environment_id.in_(environment_ids),
            Application.kind == ApplicationKind.operational,
            Endpoint.deleted_at.is_(None),
            Endpoint.disabled.is_(False),
            or_(Endpoint.event_types.is_(None), Endpoint.event_types.bool_op("&&")(sorted(event_types))),
        )
    )
