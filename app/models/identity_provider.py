"""Identity providers that organisations bring, and whom these vouch for."""

from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Bytes, Created, Id, Moment, OrganisationId, String, Strings, Updated, Version


class IdentityProvider(Base):
    """An OpenID provider of an organisation, at which Postrider is the client. New people get `role`."""

    __tablename__ = "identity_providers"
    __table_args__ = (Index(None, "id", unique=True),)

    organisation_id: Mapped[OrganisationId]
    id: Mapped[Id]
    name: Mapped[String]
    issuer: Mapped[String]
    client_id: Mapped[String]
    sealed_secret: Mapped[Bytes | None]
    auth_method: Mapped[String]
    scopes: Mapped[Strings]
    role: Mapped[String]
    version: Mapped[Version] = mapped_column()
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    disabled_at: Mapped[Moment | None]

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 the mapper's own name


class ProviderDomain(Base):
    """A domain whose people sign in by a provider, once a TXT record of it has shown `challenge`."""

    __tablename__ = "provider_domains"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organisation_id", "provider_id"],
            ["identity_providers.organisation_id", "identity_providers.id"],
            ondelete="CASCADE",
        ),
        Index("uq_provider_domains_verified", "domain", unique=True, postgresql_where="verified_at IS NOT NULL"),
    )

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    provider_id: Mapped[UUID] = mapped_column(primary_key=True)
    domain: Mapped[str] = mapped_column(Text, primary_key=True)
    challenge: Mapped[String]
    created_at: Mapped[Created]
    verified_at: Mapped[Moment | None]


class FederatedIdentity(Base):
    """Whom a provider means by a subject."""

    __tablename__ = "federated_identities"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organisation_id", "provider_id"],
            ["identity_providers.organisation_id", "identity_providers.id"],
            ondelete="CASCADE",
        ),
        Index(None, "user_id"),
    )

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    provider_id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    email: Mapped[String]
    created_at: Mapped[Created]
    last_used_at: Mapped[Moment | None]
