"""The audit log: events, the chain over them and its seals. Rows are inserted and never changed."""

from typing import Self
from uuid import UUID

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.audit import Event
from app.kit.clock import new_id
from app.kit.db import Base
from app.models.columns import Bytes, Created, Id, Json, Moment, PartTenant, String


class AuditEvent(Base):
    """An event. No foreign key: it outlives what it tells of, and some are of no organisation."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_action", "organisation_id", "action", "id"),
        Index("ix_audit_events_actor", "organisation_id", "actor_id", "id"),
        Index("ix_audit_events_target", "organisation_id", "target_id", "id"),
    )

    organisation_id: Mapped[PartTenant]
    id: Mapped[Id]
    occurred_at: Mapped[Created]
    action: Mapped[String]
    outcome: Mapped[String]
    actor_kind: Mapped[String]
    actor_id: Mapped[String]
    actor_label: Mapped[String]
    target_kind: Mapped[String]
    target_id: Mapped[String]
    target_label: Mapped[String]
    ip: Mapped[String | None]
    user_agent: Mapped[String]
    request_id: Mapped[String]
    count: Mapped[int]
    details: Mapped[Json]

    @classmethod
    def of(cls, event: Event) -> Self:
        """The row of an event; its moment is the transaction's, by the database's clock."""
        return cls(
            organisation_id=event.organisation_id,
            id=new_id(),
            action=event.action,
            outcome=event.outcome,
            actor_kind=event.actor.kind,
            actor_id=event.actor.id,
            actor_label=event.actor.label,
            target_kind=event.target.kind,
            target_id=event.target.id,
            target_label=event.target.label,
            ip=event.where.ip,
            user_agent=event.where.user_agent,
            request_id=event.where.request_id,
            count=event.count,
            details=dict(event.details),
        )


class AuditUnsealed(Base):
    """An event that is not in the chain yet; a trigger makes the row with the event."""

    __tablename__ = "audit_unsealed"

    organisation_id: Mapped[PartTenant]
    event_id: Mapped[UUID] = mapped_column(primary_key=True)


class AuditChain(Base):
    """An event's place in the chain, and the hash up to it."""

    __tablename__ = "audit_chain"
    __table_args__ = (UniqueConstraint("organisation_id", "event_id", name="uq_audit_chain_event"),)

    organisation_id: Mapped[PartTenant]
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[UUID]
    hash: Mapped[Bytes]


class AuditSeal(Base):
    """A signature over the chain up to `last_sequence`."""

    __tablename__ = "audit_seals"

    organisation_id: Mapped[PartTenant]
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    first_sequence: Mapped[int] = mapped_column(BigInteger)
    last_sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[Bytes]
    previous_hash: Mapped[Bytes]
    sealed_at: Mapped[Moment]
    key_id: Mapped[str] = mapped_column(Text)
    signature: Mapped[Bytes]


class ApiKeyAddress(Base):
    """An address from which a key was used, since when."""

    __tablename__ = "api_key_addresses"

    organisation_id: Mapped[PartTenant]
    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(INET, primary_key=True)
    first_seen_at: Mapped[Created]
