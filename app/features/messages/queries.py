"""Statements that read messages, and the one that takes a payload away."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Delete, Select, Update, delete, func, select, update
from sqlalchemy.orm import InstrumentedAttribute

from app.domain.ids import lowest
from app.models import Message, MessageEventId, Payload

# The id of an attempt is made by a worker and its moment by the database; their clocks differ by less than this.
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Filters:
    """What narrows a list; `before` and `after` are exclusive."""

    event_types: tuple[str, ...] = ()
    channel: str | None = None
    tag: str | None = None
    before: datetime | None = None
    after: datetime | None = None

    @property
    def need_message(self) -> bool:
        """Whether they look at what only the message itself has."""
        return self.channel is not None or self.tag is not None

    def of_message(self) -> list[ColumnElement[bool]]:
        """The conditions on a message."""
        return [
            *self._labels(),
            *self._types(Message.event_type),
            *self.window(Message.id, Message.created_at),
        ]

    def of_related(self, event_type: InstrumentedAttribute[str]) -> list[ColumnElement[bool]]:
        """The conditions on a row that knows its event type and is joined with its message when they need it."""
        return [*self._labels(), *self._types(event_type)]

    def window(
        self, ids: InstrumentedAttribute[UUID], moments: InstrumentedAttribute[datetime]
    ) -> list[ColumnElement[bool]]:
        """The conditions on time: by the id coarsely, which spares partitions, by the moment exactly."""
        found: list[ColumnElement[bool]] = []
        if self.before is not None:
            found += [ids < lowest(self.before + SKEW), moments < self.before]
        if self.after is not None:
            found += [ids >= lowest(self.after - SKEW), moments > self.after]
        return found

    def _labels(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if self.channel is not None:
            found.append(Message.channels.contains([self.channel]))
        if self.tag is not None:
            found.append(Message.tags.contains([self.tag]))
        return found

    def _types(self, column: InstrumentedAttribute[str]) -> list[ColumnElement[bool]]:
        return [column.in_(self.event_types)] if self.event_types else []


NO_FILTERS = Filters()


def readable() -> ColumnElement[bool]:
    """Whether the payload may still be shown, by the database's clock."""
    return Message.payload_expunged_at.is_(None) & (Message.payload_expires_at > func.now())


def messages(organisation_id: UUID, application_id: UUID, filters: Filters) -> Select[Message, bool]:
    """An application's messages, each with whether its payload is readable."""
    return select(Message, readable().label("readable")).where(
        Message.organisation_id == organisation_id,
        Message.application_id == application_id,
        *filters.of_message(),
    )


def message(organisation_id: UUID, application_id: UUID, message_id: UUID) -> Select[Message, bool]:
    """One message of an application."""
    return messages(organisation_id, application_id, NO_FILTERS).where(Message.id == message_id)


def message_by_event_id(organisation_id: UUID, application_id: UUID, event_id: str) -> Select[Message, bool]:
    """One message of an application by the id that its sender gave it."""
    named = select(MessageEventId.message_id).where(
        MessageEventId.organisation_id == organisation_id,
        MessageEventId.application_id == application_id,
        MessageEventId.event_id == event_id,
    )
    return messages(organisation_id, application_id, NO_FILTERS).where(Message.id == named.scalar_subquery())


def messages_by_id(organisation_id: UUID, ids: Collection[UUID]) -> Select[Message, bool]:
    """The messages of a page."""
    return select(Message, readable().label("readable")).where(
        Message.organisation_id == organisation_id, Message.id.in_(ids)
    )


def payloads(organisation_id: UUID, ids: Collection[UUID], days: Collection[date]) -> Select[UUID, bytes]:
    """The bytes of messages whose payloads expire on these days."""
    return select(Payload.message_id, Payload.body).where(
        Payload.organisation_id == organisation_id, Payload.message_id.in_(ids), Payload.expires_on.in_(days)
    )


def delete_payload(organisation_id: UUID, message_id: UUID) -> Delete:
    """Takes away the bytes, wherever they have moved on to."""
    return delete(Payload).where(Payload.organisation_id == organisation_id, Payload.message_id == message_id)


def mark_expunged(organisation_id: UUID, message_id: UUID) -> Update:
    """Notes that the payload was taken away."""
    return (
        update(Message)
        .where(
            Message.organisation_id == organisation_id,
            Message.id == message_id,
            Message.payload_expunged_at.is_(None),
        )
        .values(payload_expunged_at=func.now())
    )
