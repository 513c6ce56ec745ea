"""What the OAuth 2 and OpenID provider keeps: clients, what people allowed them, and what was handed out."""

from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import (
    Bytes,
    Created,
    Id,
    Json,
    Moment,
    OrganisationId,
    PartTenant,
    String,
    Strings,
    Updated,
    Version,
)


class OAuthClient(Base):
    """A program that asks for tokens. Public ones (`auth_method` none) have no secret.

    `role` and `environment_id` are for what it does in its own name, by client credentials. A first-party client asks
    nobody for consent, and only such a one may be given the password grant.
    """

    __tablename__ = "oauth_clients"
    __table_args__ = (Index(None, "id", unique=True),)

    organisation_id: Mapped[OrganisationId]
    id: Mapped[Id]
    environment_id: Mapped[UUID] = mapped_column(ForeignKey("environments.id"))
    name: Mapped[String]
    auth_method: Mapped[String]
    redirect_uris: Mapped[Strings]
    post_logout_redirect_uris: Mapped[Strings]
    backchannel_logout_uri: Mapped[String | None]
    grant_types: Mapped[Strings]
    scopes: Mapped[Strings]
    role: Mapped[String]
    first_party: Mapped[bool] = mapped_column(server_default="false")
    id_token_algorithm: Mapped[String]
    jwks: Mapped[Json | None]
    version: Mapped[Version] = mapped_column()
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    deleted_at: Mapped[Moment | None]

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 the mapper's own name


class OAuthClientSecret(Base):
    """A secret of a confidential client: 256 random bits, of which the digest is kept."""

    __tablename__ = "oauth_client_secrets"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organisation_id", "client_id"], ["oauth_clients.organisation_id", "oauth_clients.id"], ondelete="CASCADE"
        ),
    )

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[Id]
    digest: Mapped[Bytes]
    hint: Mapped[String]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment | None]


class OAuthConsent(Base):
    """What a person allowed a client."""

    __tablename__ = "oauth_consents"

    organisation_id: Mapped[OrganisationId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    scopes: Mapped[Strings]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]


class OAuthFamily(Base):
    """All tokens that came of one grant. When a used one of them shows up again, all end.

    `session_id` is the session that it ends with, and `began_in` the one in which a person allowed it, where its client
    hears of the end; `user_id` None is a client in its own name. `claims` are those asked for by name.
    """

    __tablename__ = "oauth_families"
    __table_args__ = (
        Index(None, "organisation_id", "client_id"),
        Index(None, "user_id"),
        Index(None, "expires_at"),
    )

    organisation_id: Mapped[OrganisationId]
    id: Mapped[Id]
    client_id: Mapped[UUID]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    session_id: Mapped[UUID | None]
    began_in: Mapped[UUID | None]
    session_version: Mapped[int | None]
    claims: Mapped[Json | None]
    scopes: Mapped[Strings]
    methods: Mapped[Strings]
    authenticated_at: Mapped[Moment | None]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment]
    revoked_at: Mapped[Moment | None]
    revoked_reason: Mapped[String | None]


class OAuthCode(Base):
    """An authorization code; it stays when it was used, to notice its second use."""

    __tablename__ = "oauth_codes"
    __table_args__ = (Index(None, "expires_at"),)

    organisation_id: Mapped[OrganisationId]
    id: Mapped[Id]
    family_id: Mapped[UUID]
    client_id: Mapped[UUID]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    digest: Mapped[Bytes]
    redirect_uri: Mapped[String]
    challenge: Mapped[String]
    scopes: Mapped[Strings]
    nonce: Mapped[String | None]
    claims: Mapped[Json | None]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]


class OAuthRefreshToken(Base):
    """A refresh token; used ones stay, to notice their second use."""

    __tablename__ = "oauth_refresh_tokens"
    __table_args__ = (
        ForeignKeyConstraint(
            ["organisation_id", "family_id"],
            ["oauth_families.organisation_id", "oauth_families.id"],
            ondelete="CASCADE",
        ),
    )

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    family_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[Id]
    parent_id: Mapped[UUID | None]
    digest: Mapped[Bytes]
    scopes: Mapped[Strings]
    created_at: Mapped[Created]
    used_at: Mapped[Moment | None]


class RevokedToken(Base):
    """An access token that was revoked before its end."""

    __tablename__ = "revoked_tokens"
    __table_args__ = (Index(None, "expires_at"),)

    organisation_id: Mapped[OrganisationId]
    token_id: Mapped[str] = mapped_column(Text, primary_key=True)
    expires_at: Mapped[Moment]


class LogoutNotice(Base):
    """A back-channel logout that a client is owed: the row is the job.

    A trigger writes it in the transaction that ends the session, whoever does.
    """

    __tablename__ = "logout_notices"
    __table_args__ = (
        Index("ix_logout_notices_due", "due_at", postgresql_where="due_at IS NOT NULL"),
        Index(None, "created_at"),
    )

    organisation_id: Mapped[OrganisationId]
    id: Mapped[Id]
    client_id: Mapped[UUID]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    session_id: Mapped[UUID]
    created_at: Mapped[Created]
    due_at: Mapped[Moment | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    last_failure: Mapped[String | None]
    sent_at: Mapped[Moment | None]


class SigningKey(Base):
    """A key that tokens are signed with; its id is the `kid`. It belongs to the installation (UUID(int=0)).

    It is published from the start, signs from `signs_from`, and verifies until `verifies_until`.
    """

    __tablename__ = "signing_keys"

    organisation_id: Mapped[PartTenant]
    id: Mapped[Id]
    algorithm: Mapped[String]
    public_jwk: Mapped[Json]
    sealed: Mapped[Bytes]
    created_at: Mapped[Created]
    signs_from: Mapped[Moment]
    verifies_until: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]
