"""What the tests of sessions do and look at."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from app.auth.people import COOKIE
from app.domain.ids import encode
from app.domain.owned_tokens import Token
from app.models import AuditEvent, PersonSession
from tests.people.visitor import Known, Visitor

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1"


def session_of(visitor: Visitor) -> UUID:
    """The id of the session that the browser holds."""
    token = Token.read(visitor.cookies[COOKIE])
    assert token is not None
    return token.id


def end_path(visitor: Visitor) -> str:
    """Where the form leads that ends the browser's session."""
    return f"/account/sessions/{encode('session', session_of(visitor))}/end"


def events(sessions: sessionmaker[Session], organisation_id: UUID, action: str) -> list[AuditEvent]:
    """What an organisation was told, the oldest first."""
    with sessions.begin() as db:
        wanted = select(AuditEvent).where(AuditEvent.organisation_id == organisation_id, AuditEvent.action == action)
        return list(db.scalars(wanted.order_by(AuditEvent.id)))


def rows(sessions: sessionmaker[Session], person: Known) -> list[PersonSession]:
    """The person's sessions, the oldest first."""
    with sessions.begin() as db:
        wanted = select(PersonSession).where(PersonSession.user_id == person.id)
        return list(db.scalars(wanted.order_by(PersonSession.created_at)))


def make_older(sessions: sessionmaker[Session], session_id: UUID, seen: timedelta, begun: timedelta) -> None:
    """Moves a session into the past: when it was last seen, and when it began and with that its end."""
    with sessions.begin() as db:
        moved = {
            "last_seen_at": PersonSession.last_seen_at - seen,
            "created_at": PersonSession.created_at - begun,
            "expires_at": PersonSession.expires_at - begun,
        }
        db.execute(update(PersonSession).where(PersonSession.id == session_id).values(moved))
