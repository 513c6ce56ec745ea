"""Statements about what is owed, what has ended and what was tried."""

from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Text,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
)

from app.kit.sql import clock, uuid7
from app.models import ActionKind, Delivery, DeliveryAction, DueDelivery, Endpoint, Status, Trigger


def cancel(
    organisation_id: UUID,
    *,
    application_id: UUID | None,
    endpoint_id: UUID | None,
    message_id: UUID | None,
    reason: str,
) -> Select[int]:
    """Ends every open delivery in scope as canceled, those being sent too; says how many."""
    scope = [DueDelivery.organisation_id == organisation_id]
    if application_id is not None:
        scope.append(DueDelivery.endpoint_id.in_(_endpoints_of(organisation_id, application_id)))
    if endpoint_id is not None:
        scope.append(DueDelivery.endpoint_id == endpoint_id)
    if message_id is not None:
        scope.append(DueDelivery.message_id == message_id)
    gone = delete(DueDelivery).where(*scope).returning(*DueDelivery.__table__.c).cte("gone")
    return select(func.count()).select_from(gone).add_cte(_ended(gone), _acts(gone, ActionKind.cancel, reason))


def _endpoints_of(organisation_id: UUID, application_id: UUID) -> Select[UUID]:
    return select(Endpoint.id).where(
        Endpoint.organisation_id == organisation_id, Endpoint.application_id == application_id
    )


def _ended(gone: CTE) -> CTE:
    row = gone.c
    values = select(
        row.organisation_id,
        row.endpoint_id,
        row.message_id,
        row.application_id,
        literal(Status.canceled, Delivery.status.type),
        row.failures,
        clock(),
    ).where(row.trigger == Trigger.scheduled)
    names = ["organisation_id", "endpoint_id", "message_id", "application_id", "status", "attempts", "finished_at"]
    return insert(Delivery).from_select(names, values).returning(Delivery.message_id).cte("ended")


def _acts(pairs: CTE, kind: ActionKind, reason: str) -> CTE:
    """One action for each pair, timed after the rows were taken, so that it sorts behind every attempt of theirs."""
    row = pairs.c
    distinct = (
        select(row.organisation_id, row.endpoint_id, row.message_id)
        .group_by(row.organisation_id, row.endpoint_id, row.message_id)
        .subquery("pairs")
    )
    values = select(
        distinct.c.organisation_id,
        uuid7(),
        distinct.c.endpoint_id,
        distinct.c.message_id,
        _text(kind),
        _text(reason),
        clock(),
    )
    names = ["organisation_id", "id", "endpoint_id", "message_id", "kind", "reason", "created_at"]
    return insert(DeliveryAction).from_select(names, values).returning(DeliveryAction.id).cte("acts")


def _text(value: str) -> ColumnElement[str]:
    return cast(literal(value), Text)
