"""Deliveries: what is still owed (hot), what has ended, every attempt, every act of an operator."""

from datetime import date
from enum import IntEnum, StrEnum
from uuid import UUID

from sqlalchemy import Index, SmallInteger, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Bytes, Created, Moment, PartTenant, String


class Lane(IntEnum):
    """Queues that are served apart, so that the later ones never delay the first."""

    first = 0
    retry = 1
    replay = 2


class DueState(IntEnum):
    """Of an open delivery: may be claimed, is being sent under a lease, or waits behind its endpoint's gate."""

    ready = 0
    sending = 1
    held = 2


class Trigger(IntEnum):
    """The wire's `triggerType`."""

    scheduled = 0
    manual = 1


class Status(IntEnum):
    """The wire's `status`."""

    success = 0
    pending = 1
    fail = 2
    sending = 3
    canceled = 4


class DueDelivery(Base):
    """One obligation that is still open: the row is the job.

    `due_at` is when it may be claimed; of one being sent it is the end of the lease. `attempt` counts the attempts
    that were started and is the fence: a result that bears another number is late and is dropped. `failures` counts
    those that were recorded, and is the place in the retry schedule.
    """

    __tablename__ = "due_deliveries"
    __table_args__ = (
        # The sum hides from the planner that other conditions on the state imply this one: while the table is empty,
        # it would plan to find everything by this index, and keep to that when the table is full.
        Index("ix_due_deliveries_claim", "lane", "due_at", postgresql_where="state + 0 <> 2"),
        Index("ix_due_deliveries_held", "endpoint_id", "lane", "due_at", postgresql_where="state = 2"),
        Index("ix_due_deliveries_sending", "endpoint_id", postgresql_where="state = 1"),
        # With the endpoint, so that one delivery of a message to many is found at once, whichever index is taken.
        Index("ix_due_deliveries_message", "environment_id", "message_id", "endpoint_id"),
        {
            "postgresql_with": {
                "fillfactor": "60",
                "autovacuum_vacuum_scale_factor": "0.02",
                "autovacuum_vacuum_cost_delay": "0",
                "vacuum_truncate": "off",
            }
        },
    )

    environment_id: Mapped[PartTenant]
    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    trigger: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    application_id: Mapped[UUID]
    lane: Mapped[int] = mapped_column(SmallInteger)
    state: Mapped[int] = mapped_column(SmallInteger)
    due_at: Mapped[Moment]
    attempt: Mapped[int] = mapped_column(SmallInteger)
    failures: Mapped[int] = mapped_column(SmallInteger)
    expires_on: Mapped[date]
    event_type: Mapped[String]


class Delivery(Base):
    """How the scheduled delivery of a message to an endpoint ended. Partitioned by day of the message's id."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_message", "environment_id", "message_id"),
        Index(
            "ix_deliveries_unsuccessful",
            "environment_id",
            "endpoint_id",
            "message_id",
            postgresql_where="status <> 0",
        ),
        {"postgresql_partition_by": "RANGE (message_id)"},
    )

    environment_id: Mapped[PartTenant]
    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    message_id: Mapped[UUID] = mapped_column(primary_key=True)
    application_id: Mapped[UUID]
    status: Mapped[int] = mapped_column(SmallInteger)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    finished_at: Mapped[Moment]


class Attempt(Base):
    """One request that was sent, or tried; a failed one without `next_at` was the last.

    Append-only; partitioned by day of its id.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        Index("ix_attempts_endpoint", "environment_id", "endpoint_id", "id"),
        Index("ix_attempts_message", "environment_id", "message_id", "id"),
        {"postgresql_partition_by": "RANGE (id)"},
    )

    environment_id: Mapped[PartTenant]
    id: Mapped[UUID] = mapped_column(primary_key=True)
    application_id: Mapped[UUID]
    endpoint_id: Mapped[UUID]
    message_id: Mapped[UUID]
    event_type: Mapped[String]
    trigger: Mapped[int] = mapped_column(SmallInteger)
    number: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[int] = mapped_column(SmallInteger)
    response_status: Mapped[int] = mapped_column(SmallInteger)
    failure: Mapped[String | None]
    detail: Mapped[String | None]
    response: Mapped[Bytes]
    response_expunged: Mapped[bool] = mapped_column(server_default="false")
    duration_ms: Mapped[int]
    url: Mapped[String]
    started_at: Mapped[Moment]
    next_at: Mapped[Moment | None]


class ActionKind(StrEnum):
    """What an operator can do to deliveries."""

    resend = "resend"
    replay = "replay"
    cancel = "cancel"


class DeliveryAction(Base):
    """An act of an operator, or of the product, on a delivery.

    Append-only: with messages and attempts it derives every state.
    """

    __tablename__ = "delivery_actions"
    __table_args__ = (
        Index("ix_delivery_actions_message", "environment_id", "message_id"),
        Index("ix_delivery_actions_created", "created_at", postgresql_using="brin"),
    )

    environment_id: Mapped[PartTenant]
    id: Mapped[UUID] = mapped_column(primary_key=True)
    endpoint_id: Mapped[UUID]
    message_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    reason: Mapped[String]
    created_at: Mapped[Created]
