"""Statements for pages."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, Select, Uuid, cast, column, func, select, true
from sqlalchemy.orm import aliased

from app.models import Application, Attempt, Endpoint, EventType

ENDPOINTS_SHOWN = 100
ATTEMPTS_SHOWN = 50


def application(environment_id: UUID, application_id: UUID) -> Select[Application]:
    """An application that is not deleted."""
    return select(Application).where(
        Application.environment_id == environment_id,
        Application.id == application_id,
        Application.deleted_at.is_(None),
    )


def endpoints(environment_id: UUID, application_id: UUID) -> Select[Endpoint]:
    """The newest endpoints of an application."""
    return (
        select(Endpoint)
        .where(
            Endpoint.environment_id == environment_id,
            Endpoint.application_id == application_id,
            Endpoint.deleted_at.is_(None),
        )
        .order_by(Endpoint.id.desc())
        .limit(ENDPOINTS_SHOWN)
    )


def last_attempts(
    environment_id: UUID, endpoint_ids: Collection[UUID], flags: Collection[str] | None
) -> Select[Attempt]:
    """The last attempts at these endpoints, of event types that a holder of `flags` may know; None may know all.

    Each endpoint's are read from its own end of the index.
    """
    wanted = (
        func.unnest(cast(list(endpoint_ids), ARRAY(Uuid)))
        .table_valued(column("id", Uuid), name="wanted")
        .render_derived()
    )
    latest = select(Attempt).where(Attempt.environment_id == environment_id, Attempt.endpoint_id == wanted.c.id)
    if flags is not None:
        latest = latest.where(Attempt.event_type.not_in(_hidden(environment_id, flags)))
    each = latest.order_by(Attempt.id.desc()).limit(ATTEMPTS_SHOWN).lateral("each")
    attempt = aliased(Attempt, each)
    return select(attempt).select_from(wanted.join(each, true())).order_by(attempt.id.desc()).limit(ATTEMPTS_SHOWN)


def _hidden(environment_id: UUID, flags: Collection[str]) -> Select[str]:
    return select(EventType.name).where(
        EventType.environment_id == environment_id,
        func.cardinality(EventType.feature_flags) > 0,
        ~EventType.feature_flags.bool_op("&&")(list(flags)),
    )
