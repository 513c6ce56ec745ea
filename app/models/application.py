"""Applications: the customers of an organisation, each with endpoints and messages of its own."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Created, Id, Json, Moment, String, Tenant, Updated, Version


class ApplicationKind(StrEnum):
    """A customer's, or the hidden one that carries the organisation's operational webhooks."""

    tenant = "tenant"
    operational = "operational"


class Application(Base):
    """A customer of an organisation. Deleted ones stay until they can no longer be restored; their uid is free at once.

    What was deleted with an application bears the same `deleted_at`.
    """

    __tablename__ = "applications"
    __table_args__ = (
        Index("uq_applications_uid", "environment_id", "uid", unique=True, postgresql_where="deleted_at IS NULL"),
        Index(
            "uq_applications_operational",
            "environment_id",
            unique=True,
            postgresql_where="kind = 'operational'",
        ),
        Index("ix_applications_deleted", "environment_id", "id", postgresql_where="deleted_at IS NOT NULL"),
        CheckConstraint("kind IN ('tenant', 'operational')", name="kind"),
    )

    environment_id: Mapped[Tenant]
    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(Text, server_default=ApplicationKind.tenant)
    uid: Mapped[String | None]
    name: Mapped[String]
    metadata_: Mapped[Json] = mapped_column("metadata")
    throttle_rate: Mapped[int | None]
    version: Mapped[Version]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    deleted_at: Mapped[Moment | None]
