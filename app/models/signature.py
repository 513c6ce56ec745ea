"""What was used once and may not be used again: nonces of signed requests, and one-time links."""

from uuid import UUID

from sqlalchemy import Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Moment, OrganisationId, PartTenant


class SignatureNonce(Base):
    """A nonce that a key has signed with, kept for as long as the signature could be fresh."""

    __tablename__ = "signature_nonces"
    __table_args__ = (Index("ix_signature_nonces_expires", "expires_at"),)

    organisation_id: Mapped[PartTenant]
    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    nonce: Mapped[str] = mapped_column(Text, primary_key=True)
    expires_at: Mapped[Moment]


class UsedLink(Base):
    """A one-time link that was used, kept for as long as it would be good."""

    __tablename__ = "used_links"

    organisation_id: Mapped[OrganisationId]
    link_id: Mapped[UUID] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment]
