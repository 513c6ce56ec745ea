"""Statements about sessions."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Select, delete, exists, func, select, update
from sqlalchemy.sql.dml import ReturningDelete, ReturningUpdate

from app.models import Device, PersonSession


def live(user_id: UUID) -> Select[PersonSession]:
    """A person's sessions that were not ended, the newest first."""
    return (
        select(PersonSession)
        .where(
            PersonSession.user_id == user_id, PersonSession.ended_at.is_(None), PersonSession.expires_at > func.now()
        )
        .order_by(PersonSession.last_seen_at.desc(), PersonSession.id.desc())
    )


def in_use(user_id: UUID, idle: timedelta) -> Select[PersonSession]:
    """A person's sessions that open something still."""
    return live(user_id).where(PersonSession.last_seen_at > func.now() - idle)


def one(user_id: UUID, session_id: UUID) -> Select[PersonSession]:
    """A session of a person, unless it is over."""
    return live(user_id).where(PersonSession.id == session_id)


def end(user_id: UUID, reason: str, *, only: UUID | None = None, but: UUID | None = None) -> ReturningUpdate[UUID]:
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


def end_beyond(user_id: UUID, most: int, idle: timedelta, reason: str) -> ReturningUpdate[UUID]:
    """Ends all of a person's sessions in use but for those that began last; the ids of the ended come back."""
    newest = in_use(user_id, idle).order_by(None).order_by(PersonSession.created_at.desc(), PersonSession.id.desc())
    return end(user_id, reason).where(
        PersonSession.id.in_(newest.with_only_columns(PersonSession.id).offset(most).scalar_subquery())
    )


def history(user_id: UUID, most: int) -> Select[PersonSession]:
    """The person's own last sessions, over or not, the newest first: what the next sign-in is judged by."""
    return (
        select(PersonSession)
        .where(PersonSession.user_id == user_id, PersonSession.impersonator.is_(None))
        .order_by(PersonSession.created_at.desc(), PersonSession.id.desc())
        .limit(most)
    )


def device(user_id: UUID, device_id: UUID) -> Select[Device]:
    """A device of a person."""
    return select(Device).where(Device.user_id == user_id, Device.id == device_id)


def devices(user_id: UUID) -> Select[Device]:
    """The person's devices, the one used last first."""
    return select(Device).where(Device.user_id == user_id).order_by(Device.last_seen_at.desc(), Device.id.desc())


def forget_device(user_id: UUID, device_id: UUID) -> ReturningDelete[UUID]:
    """Removes a device of a person; its id comes back where there was one."""
    return delete(Device).where(Device.user_id == user_id, Device.id == device_id).returning(Device.id)


def has_devices(user_id: UUID) -> Select[bool]:
    """Whether the person has any device."""
    return select(exists().where(Device.user_id == user_id))
