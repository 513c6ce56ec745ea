"""Begins and ends sessions of people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.addresses import Address
from app.domain.owned_tokens import SECRET_BYTES, Token
from app.domain.places import NOWHERE_KNOWN, Place
from app.features.sessions import queries
from app.kit import changes
from app.kit.clock import new_id, utc_now
from app.kit.random_bytes import RandomBytes
from app.models import PersonSession, User

_random = RandomBytes(SECRET_BYTES)


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that is to begin; see PersonSession."""

    methods: Sequence[str]
    expires_at: datetime
    organisation_id: UUID | None = None
    device_id: UUID | None = None
    address: Address | None = None
    user_agent: str = ""
    place: Place = NOWHERE_KNOWN
    risk: int = 0
    provider_id: UUID | None = None
    provider_subject: str | None = None
    provider_session: str | None = None
    impersonator: str | None = None
    impersonation_reason: str | None = None


def begin(db: Session, user: User, new: NewSession) -> tuple[PersonSession, str]:
    """Begins a session; the text of its cookie comes with it."""
    token = Token(user.id, new_id(), _random())
    place = new.place
    row = PersonSession(
        user_id=user.id,
        id=token.id,
        digest=token.digest,
        session_version=user.session_version,
        organisation_id=new.organisation_id,
        device_id=new.device_id,
        methods=list(new.methods),
        expires_at=new.expires_at,
        address=new.address,
        last_seen_from=new.address,
        user_agent=new.user_agent,
        country=place.country,
        place=place.name,
        latitude=place.latitude,
        longitude=place.longitude,
        network=place.network,
        risk=new.risk,
        provider_id=new.provider_id,
        provider_subject=new.provider_subject,
        provider_session=new.provider_session,
        impersonator=new.impersonator,
        impersonation_reason=new.impersonation_reason,
    )
    db.add(row)
    db.flush()
    return row, token.text()


def renew(
    db: Session, user_id: UUID, session_id: UUID, *, methods: Sequence[str] = (), reauthenticated: bool = False
) -> str | None:
    """Gives a session another secret, whose cookie text comes back, at a change of what it may; its id stays.

    The methods are added to those that it has; `reauthenticated` says that the person just showed to be there. None
    when the session is over. The cookie of before opens nothing once this is committed.
    """
    row = db.scalars(queries.one(user_id, session_id).with_for_update()).one_or_none()
    if row is None:
        return None
    token = Token(user_id, session_id, _random())
    row.digest = token.digest
    row.methods = [*row.methods, *(one for one in methods if one not in row.methods)]
    if reauthenticated:
        row.reauthenticated_at = utc_now()
    db.flush()
    changes.note(db, user_id)
    return token.text()


def end_oldest(db: Session, user_id: UUID, most: int, idle: timedelta) -> Sequence[UUID]:
    """Ends the sessions beyond the `most` that began last; their ids. The person's row is to be locked."""
    changes.note(db, user_id)
    return db.scalars(queries.end_beyond(user_id, most, idle, "too many sessions")).all()


def end(db: Session, user_id: UUID, session_id: UUID, reason: str) -> bool:
    """Ends a session; False when it was over."""
    changes.note(db, user_id)
    return db.scalar(queries.end(user_id, reason, only=session_id)) is not None


def end_all(db: Session, user_id: UUID, reason: str, *, but: UUID | None = None) -> int:
    """Ends a person's sessions, but for one where that is named; says how many."""
    changes.note(db, user_id)
    return len(db.scalars(queries.end(user_id, reason, but=but)).all())
