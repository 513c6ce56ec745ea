"""Statements about what is owed, what has ended and what was tried."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    Insert,
    Select,
    SmallInteger,
    Subquery,
    Text,
    Update,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from app.domain.ids import lowest, timestamp
from app.features.messages.queries import SKEW, Filters, readable
from app.kit.sql import clock, uuid7
from app.models import (
    ActionKind,
    Attempt,
    Delivery,
    DeliveryAction,
    DueDelivery,
    DueState,
    Endpoint,
    Lane,
    Message,
    Status,
    Trigger,
)

EXPUNGED = b"EXPUNGED"
CODES_IN_A_CLASS = 100


@dataclass(frozen=True, slots=True)
class AttemptFilters:
    """What narrows a list of attempts; `code_class` is 0 for attempts without an answer, else 100 to 500."""

    messages: Filters
    statuses: tuple[Status, ...] | None = None
    code_class: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions on an attempt, joined with its message where `messages.need_message`."""
        found = [
            *self.messages.of_related(Attempt.event_type),
            *self.messages.window(Attempt.id, Attempt.started_at),
        ]
        if self.statuses is not None:
            found.append(Attempt.status.in_(self.statuses))
        if self.code_class is not None:
            found.append(in_class(self.code_class))
        return found


def in_class(code_class: int) -> ColumnElement[bool]:
    """Whether an attempt's answer bears a code of the class."""
    return Attempt.response_status.between(code_class, code_class + CODES_IN_A_CLASS - 1)


def attempts_of_endpoint(organisation_id: UUID, endpoint_id: UUID, filters: AttemptFilters) -> Select[Attempt]:
    """What was tried at an endpoint."""
    return _attempts(organisation_id, filters).where(Attempt.endpoint_id == endpoint_id)


def attempts_of_message(
    organisation_id: UUID, message_id: UUID, filters: AttemptFilters, endpoint_id: UUID | None = None
) -> Select[Attempt]:
    """What was tried for a message, at one endpoint or at all."""
    found = _attempts(organisation_id, filters).where(Attempt.message_id == message_id, _since(message_id))
    return found if endpoint_id is None else found.where(Attempt.endpoint_id == endpoint_id)


def _attempts(organisation_id: UUID, filters: AttemptFilters) -> Select[Attempt]:
    found = select(Attempt).where(Attempt.organisation_id == organisation_id, *filters.conditions())
    if filters.messages.need_message:
        mine = and_(Message.organisation_id == organisation_id, Message.id == Attempt.message_id)
        found = found.join(Message, mine)
    return found


def _since(message_id: UUID) -> ColumnElement[bool]:
    """No attempt is older than its message; spares the partitions before it."""
    return Attempt.id >= lowest(timestamp(message_id) - SKEW)


def attempt(organisation_id: UUID, message_id: UUID, attempt_id: UUID) -> Select[Attempt]:
    """One attempt for a message."""
    return select(Attempt).where(
        Attempt.organisation_id == organisation_id, Attempt.id == attempt_id, Attempt.message_id == message_id
    )


def expunge_response(organisation_id: UUID, message_id: UUID, attempt_id: UUID) -> Update:
    """Overwrites what an endpoint answered; returns the attempt's id."""
    return (
        update(Attempt)
        .where(Attempt.organisation_id == organisation_id, Attempt.id == attempt_id, Attempt.message_id == message_id)
        .values(response=EXPUNGED, response_expunged=True)
        .returning(Attempt.id)
    )


def _pairs(due: Sequence[ColumnElement[bool]], ended: Sequence[ColumnElement[bool]]) -> Subquery:
    """Pairs of a message and an endpoint with their status and when they are tried next, open ones and finished."""
    moment = DateTime(timezone=True)
    sending = and_(DueDelivery.state == DueState.sending, DueDelivery.due_at > func.now())
    open_ = select(
        DueDelivery.endpoint_id,
        DueDelivery.message_id,
        case((sending, Status.sending), else_=Status.pending).cast(SmallInteger).label("status"),
        case((sending, null()), else_=DueDelivery.due_at).cast(moment).label("next_at"),
    ).where(DueDelivery.trigger == Trigger.scheduled, *due)
    finished = select(
        Delivery.endpoint_id, Delivery.message_id, Delivery.status, cast(null(), moment).label("next_at")
    ).where(*ended)
    return union_all(open_, finished).subquery("pairs")


def messages_of_endpoint(
    organisation_id: UUID, endpoint_id: UUID, filters: Filters, statuses: Sequence[Status] | None
) -> tuple[Select[Any], ColumnElement[UUID]]:
    """The messages owed to an endpoint with how each stands; and the column that orders them."""
    due = [DueDelivery.organisation_id == organisation_id, DueDelivery.endpoint_id == endpoint_id]
    ended = [Delivery.organisation_id == organisation_id, Delivery.endpoint_id == endpoint_id]
    pairs = _pairs(due, ended)
    found = (
        select(Message, readable().label("readable"), pairs.c.status, pairs.c.next_at)
        .select_from(pairs)
        .join(Message, and_(Message.organisation_id == organisation_id, Message.id == pairs.c.message_id))
        .where(*filters.of_message())
    )
    if statuses is not None:
        found = found.where(pairs.c.status.in_(statuses))
    return found.where(*_bounds(filters, pairs.c.message_id)), pairs.c.message_id


def _bounds(filters: Filters, ids: ColumnElement[UUID]) -> list[ColumnElement[bool]]:
    """The window on the pairs themselves: PostgreSQL carries over equalities only."""
    found: list[ColumnElement[bool]] = []
    if filters.before is not None:
        found.append(ids < lowest(filters.before + SKEW))
    if filters.after is not None:
        found.append(ids >= lowest(filters.after - SKEW))
    return found


def endpoints_of_message(organisation_id: UUID, message_id: UUID) -> Select[Any]:
    """The endpoints that a message is or was owed to with how it stands with each."""
    due = [DueDelivery.organisation_id == organisation_id, DueDelivery.message_id == message_id]
    ended = [Delivery.organisation_id == organisation_id, Delivery.message_id == message_id]
    pairs = _pairs(due, ended)
    return (
        select(Endpoint, pairs.c.status, pairs.c.next_at)
        .join(pairs, Endpoint.id == pairs.c.endpoint_id)
        .where(Endpoint.organisation_id == organisation_id)
    )


def is_owed(organisation_id: UUID, endpoint_id: UUID, message_id: UUID) -> Select[bool]:
    """Whether a message is or was owed to an endpoint."""
    due = select(DueDelivery.message_id).where(
        DueDelivery.organisation_id == organisation_id,
        DueDelivery.endpoint_id == endpoint_id,
        DueDelivery.message_id == message_id,
        DueDelivery.trigger == Trigger.scheduled,
    )
    ended = select(Delivery.message_id).where(
        Delivery.organisation_id == organisation_id,
        Delivery.endpoint_id == endpoint_id,
        Delivery.message_id == message_id,
    )
    return select(due.exists() | ended.exists())


def insert_resend(message: Message, endpoint_id: UUID) -> Insert:
    """Owes one try more, at once; nothing when one is owed already."""
    return (
        upsert(DueDelivery)
        .values(
            organisation_id=message.organisation_id,
            endpoint_id=endpoint_id,
            message_id=message.id,
            trigger=Trigger.manual,
            application_id=message.application_id,
            lane=Lane.first,
            state=DueState.ready,
            due_at=func.now(),
            attempt=0,
            failures=0,
            expires_on=message.payload_expires_at.astimezone(UTC).date(),
            event_type=message.event_type,
        )
        .on_conflict_do_nothing()
    )


def insert_action(organisation_id: UUID, endpoint_id: UUID, message_id: UUID, kind: ActionKind, reason: str) -> Insert:
    """Notes an operator's act."""
    return insert(DeliveryAction).values(
        organisation_id=organisation_id,
        id=uuid7(),
        endpoint_id=endpoint_id,
        message_id=message_id,
        kind=kind,
        reason=reason,
        created_at=clock(),
    )


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
