"""Messages: the events as they were accepted, and what makes accepting them safe to repeat."""

from datetime import date
from uuid import UUID

from sqlalchemy import Index, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Bytes, Created, Ids, JsonList, Moment, PartTenant, String


class Message(Base):
    """An accepted event, without its payload; `fan_out` is the endpoints that it was owed to.

    Partitioned by day of its id.
    """

    __tablename__ = "messages"
    __table_args__ = (
        Index("ix_messages_application", "environment_id", "application_id", "id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    environment_id: Mapped[PartTenant]
    id: Mapped[UUID] = mapped_column(primary_key=True)
    application_id: Mapped[UUID]
    event_type: Mapped[String]
    event_id: Mapped[String | None]
    channels: Mapped[JsonList | None]
    tags: Mapped[JsonList | None]
    deliver_at: Mapped[Moment | None]
    created_at: Mapped[Moment]
    payload_expires_at: Mapped[Moment]
    payload_expunged_at: Mapped[Moment | None]
    fan_out: Mapped[Ids]


class Payload(Base):
    """The exact bytes that are signed and sent. Partitioned by the day on which they expire.

    `traceparent` is the span that brought them (trace id, span id and flags, 25 bytes), `request_id` the request.
    """

    __tablename__ = "payloads"
    __table_args__ = ({"postgresql_partition_by": "RANGE (expires_on)"},)

    environment_id: Mapped[PartTenant]
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    expires_on: Mapped[date] = mapped_column(primary_key=True)
    content_type: Mapped[String]
    body: Mapped[Bytes]
    traceparent: Mapped[Bytes | None]
    request_id: Mapped[String | None]


class MessageEventId(Base):
    """The organisation's own id of a message, once in an application."""

    __tablename__ = "message_event_ids"
    __table_args__ = (
        Index("ix_message_event_ids_created", "created_at", postgresql_using="brin"),
        {"postgresql_partition_by": "HASH (application_id)"},
    )

    environment_id: Mapped[PartTenant]
    application_id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(Text, primary_key=True)
    message_id: Mapped[UUID]
    created_at: Mapped[Created]


class IdempotencyKey(Base):
    """A request that was carried out: the digest of caller, method, path and key, and what was answered."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        Index("ix_idempotency_keys_created", "created_at"),
        {"postgresql_partition_by": "HASH (key)"},
    )

    environment_id: Mapped[PartTenant]
    key: Mapped[bytes] = mapped_column(primary_key=True)
    body_digest: Mapped[Bytes]
    status: Mapped[int] = mapped_column(SmallInteger)
    response: Mapped[Bytes]
    created_at: Mapped[Created]
