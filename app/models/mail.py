"""Mail that is to be sent: the row is the job."""

from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Bytes, Created, Id, Moment, String


class Mail(Base):
    """A mail to a person, or for an organisation (`owner_id`).

    Its text, which may hold links, lies encrypted, and is gone once it was sent or given up.
    """

    __tablename__ = "mails"
    __table_args__ = (
        Index("ix_mails_due", "due_at", postgresql_where="due_at IS NOT NULL"),
        Index(None, "created_at"),
    )

    owner_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[Id]
    kind: Mapped[String]
    sealed: Mapped[Bytes | None]
    created_at: Mapped[Created]
    due_at: Mapped[Moment | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    last_failure: Mapped[String | None]
    sent_at: Mapped[Moment | None]
