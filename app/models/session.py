"""Where people are signed in, and the devices that they do it with."""

from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.addresses import Address
from app.kit.db import Base
from app.models.columns import Bytes, Created, Id, Moment, String, Strings
from app.models.user import OfUser


class Device(Base):
    """A browser that a person has signed in with; its signed cookie names the row. It never authenticates anybody."""

    __tablename__ = "devices"

    user_id: Mapped[OfUser]
    id: Mapped[Id]
    name: Mapped[String]
    fingerprint: Mapped[Bytes]
    created_at: Mapped[Created]
    last_seen_at: Mapped[Created]
    last_seen_from: Mapped[Address | None] = mapped_column(INET)


class PersonSession(Base):
    """A person signed in at one browser, until it is ended, idle for too long, or too old.

    The cookie holds a secret of which `digest` is kept. `organisation_id` is the one looked at. `methods` are those of
    RFC 8176 (`pwd`, `otp`, `hwk`, `fed` for an identity provider). `reauthenticated_at` is when the person last showed
    to be there. Ended sessions stay for a while, as the history against which the next sign-in is judged.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index(None, "expires_at"),
        Index("ix_sessions_provider", "provider_id", "provider_subject", postgresql_where="provider_id IS NOT NULL"),
    )

    user_id: Mapped[OfUser]
    id: Mapped[Id]
    digest: Mapped[Bytes]
    session_version: Mapped[int]
    organisation_id: Mapped[UUID | None]
    device_id: Mapped[UUID | None]
    methods: Mapped[Strings]
    created_at: Mapped[Created]
    authenticated_at: Mapped[Created]
    reauthenticated_at: Mapped[Created]
    last_seen_at: Mapped[Created]
    expires_at: Mapped[Moment]
    address: Mapped[Address | None] = mapped_column(INET)
    last_seen_from: Mapped[Address | None] = mapped_column(INET)
    user_agent: Mapped[String]
    country: Mapped[String | None]
    place: Mapped[String | None]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    network: Mapped[int | None]
    risk: Mapped[int] = mapped_column(server_default="0")
    provider_id: Mapped[UUID | None]
    provider_subject: Mapped[String | None]
    provider_session: Mapped[String | None]
    impersonator: Mapped[String | None]
    impersonation_reason: Mapped[String | None]
    ended_at: Mapped[Moment | None]
    end_reason: Mapped[String | None]
