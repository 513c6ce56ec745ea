"""People: who they are, what they prove it with by knowing it, and to which organisations they belong."""

from typing import Annotated
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import (
    BigCount,
    Bytes,
    Created,
    Id,
    Json,
    JsonList,
    Moment,
    OrganisationId,
    String,
    Updated,
    Version,
)


class User(Base):
    """A person, known by an address in all organisations. `email_key` is how addresses are compared.

    Sessions and tokens that were made under an older `session_version` are over.
    """

    __tablename__ = "users"
    __table_args__ = (Index("uq_users_email_key", "email_key", unique=True, postgresql_where="deleted_at IS NULL"),)

    id: Mapped[Id]
    email: Mapped[String]
    email_key: Mapped[String]
    name: Mapped[String]
    session_version: Mapped[int] = mapped_column(server_default="1")
    version: Mapped[Version] = mapped_column()
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    email_verified_at: Mapped[Moment | None]
    disabled_at: Mapped[Moment | None]
    deleted_at: Mapped[Moment | None]

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 the mapper's own name


OfUser = Annotated[UUID, mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)]
"""Whose a row is that belongs to one person."""


class Password(Base):
    """A person's password, as argon2id keeps it. Who signs in by other means has none."""

    __tablename__ = "passwords"

    user_id: Mapped[OfUser]
    hash: Mapped[String]
    changed_at: Mapped[Created]


class FailureCount(Base):
    """Failures in a row at one thing, such as `password` or `second_step`, from one device.

    All unknown devices are one, UUID(int=0). What is tried for an address that nobody has is counted as well, under an
    id that stands for the address: otherwise waiting would tell who is known.
    """

    __tablename__ = "failure_counts"
    __table_args__ = (Index(None, "failed_at"),)

    user_id: Mapped[Id]
    kind: Mapped[str] = mapped_column(primary_key=True)
    device_id: Mapped[UUID] = mapped_column(primary_key=True)
    failures: Mapped[int]
    failed_at: Mapped[Moment]


class OneTimeToken(Base):
    """A token that a mail carries: `purpose` is such as `password_reset`, `email_change`, `sign_in`."""

    __tablename__ = "one_time_tokens"
    __table_args__ = (Index("ix_one_time_tokens_expires", "expires_at"),)

    user_id: Mapped[OfUser]
    id: Mapped[Id]
    purpose: Mapped[String]
    digest: Mapped[Bytes]
    data: Mapped[Json]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]


class UsedTicket(Base):
    """A sealed ticket that was used, kept for as long as it would be good; its owner is a person or an organisation."""

    __tablename__ = "used_tickets"
    __table_args__ = (Index("ix_used_tickets_expires", "expires_at"),)

    owner_id: Mapped[UUID] = mapped_column(primary_key=True)
    ticket_id: Mapped[UUID] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment]


class Membership(Base):
    """A person in an organisation, and what it may there."""

    __tablename__ = "memberships"
    __table_args__ = (Index(None, "user_id"),)

    organisation_id: Mapped[OrganisationId]
    user_id: Mapped[OfUser]
    role: Mapped[String]
    version: Mapped[Version] = mapped_column()
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 the mapper's own name


class Invitation(Base):
    """A role that is offered to whoever reads the mail of an address, whose link has a secret with this `digest`."""

    __tablename__ = "invitations"
    __table_args__ = (
        Index(
            "uq_invitations_open",
            "organisation_id",
            "email_key",
            unique=True,
            postgresql_where="accepted_at IS NULL AND revoked_at IS NULL",
        ),
        Index(None, "expires_at"),
    )

    organisation_id: Mapped[OrganisationId]
    id: Mapped[Id]
    email: Mapped[String]
    email_key: Mapped[String]
    role: Mapped[String]
    digest: Mapped[Bytes]
    invited_by: Mapped[String]
    version: Mapped[Version] = mapped_column()
    created_at: Mapped[Created]
    sent_at: Mapped[Created]
    expires_at: Mapped[Moment]
    accepted_at: Mapped[Moment | None]
    accepted_by: Mapped[UUID | None]
    revoked_at: Mapped[Moment | None]

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 the mapper's own name


class Totp(Base):
    """A secret that a person shares with an authenticator app; it counts once it was confirmed.

    `last_timecode` is the newest period of which a code was taken: none is taken twice.
    """

    __tablename__ = "totp_secrets"

    user_id: Mapped[OfUser]
    id: Mapped[Id]
    sealed: Mapped[Bytes]
    last_timecode: Mapped[int | None]
    created_at: Mapped[Created]
    confirmed_at: Mapped[Moment | None]


class RecoveryCode(Base):
    """A code that stands in once for a lost second factor."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[OfUser]
    id: Mapped[Id]
    digest: Mapped[Bytes]
    created_at: Mapped[Created]
    used_at: Mapped[Moment | None]


class Passkey(Base):
    """A WebAuthn credential. Its id is unique over all people."""

    __tablename__ = "passkeys"
    __table_args__ = (Index("uq_passkeys_credential_id", "credential_id", unique=True),)

    user_id: Mapped[OfUser]
    id: Mapped[Id]
    credential_id: Mapped[Bytes]
    public_key: Mapped[Bytes]
    sign_count: Mapped[BigCount]
    transports: Mapped[JsonList]
    is_backed_up: Mapped[bool]
    name: Mapped[String]
    created_at: Mapped[Created]
    last_used_at: Mapped[Moment | None]
