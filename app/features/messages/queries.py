"""Statements that read messages, and the one that takes a payload away."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Delete, Select, Update, delete, func, literal_column, select, update
from sqlalchemy.orm import InstrumentedAttribute, aliased
from sqlalchemy.orm.util import AliasedClass
from sqlalchemy.sql.selectable import LateralFromClause

from app.domain.ids import lowest
from app.kit.cuts import Cut
from app.models import Message, MessageEventId, Payload

# The id of an attempt is made by a worker and its moment by the database; their clocks differ by less than this.
SKEW = timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)
ALMOST_A_MILLISECOND = timedelta(microseconds=999)


@dataclass(frozen=True, slots=True)
class Filters:
    """What narrows a list; `before` and `after` are exclusive."""

    event_types: tuple[str, ...] = ()
    channel: str | None = None
    tag: str | None = None
    before: datetime | None = None
    after: datetime | None = None

    @property
    def has_labels(self) -> bool:
        """Whether they look at what only the message has."""
        return self.channel is not None or self.tag is not None

    @property
    def look_at_messages(self) -> bool:
        """Whether they look at more of a message than its id."""
        return self.has_labels or bool(self.event_types)

    def of_message(self, of: type[Message] = Message) -> list[ColumnElement[bool]]:
        """The conditions on a message."""
        return [*self.labels(of), *self.types(of.event_type), *self.window(of.id)]

    def labels(self, of: type[Message] = Message) -> list[ColumnElement[bool]]:
        """The conditions on what only the message has."""
        found: list[ColumnElement[bool]] = []
        if self.channel is not None:
            found.append(of.channels.contains([self.channel]))
        if self.tag is not None:
            found.append(of.tags.contains([self.tag]))
        return found

    def types(self, column: InstrumentedAttribute[str]) -> list[ColumnElement[bool]]:
        """The condition on a column with the event type."""
        return [column.in_(self.event_types)] if self.event_types else []

    def window(self, ids: InstrumentedAttribute[UUID]) -> list[ColumnElement[bool]]:
        """The conditions on the time of a message, which its id tells to the millisecond."""
        found: list[ColumnElement[bool]] = []
        if self.before is not None:
            found.append(ids < lowest(self.before + ALMOST_A_MILLISECOND))
        if self.after is not None:
            found.append(ids >= lowest(self.after + MILLISECOND))
        return found

    def skewed_window(
        self, ids: InstrumentedAttribute[UUID], moments: InstrumentedAttribute[datetime]
    ) -> list[ColumnElement[bool]]:
        """The conditions on rows whose id another clock made: by it coarsely, which spares partitions."""
        found: list[ColumnElement[bool]] = []
        if self.before is not None:
            found += [ids < lowest(self.before + SKEW), moments < self.before]
        if self.after is not None:
            found += [ids >= lowest(self.after - SKEW), moments > self.after]
        return found


NO_FILTERS = Filters()


def readable(of: type[Message] | AliasedClass[Message] = Message) -> ColumnElement[bool]:
    """Whether the payload may still be shown, by the database's clock."""
    hidden: ColumnElement[bool] = of.payload_expunged_at.is_not(None) | (of.payload_expires_at <= func.now())
    return ~hidden


def message_of(
    environment_id: UUID, message_id: ColumnElement[UUID] | InstrumentedAttribute[UUID], *where: ColumnElement[bool]
) -> LateralFromClause:
    """The message of another table's row, to be joined with it.

    The limit keeps PostgreSQL from reading all messages to hash them: each row looks into one partition.
    """
    mine = (Message.environment_id == environment_id, Message.id == message_id)
    return select(Message).where(*mine, *where).limit(1).lateral("message")


def messages(environment_id: UUID, application_id: UUID, filters: Filters, cut: Cut[UUID]) -> Select[Any]:
    """A part of an application's messages, each with whether its payload is readable, and its id."""
    rows = select(Message).where(
        Message.environment_id == environment_id,
        Message.application_id == application_id,
        *filters.types(Message.event_type),
        *filters.window(Message.id),
    )
    if not filters.has_labels:
        return cut.of(rows.add_columns(readable(), Message.id), Message.id)
    # What PostgreSQL cannot foresee how often a label occurs must not make it read and sort everything.
    in_order = replace(cut, most=None).of(rows, Message.id).offset(literal_column("0"))
    message = aliased(Message, in_order.subquery("message"))
    found = select(message, readable(message), message.id).where(*filters.labels(message))
    return replace(cut, at=None).of(found, message.id)


def message(environment_id: UUID, application_id: UUID, message_id: UUID) -> Select[Message, bool]:
    """One message of an application."""
    return _one(environment_id, application_id).where(Message.id == message_id)


def message_by_event_id(environment_id: UUID, application_id: UUID, event_id: str) -> Select[Message, bool]:
    """One message of an application by the id that its sender gave it."""
    named = select(MessageEventId.message_id).where(
        MessageEventId.environment_id == environment_id,
        MessageEventId.application_id == application_id,
        MessageEventId.event_id == event_id,
    )
    return _one(environment_id, application_id).where(Message.id == named.scalar_subquery())


def _one(environment_id: UUID, application_id: UUID) -> Select[Message, bool]:
    return select(Message, readable()).where(
        Message.environment_id == environment_id, Message.application_id == application_id
    )


def messages_by_id(environment_id: UUID, ids: Collection[UUID]) -> Select[Message, bool]:
    """The messages of a page."""
    return select(Message, readable()).where(Message.environment_id == environment_id, Message.id.in_(ids))


def payloads(environment_id: UUID, ids: Collection[UUID], days: Collection[date]) -> Select[UUID, bytes]:
    """The bytes of messages whose payloads expire on these days."""
    return select(Payload.message_id, Payload.body).where(
        Payload.environment_id == environment_id, Payload.message_id.in_(ids), Payload.expires_on.in_(days)
    )


def delete_payload(environment_id: UUID, message_id: UUID) -> Delete:
    """Takes away the bytes, wherever they have moved on to."""
    return delete(Payload).where(Payload.environment_id == environment_id, Payload.message_id == message_id)


def mark_expunged(environment_id: UUID, message_id: UUID) -> Update:
    """Notes that the payload was taken away."""
    return (
        update(Message)
        .where(
            Message.environment_id == environment_id,
            Message.id == message_id,
            Message.payload_expunged_at.is_(None),
        )
        .values(payload_expunged_at=func.now())
    )
