"""The kinds of event that an organisation sends."""

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Created, Integers, Json, String, Strings, Tenant, Updated, Version


class EventType(Base):
    """A named kind of event; an archived one is hidden from lists."""

    __tablename__ = "event_types"

    environment_id: Mapped[Tenant]
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    description: Mapped[String]
    archived: Mapped[bool]
    deprecated: Mapped[bool]
    group_name: Mapped[String | None]
    feature_flags: Mapped[Strings | None]
    schemas: Mapped[Json | None]
    retry_schedule: Mapped[Integers | None]
    version: Mapped[Version]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
