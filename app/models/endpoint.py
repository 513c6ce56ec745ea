"""Endpoints: where an application's messages go, with their secrets and their health."""

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Bytes, Created, Id, Integers, Json, Moment, PartTenant, String, Strings, Tenant, Updated


class Endpoint(Base):
    """A URL with its subscription. `revision` rises with every change, so that copies of a row can be told apart.

    `example_tat` is the theoretical arrival time of the rate at which examples may be sent.
    """

    __tablename__ = "endpoints"
    __table_args__ = (
        ForeignKeyConstraint(["environment_id", "application_id"], ["applications.environment_id", "applications.id"]),
        Index("ix_endpoints_application", "environment_id", "application_id", "id"),
        Index(
            "uq_endpoints_uid",
            "environment_id",
            "application_id",
            "uid",
            unique=True,
            postgresql_where="deleted_at IS NULL",
        ),
        Index(
            "ix_endpoints_deleted",
            "environment_id",
            "application_id",
            "id",
            postgresql_where="deleted_at IS NOT NULL",
        ),
        CheckConstraint("header_style IN ('webhook', 'svix')", name="header_style"),
    )

    environment_id: Mapped[Tenant]
    id: Mapped[Id]
    application_id: Mapped[UUID]
    uid: Mapped[String | None]
    url: Mapped[String]
    description: Mapped[String]
    version: Mapped[int]
    disabled: Mapped[bool]
    disabled_reason: Mapped[String | None]
    event_types: Mapped[Strings | None]
    channels: Mapped[Strings | None]
    feature_flags: Mapped[Strings | None]
    metadata_: Mapped[Json] = mapped_column("metadata")
    throttle_rate: Mapped[int | None]
    retry_schedule: Mapped[Integers | None]
    headers: Mapped[Bytes | None]
    header_style: Mapped[str] = mapped_column(Text, server_default="webhook")
    ca_pem: Mapped[String | None]
    example_tat: Mapped[Moment | None]
    revision: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    deleted_at: Mapped[Moment | None]


class EndpointSecret(Base):
    """A signing key of an endpoint, encrypted; one that was rotated out lives until `expires_at`."""

    __tablename__ = "endpoint_secrets"
    __table_args__ = (
        ForeignKeyConstraint(
            ["environment_id", "endpoint_id"], ["endpoints.environment_id", "endpoints.id"], ondelete="CASCADE"
        ),
    )

    environment_id: Mapped[Tenant]
    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[Id]
    secret: Mapped[Bytes]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment | None]


class EndpointHealth(Base):
    """What the last attempts say of an endpoint. No row means healthy."""

    __tablename__ = "endpoint_health"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    environment_id: Mapped[PartTenant]
    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    consecutive_failures: Mapped[int] = mapped_column(server_default="0")
    opened_times: Mapped[int] = mapped_column(server_default="0")
    open_until: Mapped[Moment | None]
    probing: Mapped[bool] = mapped_column(server_default="false")
    slow_until: Mapped[Moment | None]
    fail_since: Mapped[Moment | None]


class EndpointRate(Base):
    """The theoretical arrival time of an endpoint's rate. Apart from its health: claims write it, records never do."""

    __tablename__ = "endpoint_rates"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    environment_id: Mapped[PartTenant]
    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    rate_tat: Mapped[Moment | None]


class ApplicationRate(Base):
    """The theoretical arrival time of an application's rate."""

    __tablename__ = "application_rates"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    environment_id: Mapped[PartTenant]
    application_id: Mapped[UUID] = mapped_column(primary_key=True)
    rate_tat: Mapped[Moment | None]


class EndpointGate(Base):
    """An endpoint that has held deliveries in a lane, and when the next of them may be looked at."""

    __tablename__ = "endpoint_gates"
    __table_args__ = (
        Index("ix_endpoint_gates_next", "next_at"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    environment_id: Mapped[PartTenant]
    endpoint_id: Mapped[UUID] = mapped_column(primary_key=True)
    lane: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    application_id: Mapped[UUID]
    next_at: Mapped[Moment]
