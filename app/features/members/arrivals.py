"""How people come in: by an invitation's link, or by the one-time link of a first owner.

The functions run in transactions that name the token's owner; hashing happens between two of them.
"""

import hmac
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.domain.audit import Actor, Event, Where
from app.domain.ids import encode
from app.domain.owned_tokens import Token
from app.domain.permissions import Role
from app.features.accounts.passwords import Rules, rules_of
from app.features.audit.operations import record
from app.features.audit.targets import invitation_target
from app.features.members import queries
from app.features.members.errors import USER, invalid_token, link_over, other_person
from app.features.people import lifecycle, operations, tokens
from app.features.people import queries as people
from app.features.people.journal import enter_organisations, note
from app.kit import changes
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.kit.errors import unauthenticated
from app.models import Invitation, User

SIGN_IN = "sign_in"
SIGN_IN_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What somebody chose who signs in for the first time."""

    name: str
    hashed: str
    where: Where


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation that is good, whose it is, and whether somebody is known by its address."""

    invitation: Invitation
    organisation: str
    user_id: UUID | None

    def rules(self, name: str) -> Rules:
        """What the newcomer's password is held against."""
        return Rules([name, self.invitation.email, self.organisation], has_mfa=False)


def invited(db: Session, token: Token) -> Invited:
    """What a link offers; the transaction names the organisation. Raises `invalid_token`."""
    found = db.scalars(queries.invitation(token.owner_id, token.id)).one_or_none()
    name = db.scalars(queries.organisation_in_force(token.owner_id)).one_or_none()
    if found is None or name is None or not hmac.compare_digest(found.digest, token.digest):
        raise invalid_token()
    if found.accepted_at is not None or found.revoked_at is not None or found.expires_at <= utc_now():
        raise invalid_token()
    return Invited(found, name, db.scalar(people.find_user(found.email_key)))


def accept(db: Session, token: Token, user_id: UUID, session_id: UUID, where: Where) -> None:
    """Lets in who is signed in as whoever was invited; the session looks at the organisation from now on.

    The transaction names both. Raises `invalid_token`, `other_person`.
    """
    offer = invited(db, token)
    user = db.scalars(people.user(user_id)).one()
    if offer.user_id != user.id:
        raise other_person(offer.invitation.email)
    _let_in(db, offer, user, where)
    db.execute(queries.look_at(user.id, session_id, token.owner_id))


def join_as_newcomer(db: Session, token: Token, newcomer: Newcomer) -> UUID:
    """Makes the person of the invitation's address, who is a member from now on, and returns its id.

    Raises `invalid_token`, also where somebody has the address by now.
    """
    offer = invited(db, token)
    if offer.user_id is not None:
        raise invalid_token()
    user = operations.create_user(db, offer.invitation.email, newcomer.name, verified=True)
    enter_tenants(db, [token.owner_id, user.id])
    try:
        db.flush()
    except IntegrityError:
        raise invalid_token() from None
    operations.set_password(db, user.id, newcomer.hashed)
    _let_in(db, offer, user, newcomer.where)
    return user.id


def first_link(db: Session, user: User, public_url: str) -> str | None:
    """The link by which somebody signs in for the first time, the only one; None for who can sign in already."""
    if lifecycle.can_sign_in(db, user.id):
        return None
    tokens.void(db, user.id, SIGN_IN)
    return f"{public_url.rstrip('/')}/sign-in/link?token={tokens.issue(db, user.id, SIGN_IN, SIGN_IN_LIFETIME)}"


def expected(db: Session, token: Token) -> tuple[User, Rules]:
    """Whom a one-time link is for, and the rules for the password. Raises Problem `unauthenticated`."""
    row = tokens.look(db, token, SIGN_IN)
    user = None if row is None else db.scalars(people.user(token.owner_id)).one_or_none()
    if user is None or user.disabled_at is not None or lifecycle.can_sign_in(db, user.id):
        raise link_over()
    return user, rules_of(db, user)


def sign_in_first(db: Session, token: Token, newcomer: Newcomer) -> None:
    """Uses a one-time link up: the person has a name and a password now. Raises Problem `unauthenticated`."""
    user, _ = expected(db, token)
    if tokens.use(db, token, SIGN_IN) is None:
        raise link_over()
    user.name = newcomer.name
    operations.set_password(db, user.id, newcomer.hashed)
    changes.note(db, user.id)
    note(db, user, "user.link_used", newcomer.where, enter_organisations(db, user.id))


def _let_in(db: Session, offer: Invited, user: User, where: Where) -> None:
    if user.disabled_at is not None:
        raise unauthenticated()
    invitation = offer.invitation
    invitation.accepted_at, invitation.accepted_by = utc_now(), user.id
    there = db.scalars(people.membership(invitation.organisation_id, user.id)).one_or_none()
    # Whoever was let in by another way meanwhile keeps the role that it was given.
    if there is None:
        operations.join(db, invitation.organisation_id, user.id, Role(invitation.role))
    db.flush()
    changes.note(db, user.id, invitation.organisation_id)
    actor = Actor(USER, encode(USER, user.id), user.email)
    target = invitation_target(invitation)
    details = {"role": invitation.role}
    record(db, Event(invitation.organisation_id, "member.joined", actor, target, where, details=details))
