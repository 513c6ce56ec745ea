"""Statements about what is owed, what has ended and what was tried."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Select,
    SmallInteger,
    Subquery,
    Text,
    Update,
    Uuid,
    and_,
    case,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.orm.util import AliasedClass
from sqlalchemy.sql.selectable import LateralFromClause

from app.domain.ids import lowest, timestamp
from app.features.messages.queries import NO_FILTERS, SKEW, Filters, message_of, readable
from app.kit.cuts import Cut
from app.kit.sql import clock, uuid7
from app.models import (
    ActionKind,
    Attempt,
    Delivery,
    DeliveryAction,
    DueDelivery,
    DueState,
    Endpoint,
    EventType,
    Lane,
    Message,
    Status,
    Trigger,
)

MOMENT = DateTime(timezone=True)
EXPUNGED = b"EXPUNGED"
CODES_IN_A_CLASS = 100


@dataclass(frozen=True, slots=True)
class AttemptFilters:
    """What narrows a list of attempts; `code_class` is 0 for attempts without an answer, else 100 to 500."""

    messages: Filters
    statuses: tuple[Status, ...] | None = None
    code_class: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions on an attempt alone."""
        found = [
            *self.messages.types(Attempt.event_type),
            *self.messages.skewed_window(Attempt.id, Attempt.started_at),
        ]
        if self.statuses is not None:
            found.append(Attempt.status.in_(self.statuses))
        if self.code_class is not None:
            found.append(in_class(self.code_class))
        return found


def in_class(code_class: int) -> ColumnElement[bool]:
    """Whether an attempt's answer bears a code of the class."""
    return Attempt.response_status.between(code_class, code_class + CODES_IN_A_CLASS - 1)


def attempts_of_endpoint(environment_id: UUID, endpoint_id: UUID, filters: AttemptFilters) -> Select[Attempt]:
    """What was tried at an endpoint."""
    return _attempts(environment_id, filters).where(Attempt.endpoint_id == endpoint_id)


def attempts_of_message(
    environment_id: UUID, message_id: UUID, filters: AttemptFilters, endpoint_id: UUID | None = None
) -> Select[Attempt]:
    """What was tried for a message, at one endpoint or at all."""
    found = _attempts(environment_id, filters).where(Attempt.message_id == message_id, _since(message_id))
    return found if endpoint_id is None else found.where(Attempt.endpoint_id == endpoint_id)


def _attempts(environment_id: UUID, filters: AttemptFilters) -> Select[Attempt]:
    found = select(Attempt).where(Attempt.environment_id == environment_id, *filters.conditions())
    if not filters.messages.has_labels:
        return found
    return found.join(message_of(environment_id, Attempt.message_id, *filters.messages.labels()), true())


def _since(message_id: UUID) -> ColumnElement[bool]:
    """No attempt is older than its message; spares the partitions before it."""
    return Attempt.id >= lowest(timestamp(message_id) - SKEW)


def attempt(environment_id: UUID, message_id: UUID, attempt_id: UUID) -> Select[Attempt]:
    """One attempt for a message."""
    return select(Attempt).where(
        Attempt.environment_id == environment_id, Attempt.id == attempt_id, Attempt.message_id == message_id
    )


def expunge_response(environment_id: UUID, message_id: UUID, attempt_id: UUID) -> Update:
    """Overwrites what an endpoint answered; returns the attempt's id."""
    return (
        update(Attempt)
        .where(Attempt.environment_id == environment_id, Attempt.id == attempt_id, Attempt.message_id == message_id)
        .values(response=EXPUNGED, response_expunged=True)
        .returning(Attempt.id)
    )


def messages_of_endpoint(
    environment_id: UUID, endpoint_id: UUID, filters: Filters, statuses: Collection[Status] | None, cut: Cut[UUID]
) -> Select[Any]:
    """A part of the messages owed to an endpoint: how each stands, when it is tried next, and its id.

    Each branch orders and limits itself, so that both are read by their indexes and no further than needed.
    """
    due = _open().where(
        DueDelivery.environment_id == environment_id,
        DueDelivery.endpoint_id == endpoint_id,
        *filters.window(DueDelivery.message_id),
    )
    ended = _ended_pairs().where(
        Delivery.environment_id == environment_id,
        Delivery.endpoint_id == endpoint_id,
        *filters.window(Delivery.message_id),
    )
    if statuses is not None:
        due, ended = due.where(_is_open(statuses)), ended.where(_is_any(Delivery.status, statuses))
    if filters.look_at_messages:
        due, ended = (
            one.join(message_of(environment_id, key, *filters.of_message()), true())
            for one, key in ((due, DueDelivery.message_id), (ended, Delivery.message_id))
        )
    parts = [cut.of(due, DueDelivery.message_id).subquery(), cut.of(ended, Delivery.message_id).subquery()]
    pairs = union_all(*(select(one) for one in parts)).subquery("pairs").c
    return cut.of(select(pairs.status, pairs.next_at, pairs.message_id), pairs.message_id)


def _open() -> Select[UUID, UUID, int, datetime]:
    sending = _is_sending()
    return select(
        DueDelivery.endpoint_id,
        DueDelivery.message_id,
        case((sending, _small(Status.sending)), else_=_small(Status.pending)).label("status"),
        case((sending, null()), else_=DueDelivery.due_at).cast(MOMENT).label("next_at"),
    ).where(DueDelivery.trigger == Trigger.scheduled)


def _is_sending() -> ColumnElement[bool]:
    return and_(DueDelivery.state == DueState.sending, DueDelivery.due_at > func.now())


def _is_open(statuses: Collection[Status]) -> ColumnElement[bool]:
    found = [~_is_sending()] if Status.pending in statuses else []
    return or_(false(), *found, *([_is_sending()] if Status.sending in statuses else []))


def _is_any(column: InstrumentedAttribute[int], statuses: Collection[Status]) -> ColumnElement[bool]:
    # One by one, so that PostgreSQL sees when the index of what did not succeed serves.
    return or_(false(), *(column == int(one) for one in statuses))


def _ended_pairs() -> Select[UUID, UUID, int, datetime]:
    return select(Delivery.endpoint_id, Delivery.message_id, Delivery.status, cast(null(), MOMENT).label("next_at"))


def endpoints_of_message(environment_id: UUID, message_id: UUID) -> Select[Any]:
    """The endpoints that a message is or was owed to with how it stands with each."""
    due = _open().where(DueDelivery.environment_id == environment_id, DueDelivery.message_id == message_id)
    ended = _ended_pairs().where(Delivery.environment_id == environment_id, Delivery.message_id == message_id)
    pairs = union_all(due, ended).subquery("pairs")
    return (
        select(Endpoint, pairs.c.status, pairs.c.next_at)
        .join(pairs, Endpoint.id == pairs.c.endpoint_id)
        .where(Endpoint.environment_id == environment_id)
    )


def is_owed(environment_id: UUID, endpoint_id: UUID, message_id: UUID) -> Select[bool]:
    """Whether a message is or was owed to an endpoint."""
    return select(is_owed_at_all(environment_id, endpoint_id, literal(message_id, Uuid())))


def is_owed_at_all(
    environment_id: UUID, endpoint_id: UUID, message_id: ColumnElement[UUID] | InstrumentedAttribute[UUID]
) -> ColumnElement[bool]:
    """Whether the pair is known, open or finished."""
    due = select(DueDelivery.message_id).where(
        DueDelivery.environment_id == environment_id,
        DueDelivery.endpoint_id == endpoint_id,
        DueDelivery.message_id == message_id,
        DueDelivery.trigger == Trigger.scheduled,
    )
    ended = select(Delivery.message_id).where(
        Delivery.environment_id == environment_id,
        Delivery.endpoint_id == endpoint_id,
        Delivery.message_id == message_id,
    )
    return due.exists() | ended.exists()


def history(environment_id: UUID, message_id: UUID | None = None) -> Select[*tuple[Any, ...]]:
    """All that is append-only about the organisation's deliveries, or one message's, in order: see derive.Fact."""
    owed = select(
        Message.id.label("message_id"),
        func.unnest(Message.fan_out).label("endpoint_id"),
        cast(Message.created_at, MOMENT).label("at"),
        _text("owed").label("kind"),
        cast(null(), SmallInteger).label("trigger"),
        cast(null(), SmallInteger).label("status"),
        cast(null(), Boolean).label("is_last"),
    ).where(Message.environment_id == environment_id)
    ended = Attempt.started_at + Attempt.duration_ms * literal_column("interval '1 millisecond'")
    tried = select(
        Attempt.message_id,
        Attempt.endpoint_id,
        ended,
        _text("attempt"),
        Attempt.trigger,
        Attempt.status,
        Attempt.next_at.is_(None),
    ).where(Attempt.environment_id == environment_id)
    acts = select(
        DeliveryAction.message_id,
        DeliveryAction.endpoint_id,
        DeliveryAction.created_at,
        DeliveryAction.kind,
        null(),
        null(),
        null(),
    ).where(DeliveryAction.environment_id == environment_id)
    if message_id is not None:
        owed = owed.where(Message.id == message_id)
        tried = tried.where(Attempt.message_id == message_id, _since(message_id))
        acts = acts.where(DeliveryAction.message_id == message_id)
    facts = union_all(owed, tried, acts).subquery("facts")
    return select(facts).order_by(facts.c.message_id, facts.c.endpoint_id, facts.c.kind != _text("owed"), facts.c.at)


def resend(message: Message, endpoint_id: UUID, reason: str) -> Select[int]:
    """Owes one try more, at once; 0 when one is owed already."""
    debt = (
        upsert(DueDelivery)
        .values(
            environment_id=message.environment_id,
            endpoint_id=endpoint_id,
            message_id=message.id,
            trigger=Trigger.manual,
            application_id=message.application_id,
            lane=Lane.first,
            state=DueState.ready,
            due_at=clock(),
            attempt=0,
            failures=0,
            expires_on=message.payload_expires_at.astimezone(UTC).date(),
            event_type=message.event_type,
        )
        .on_conflict_do_nothing()
    )
    row = DueDelivery
    owed = debt.returning(row.environment_id, row.endpoint_id, row.message_id, row.due_at.label("at")).cte("owed")
    return select(func.count()).select_from(owed).add_cte(_acts(owed, ActionKind.resend, reason))


def cancel(
    environment_id: UUID,
    *,
    application_id: UUID | None,
    endpoint_id: UUID | None,
    message_id: UUID | None,
    reason: str,
) -> Select[int]:
    """Ends every open delivery in scope as canceled, those being sent too; says how many."""
    scope = [DueDelivery.environment_id == environment_id]
    if application_id is not None:
        scope.append(DueDelivery.endpoint_id.in_(_endpoints_of(environment_id, application_id)))
    if endpoint_id is not None:
        scope.append(DueDelivery.endpoint_id == endpoint_id)
    if message_id is not None:
        scope.append(DueDelivery.message_id == message_id)
    gone = delete(DueDelivery).where(*scope).returning(*DueDelivery.__table__.c, _taken()).cte("gone")
    return select(func.count()).select_from(gone).add_cte(_ended(gone), _acts(gone, ActionKind.cancel, reason))


def _endpoints_of(environment_id: UUID, application_id: UUID) -> Select[UUID]:
    return select(Endpoint.id).where(
        Endpoint.environment_id == environment_id, Endpoint.application_id == application_id
    )


def _ended(gone: CTE) -> CTE:
    row = gone.c
    values = select(
        row.environment_id,
        row.endpoint_id,
        row.message_id,
        row.application_id,
        _small(Status.canceled),
        row.failures,
        row.at,
    ).where(row.trigger == Trigger.scheduled)
    names = ["environment_id", "endpoint_id", "message_id", "application_id", "status", "attempts", "finished_at"]
    ended = upsert(Delivery).from_select(names, values).on_conflict_do_nothing()
    return ended.returning(Delivery.message_id).cte("ended")


def _acts(pairs: CTE, kind: ActionKind, reason: str) -> CTE:
    """One action for each pair, at the moment that the pair has."""
    row = pairs.c
    distinct = (
        select(row.environment_id, row.endpoint_id, row.message_id, func.min(row.at).label("at"))
        .group_by(row.environment_id, row.endpoint_id, row.message_id)
        .subquery("pairs")
    )
    values = select(
        distinct.c.environment_id,
        uuid7(),
        distinct.c.endpoint_id,
        distinct.c.message_id,
        _text(kind),
        _text(reason),
        distinct.c.at,
    )
    names = ["environment_id", "id", "endpoint_id", "message_id", "kind", "reason", "created_at"]
    return insert(DeliveryAction).from_select(names, values).returning(DeliveryAction.id).cte("acts")


def _taken() -> ColumnElement[datetime]:
    """When a row was taken. What an act owes is due from that moment, so that no later attempt begins before it."""
    return cast(clock(), MOMENT).label("at")


def _small(value: int) -> ColumnElement[int]:
    return cast(int(value), SmallInteger)


def _text(value: str) -> ColumnElement[str]:
    return cast(literal(value), Text)


@dataclass(frozen=True, slots=True)
class Scope:
    """Finished deliveries of an endpoint to be owed anew: by how they ended, their messages and their answers.

    `after` and `below` bound the messages' ids, both exclusive.
    """

    environment_id: UUID
    endpoint_id: UUID
    after: UUID
    below: UUID
    statuses: tuple[Status, ...]
    messages: Filters = NO_FILTERS
    code_class: int | None = None


def replay(scope: Scope, most: int, reason: str) -> Select[int, int, UUID | None]:
    """Owes the oldest `most` in scope anew, in the replay lane; how many were looked at, were owed, and the last id."""
    found = _finished(scope).order_by(Delivery.message_id).limit(most).cte("found")
    gone = (
        delete(Delivery)
        .where(*_ended_in(scope), Delivery.message_id == found.c.message_id)
        .returning(Delivery.environment_id, Delivery.endpoint_id, Delivery.message_id, _taken())
        .cte("gone")
    )
    again = select(found, gone.c.at).join(gone, gone.c.message_id == found.c.message_id)
    looked = select(func.count(), func.max(cast(found.c.message_id, Text))).select_from(found).subquery()
    owed = select(func.count()).select_from(gone).scalar_subquery()
    return select(looked.c[0], owed, cast(looked.c[1], Uuid)).add_cte(
        _owe_again(again.subquery("again")), _acts(gone, ActionKind.replay, reason)
    )


def _ended_in(scope: Scope) -> list[ColumnElement[bool]]:
    return [
        Delivery.environment_id == scope.environment_id,
        Delivery.endpoint_id == scope.endpoint_id,
        Delivery.message_id > scope.after,
        Delivery.message_id < scope.below,
        Delivery.status.in_(scope.statuses),
    ]


def _finished(scope: Scope) -> Select[*tuple[Any, ...]]:
    row = message_of(scope.environment_id, Delivery.message_id, readable(), *scope.messages.of_message())
    message = aliased(Message, row)
    found = select(*_debt(scope.endpoint_id, message)).select_from(Delivery).join(row, true()).where(*_ended_in(scope))
    return found if scope.code_class is None else found.join(_answer(scope, scope.code_class), true())


def _answer(scope: Scope, code_class: int) -> LateralFromClause:
    """An attempt for the delivery's message that had an answer of the class."""
    mine = (
        Attempt.environment_id == scope.environment_id,
        Attempt.message_id == Delivery.message_id,
        Attempt.endpoint_id == scope.endpoint_id,
        _since(scope.after),
    )
    return select(Attempt.id).where(*mine, in_class(code_class)).limit(1).lateral("answer")


def _debt(endpoint_id: UUID, message: type[Message] | AliasedClass[Message] = Message) -> list[ColumnElement[Any]]:
    """The columns of a due row that the message gives."""
    return [
        message.environment_id.label("environment_id"),
        cast(literal(endpoint_id), Uuid).label("endpoint_id"),
        message.id.label("message_id"),
        message.application_id.label("application_id"),
        cast(func.timezone("UTC", message.payload_expires_at), Date).label("expires_on"),
        message.event_type.label("event_type"),
    ]


def _owe_again(debts: Subquery) -> CTE:
    fixed = {
        "trigger": Trigger.scheduled,
        "lane": Lane.replay,
        "state": DueState.ready,
        "attempt": 0,
        "failures": 0,
    }
    values = select(debts, *(_small(value) for value in fixed.values()))
    names = ["due_at" if one.key == "at" else one.key for one in debts.c]
    owed = upsert(DueDelivery).from_select([*names, *fixed], values).on_conflict_do_nothing()
    row = DueDelivery
    return owed.returning(row.environment_id, row.endpoint_id, row.message_id, row.due_at.label("at")).cte("owed")


def candidates(
    environment_id: UUID, application_id: UUID, endpoint_id: UUID, after: UUID, below: UUID
) -> Select[UUID, str, list[str] | None, bool]:
    """Messages with id, event type and channels, and whether the endpoint is known not to be owed them."""
    missing = readable() & (func.array_position(Message.fan_out, endpoint_id).is_(None))
    return (
        select(Message.id, Message.event_type, Message.channels, missing)
        .where(
            Message.environment_id == environment_id,
            Message.application_id == application_id,
            Message.id > after,
            Message.id < below,
        )
        .order_by(Message.id)
    )


def flags_of(environment_id: UUID, names: Collection[str]) -> Select[str, list[str] | None]:
    """The feature flags of event types."""
    return select(EventType.name, EventType.feature_flags).where(
        EventType.environment_id == environment_id, EventType.name.in_(names)
    )


def owe_missing(environment_id: UUID, endpoint_id: UUID, ids: Collection[UUID], reason: str) -> Select[int]:
    """Owes messages to an endpoint that was never owed them, in the replay lane; says how many."""
    known = is_owed_at_all(environment_id, endpoint_id, Message.id)
    debts = select(*_debt(endpoint_id), _taken()).where(
        Message.environment_id == environment_id, Message.id.in_(ids), readable(), ~known
    )
    owed = _owe_again(debts.subquery("missing"))
    return select(func.count()).select_from(owed).add_cte(_acts(owed, ActionKind.replay, reason))


def open_endpoint(environment_id: UUID, endpoint_id: UUID) -> Select[Endpoint]:
    """An endpoint that is neither deleted nor disabled; nobody can disable it until the transaction ends."""
    return (
        select(Endpoint)
        .where(
            Endpoint.environment_id == environment_id,
            Endpoint.id == endpoint_id,
            Endpoint.deleted_at.is_(None),
            Endpoint.disabled.is_(False),
        )
        .with_for_update(read=True)
    )
