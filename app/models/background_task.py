"""Long work that Celery does for a caller, and that survives the restart of any process."""

from sqlalchemy import Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base
from app.models.columns import Created, Id, Json, Moment, Tenant, Updated


class BackgroundTask(Base):
    """A task: what was asked (`request`), how far it is (`progress`), until when somebody works on it (`due_at`)."""

    __tablename__ = "background_tasks"
    __table_args__ = (Index("ix_background_tasks_due", "due_at", postgresql_where="status = 'running'"),)

    environment_id: Mapped[Tenant]
    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    request: Mapped[Json]
    progress: Mapped[Json]
    due_at: Mapped[Moment]
    fence: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    finished_at: Mapped[Moment | None]
