"""Organisations with their environments, which are the tenants, and the API keys by which their programs call."""

from datetime import date
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.addresses import Address
from app.kit.db import Base
from app.models.columns import (
    BigCount,
    Bytes,
    Created,
    Id,
    Integers,
    Moment,
    Networks,
    OrganisationId,
    String,
    Strings,
    Tenant,
    Updated,
    Version,
)


class Organisation(Base):
    """A company that posts events. Its policies hold in all of its environments.

    `key_days` is for how long a secret of a key is good. The lists are networks from which it may be called: those
    denied never, and if any are allowed, those alone. With `mfa_required` its people need a second factor.
    """

    __tablename__ = "organisations"
    __table_args__ = (Index(None, "key_days", postgresql_where="key_days IS NOT NULL"),)

    id: Mapped[Id]
    name: Mapped[String]
    key_days: Mapped[int | None]
    allowed_networks: Mapped[Networks]
    denied_networks: Mapped[Networks]
    mfa_required: Mapped[bool] = mapped_column(server_default="false")
    version: Mapped[Version] = mapped_column()
    monthly_events: Mapped[BigCount | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    suspended_at: Mapped[Moment | None]
    deleted_at: Mapped[Moment | None]

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 the mapper's own name


class Environment(Base):
    """A tenant: applications, event types, messages of one environment are walled off from any other's.

    `stopped_at` is set while its organisation is suspended or deleted: nothing is delivered then.
    """

    __tablename__ = "environments"
    __table_args__ = (
        UniqueConstraint("organisation_id", "kind"),
        CheckConstraint("kind IN ('live', 'test')", name="kind"),
    )

    id: Mapped[Id]
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    kind: Mapped[str] = mapped_column(Text)
    retry_schedule: Mapped[Integers | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    stopped_at: Mapped[Moment | None]


class OrganisationUsage(Base):
    """How many events of an organisation were accepted in a month, named by its first day (UTC)."""

    __tablename__ = "organisation_usage"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    organisation_id: Mapped[OrganisationId]
    month: Mapped[date] = mapped_column(primary_key=True)
    events: Mapped[BigCount]


class ApiKey(Base):
    """A program that calls for an organisation, in one environment; its texts are secrets of their own.

    It may do what its role may, and with `scopes` of that only what they name. One that `signs` never sends its text.
    One that a person made (`user_id`), directly or by another such key, lasts while the person belongs here and may do
    no more than the person itself.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        Index(None, "id", unique=True),
        Index(None, "expires_at", postgresql_where="revoked_at IS NULL AND expires_at IS NOT NULL"),
        Index(None, "user_id", postgresql_where="user_id IS NOT NULL"),
    )

    organisation_id: Mapped[OrganisationId]
    id: Mapped[Id]
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"))
    name: Mapped[String]
    role: Mapped[str] = mapped_column(Text)
    scopes: Mapped[Strings | None]
    signs: Mapped[bool] = mapped_column(server_default="false")
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    allowed_networks: Mapped[Networks]
    denied_networks: Mapped[Networks]
    version: Mapped[Version] = mapped_column()
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    expires_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]
    last_used_at: Mapped[Moment | None]
    last_used_from: Mapped[Address | None] = mapped_column(INET)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 the mapper's own name


class ApiKeySecret(Base):
    """A text that a key is known by; of most only the digest is kept, of those that sign also the text, `sealed`."""

    __tablename__ = "api_key_secrets"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organisation_id", "key_id"], ["api_keys.organisation_id", "api_keys.id"], ondelete="CASCADE"
        ),
        Index(None, "digest", unique=True),
        Index(None, "expires_at", postgresql_where="warned_at IS NULL AND expires_at IS NOT NULL"),
        Index(None, "organisation_id", "created_at", postgresql_where="warned_at IS NULL"),
    )

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[Id]
    digest: Mapped[Bytes]
    hint: Mapped[String]
    sealed: Mapped[Bytes | None]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment | None]
    warned_at: Mapped[Moment | None]


class PortalExpiry(Base):
    """An end of an application's portal tokens: of those that were made before, of one session or of all."""

    __tablename__ = "portal_expiries"

    environment_id: Mapped[Tenant]
    application_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[Id]
    session_id: Mapped[String | None]
    made_before: Mapped[Moment]
    takes_effect_at: Mapped[Moment]


class RevokedPortalToken(Base):
    """A revoked portal token; those that were never revoked leave no row."""

    __tablename__ = "revoked_portal_tokens"

    environment_id: Mapped[Tenant]
    token_id: Mapped[UUID] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment]
