"""The operator acts as somebody, to help: by a one-time link, for minutes, with a reason, and seen by everybody."""

from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.audit import SYSTEM, Actor, Event, Where
from app.domain.ids import encode
from app.domain.owned_tokens import Token
from app.features.audit.operations import record
from app.features.audit.targets import user_target
from app.features.people import queries as people
from app.features.people import tokens
from app.features.sessions import operations
from app.features.sessions.operations import NewSession
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.models import OneTimeToken, User

PURPOSE = "impersonation"
LINK_LIFETIME = timedelta(minutes=10)
METHODS = ("link",)
OFFERED, BEGUN = "user.impersonation_offered", "user.impersonation_begun"


@dataclass(frozen=True, slots=True)
class Offer:
    """Who acts as whom, why, and for how many minutes."""

    user: User
    operator: str
    reason: str
    minutes: int

    @classmethod
    def of(cls, user: User, row: OneTimeToken) -> "Offer":
        """What a link was made for."""
        return cls(user, row.data["operator"], row.data["reason"], int(row.data["minutes"]))


def offer(db: Session, offered: Offer) -> str:
    """Makes the token of a link, good once within ten minutes; the person's organisations are told, and the operator.

    For the operator's role.
    """
    _note(db, offered, OFFERED, Where())
    return tokens.issue(
        db,
        offered.user.id,
        PURPOSE,
        LINK_LIFETIME,
        operator=offered.operator,
        reason=offered.reason,
        minutes=str(offered.minutes),
    )


def look(db: Session, token: Token) -> Offer | None:
    """What the link opens, which it goes on to do. The transaction names the token's owner."""
    return _offer(db, tokens.look(db, token, PURPOSE))


def begin(db: Session, token: Token, where: Where) -> str | None:
    """Uses the link up: begins the session, whose cookie text comes back, and tells of it. None when it is over."""
    offered = _offer(db, tokens.use(db, token, PURPOSE))
    if offered is None:
        return None
    organisations = _enter(db, offered.user.id)
    new = NewSession(
        methods=METHODS,
        expires_at=utc_now() + timedelta(minutes=offered.minutes),
        organisation_id=next(iter(organisations), None),
        address=None if where.ip is None else ip_address(where.ip),
        user_agent=where.user_agent,
        impersonator=offered.operator,
        impersonation_reason=offered.reason,
    )
    session, cookie = operations.begin(db, offered.user, new)
    _note(db, offered, BEGUN, where, session=encode("session", session.id))
    return cookie


def _offer(db: Session, row: OneTimeToken | None) -> Offer | None:
    user = None if row is None else db.scalars(people.user(row.user_id)).one_or_none()
    if row is None or user is None or user.disabled_at is not None:
        return None
    return Offer.of(user, row)


def _enter(db: Session, user_id: UUID) -> list[UUID]:
    found = [one.organisation_id for one in db.execute(people.organisations(user_id))]
    enter_tenants(db, [user_id, SYSTEM, *found])
    return found


def _note(db: Session, offered: Offer, action: str, where: Where, **details: str) -> None:
    actor, target = Actor("operator", offered.operator, offered.operator), user_target(offered.user)
    told = {"reason": offered.reason, "minutes": offered.minutes, **details}
    for one in [*_enter(db, offered.user.id), SYSTEM]:
        record(db, Event(one, action, actor, target, where, details=told))
