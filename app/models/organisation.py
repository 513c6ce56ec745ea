"""Organisations, the tenants, and the API keys by which their programs call."""

from datetime import date
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import BigCount, Bytes, Created, Id, Integers, Moment, String, Tenant, Updated


class Organisation(Base):
    """A company that posts events."""

    __tablename__ = "organisations"

    id: Mapped[Id]
    name: Mapped[String]
    retry_schedule: Mapped[Integers | None]
    monthly_events: Mapped[BigCount | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    deleted_at: Mapped[Moment | None]


class OrganisationUsage(Base):
    """How many events of an organisation were accepted in a month, named by its first day (UTC)."""

    __tablename__ = "organisation_usage"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    organisation_id: Mapped[Tenant]
    month: Mapped[date] = mapped_column(primary_key=True)
    events: Mapped[BigCount]


class ApiKey(Base):
    """A key of an organisation; only the digest of its text is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "digest", unique=True),)

    organisation_id: Mapped[Tenant]
    id: Mapped[Id]
    name: Mapped[String]
    digest: Mapped[Bytes]
    hint: Mapped[String]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]


class RevokedPortalToken(Base):
    """A revoked portal token; those that were never revoked leave no row."""

    __tablename__ = "revoked_portal_tokens"

    organisation_id: Mapped[Tenant]
    token_id: Mapped[UUID] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment]
