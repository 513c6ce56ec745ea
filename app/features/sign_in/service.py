"""Signing in: one proof after another, until there is enough for a session.

Each way in (password, passkey, identity provider, link) proves who somebody is, and then asks `conclude` what that is
worth: a session, or a ticket to the next step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.auth.people import has_mfa
from app.domain.assurance import STRONG
from app.domain.audit import SYSTEM, Actor, Event, Outcome, Target, Where
from app.domain.ids import encode
from app.features.audit.operations import record
from app.features.people import queries as people
from app.features.sessions import operations as sessions
from app.features.sessions.operations import NewSession
from app.features.sign_in.tickets import Ticket, new_ticket
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.kit.errors import unauthenticated
from app.models import User

WRONG = "That is not right, or nobody has this address: try again"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Whence somebody signs in, as trusted proxies tell; `device_id` is the known device whose cookie came along."""

    where: Where
    device_id: UUID | None = None
    fingerprint: bytes = b""
    languages: str = ""


@dataclass(frozen=True, slots=True)
class Proven:
    """Who somebody proved to be, and how; what an identity provider said belongs to it."""

    user_id: UUID
    methods: Sequence[str]
    organisation_id: UUID | None = None
    provider_id: UUID | None = None
    provider_subject: str | None = None
    provider_session: str | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A session has begun: the text of its cookie, and where the person was going."""

    cookie: str = field(repr=False)
    session_id: UUID
    next: str


Step = Begun | Ticket
"""What comes of a proof."""


def conclude(db: Session, proven: Proven, circumstances: Circumstances, lifetime: timedelta, next_: str) -> Step:
    """Begins the session of whoever proved enough; else a ticket for the next step.

    The transaction names the person. Raises Problem `unauthenticated` for a person who is disabled.
    """
    user = db.scalars(people.user(proven.user_id)).one_or_none()
    if user is None or user.disabled_at is not None:
        raise unauthenticated(WRONG)
    if db.scalar(has_mfa(user.id)) and not STRONG.intersection(proven.methods):
        return new_ticket(user.id, user.session_version, proven.methods, "mfa", next_)
    return _begin(db, user, proven, circumstances, lifetime, next_)


def _begin(
    db: Session, user: User, proven: Proven, circumstances: Circumstances, lifetime: timedelta, next_: str
) -> Begun:
    organisations = enter_organisations(db, user.id)
    organisation_id = proven.organisation_id or (organisations[0] if organisations else None)
    new = NewSession(
        methods=proven.methods,
        expires_at=utc_now() + lifetime,
        organisation_id=organisation_id,
        device_id=circumstances.device_id,
        user_agent=circumstances.where.user_agent,
        provider_id=proven.provider_id,
        provider_subject=proven.provider_subject,
        provider_session=proven.provider_session,
    )
    session, cookie = sessions.begin(db, user, new)
    note(db, user, "session.begun", circumstances.where, organisations)
    return Begun(cookie, session.id, next_)


def enter_organisations(db: Session, user_id: UUID) -> list[UUID]:
    """The person's organisations, which the transaction sees from now on, beside the person."""
    found = [one.organisation_id for one in db.execute(people.organisations(user_id))]
    enter_tenants(db, [user_id, SYSTEM, *found])
    return found


def note(
    db: Session,
    user: User,
    action: str,
    where: Where,
    organisations: Sequence[UUID],
    outcome: Outcome = Outcome.success,
    **details: object,
) -> None:
    """Writes into the audit log of each of the person's organisations what the person did, or what befell it.

    Who belongs to none is written down for the operator.
    """
    target = Target("user", encode("user", user.id), user.email)
    actor = Actor("user", encode("user", user.id), user.email)
    for one in organisations or [SYSTEM]:
        record(db, Event(one, action, actor, target, where, outcome, details))
