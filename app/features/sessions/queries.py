"""Statements about sessions."""

from uuid import UUID

from sqlalchemy import Select, Update, func, select, update

from app.models import PersonSession


def live(user_id: UUID) -> Select[PersonSession]:
    """A person's sessions that were not ended, the newest first."""
    return (
        select(PersonSession)
        .where(
            PersonSession.user_id == user_id, PersonSession.ended_at.is_(None), PersonSession.expires_at > func.now()
        )
        .order_by(PersonSession.last_seen_at.desc(), PersonSession.id.desc())
    )


def one(user_id: UUID, session_id: UUID) -> Select[PersonSession]:
    """A session of a person, unless it is over."""
    return live(user_id).where(PersonSession.id == session_id)


def end(user_id: UUID, reason: str, *, only: UUID | None = None, but: UUID | None = None) -> Update:
    """Ends sessions of a person; the ids of those that it ended come back."""
    statement = (
        update(PersonSession)
        .where(PersonSession.user_id == user_id, PersonSession.ended_at.is_(None))
        .values(ended_at=func.now(), end_reason=reason)
        .returning(PersonSession.id)
    )
    if only is not None:
        statement = statement.where(PersonSession.id == only)
    return statement if but is None else statement.where(PersonSession.id != but)
