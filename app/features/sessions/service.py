"""What a person does about its own sessions and devices."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import Outcome, Where
from app.domain.ids import encode
from app.features.people import queries as people
from app.features.people.journal import enter_organisations, note
from app.features.sessions import operations, queries
from app.kit.errors import not_found
from app.kit.user_agents import browser_of
from app.models import Device, PersonSession

ENDED = "ended on the sessions page"


@dataclass(frozen=True, slots=True)
class Listed:
    """A session and what its device is called."""

    session: PersonSession
    device: str


def overview(db: Session, user_id: UUID, idle: timedelta) -> tuple[Sequence[Listed], Sequence[Device]]:
    """The person's sessions that open something, and the devices that are known."""
    devices = db.scalars(queries.devices(user_id)).all()
    names = {one.id: one.name for one in devices}
    sessions = db.scalars(queries.in_use(user_id, idle)).all()
    return [Listed(one, _name(one, names.get(one.device_id or one.id))) for one in sessions], devices


def _name(session: PersonSession, known: str | None) -> str:
    return known or browser_of(session.user_agent, "").name


def end(db: Session, user_id: UUID, session_id: UUID, where: Where, reason: str = ENDED) -> None:
    """Ends one session of the person. Problem `not_found` for one that is over, or another's."""
    if not operations.end(db, user_id, session_id, reason):
        raise not_found("Session")
    _note(db, user_id, where, "session.ended", session=encode("session", session_id), reason=reason)


def end_all(db: Session, user_id: UUID, where: Where, *, but: UUID | None = None) -> int:
    """Ends all sessions of the person, but for one where that is named; says how many."""
    ended = operations.end_all(db, user_id, ENDED, but=but)
    _note(db, user_id, where, "session.all_ended", count=ended, kept=None if but is None else encode("session", but))
    return ended


def forget_device(db: Session, user_id: UUID, device_id: UUID, where: Where) -> None:
    """Forgets a device, which is new the next time; its sessions go on. Problem `not_found` for another's."""
    if db.scalar(queries.forget_device(user_id, device_id)) is None:
        raise not_found("Device")
    _note(db, user_id, where, "device.forgotten", device=encode("device", device_id))


def _note(db: Session, user_id: UUID, where: Where, action: str, **details: object) -> None:
    organisations = enter_organisations(db, user_id)
    note(db, db.scalars(people.user(user_id)).one(), action, where, organisations, Outcome.success, **details)
