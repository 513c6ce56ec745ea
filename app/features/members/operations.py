"""Changes who belongs to an organisation: by the API and by pages alike, under the same rules."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.domain import email as addresses
from app.domain.audit import Actor, Event, Target, Where
from app.domain.owned_tokens import SECRET_BYTES, Token
from app.domain.permissions import GRANTED, Permission, Role, exceeds
from app.features.audit.operations import record
from app.features.audit.targets import invitation_target, user_target
from app.features.mail.letters import Letter
from app.features.mail.operations import queue
from app.features.members import queries
from app.features.members.errors import (
    already_invited,
    already_member,
    beyond_own,
    invitation_over,
    last_owner,
    sent_lately,
)
from app.features.people import queries as people
from app.kit import changes
from app.kit.clock import new_id
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.errors import invalid, not_found
from app.kit.random_bytes import RandomBytes
from app.models import Invitation, Membership, User

SIGNED_OUT = "ended by the organisation"
LIFETIME = timedelta(days=7)
NOT_AGAIN_WITHIN = timedelta(minutes=1)
_random = RandomBytes(SECRET_BYTES)


@dataclass(frozen=True, slots=True)
class Acting:
    """Who acts for an organisation: what it may there, as whom and from where it is written down.

    `tenants` are whose rows its transaction sees, the organisation among them.
    """

    organisation_id: UUID
    permissions: frozenset[Permission]
    actor: Actor
    where: Where
    tenants: tuple[UUID, ...]

    def note(self, db: Session, action: str, target: Target, **details: object) -> None:
        """Writes into the organisation's audit log what is done."""
        record(db, Event(self.organisation_id, action, self.actor, target, self.where, details=details))


@dataclass(frozen=True, slots=True)
class Member:
    """A person in an organisation."""

    membership: Membership
    user: User

    @property
    def role(self) -> Role:
        """What it may there."""
        return Role(self.membership.role)


def find(db: Session, organisation_id: UUID, user_id: UUID) -> Member:
    """A member. Raises `not_found`."""
    row = db.execute(queries.member(organisation_id, user_id)).one_or_none()
    if row is None:
        raise not_found("Member")
    return Member(*row)


def change_role(db: Session, acting: Acting, found: Member, role: Role) -> None:
    """Gives a member another role, from its next request on. Raises `insufficient_scope`, `last_owner`."""
    _require_reach(acting, found.role, role)
    if found.role is Role.owner and role is not Role.owner:
        _require_another_owner(db, acting.organisation_id, found.user.id)
    before, found.membership.role = found.role, role
    db.flush()
    db.refresh(found.membership)
    changes.note(db, found.user.id, acting.organisation_id)
    acting.note(db, "member.role_changed", user_target(found.user), role=role, before=before)


def remove(db: Session, acting: Acting, found: Member) -> None:
    """Takes a member out, with its sessions here, all tokens that clients have of it, and the keys that it made.

    Raises `insufficient_scope`, `last_owner`.
    """
    _require_reach(acting, found.role)
    _take_out(db, acting, found, "member.removed")


def end_sessions(db: Session, acting: Acting, found: Member) -> None:
    """Ends the member's sessions here; it may sign in again. Raises `insufficient_scope`."""
    _require_reach(acting, found.role)
    enter_tenants(db, {*acting.tenants, found.user.id})
    ended = db.scalars(queries.end_sessions(acting.organisation_id, found.user.id, SIGNED_OUT)).all()
    changes.note(db, found.user.id)
    acting.note(db, "member.sessions_ended", user_target(found.user), count=len(ended))


def leave(db: Session, acting: Acting, found: Member) -> None:
    """Lets a member go, whatever its role. Raises `last_owner`."""
    _take_out(db, acting, found, "member.left")


def invite(db: Session, ring: KeyRing, acting: Acting, address: str, role: Role) -> Invitation:
    """Offers a role to whoever reads the address's mail. Raises `insufficient_scope`, `invalid`, `conflict`."""
    _require_reach(acting, role)
    key = addresses.key(address)
    if key is None:
        raise invalid("email", "is no mail address")
    _require_stranger(db, acting.organisation_id, key)
    now = db.scalars(queries.now()).one()
    made = Invitation(
        organisation_id=acting.organisation_id,
        id=new_id(),
        email=address.strip(),
        email_key=key,
        role=role,
        digest=b"",
        invited_by=acting.actor.id,
        sent_at=now,
        expires_at=now + LIFETIME,
    )
    token = _renewed(made)
    try:
        with db.begin_nested():
            db.add(made)
    except IntegrityError:
        raise already_invited() from None
    db.refresh(made)
    _send(db, ring, acting, made, token)
    acting.note(db, "member.invited", invitation_target(made), role=role)
    return made


def send_again(db: Session, ring: KeyRing, acting: Acting, found: Invitation) -> None:
    """Sends a locked invitation once more, with another link; the one of before opens nothing.

    Raises `insufficient_scope`, `invitation_over`, `limit_reached` within a minute.
    """
    _require_reach(acting, Role(found.role))
    _require_open(found)
    now = db.scalars(queries.now()).one()
    rest = found.sent_at + NOT_AGAIN_WITHIN - now
    if rest > timedelta():
        raise sent_lately(rest.total_seconds())
    found.sent_at, found.expires_at = now, now + LIFETIME
    token = _renewed(found)
    db.flush()
    db.refresh(found)
    _send(db, ring, acting, found, token)
    acting.note(db, "member.invited", invitation_target(found), role=found.role, again=True)


def revoke(db: Session, acting: Acting, found: Invitation) -> None:
    """Takes a locked invitation back; one that is over stays as it was. Raises `insufficient_scope`."""
    _require_reach(acting, Role(found.role))
    if found.accepted_at is None and found.revoked_at is None:
        found.revoked_at = db.scalars(queries.now()).one()
        db.flush()
        acting.note(db, "invitation.revoked", invitation_target(found))


def find_invitation(db: Session, organisation_id: UUID, invitation_id: UUID) -> Invitation:
    """An invitation, locked. Raises `not_found`."""
    found = db.scalars(queries.invitation(organisation_id, invitation_id)).one_or_none()
    if found is None:
        raise not_found("Invitation")
    return found


def _require_reach(acting: Acting, *roles: Role) -> None:
    """Raises `insufficient_scope` unless whoever acts may all that these roles may."""
    for role in roles:
        if more := exceeds(acting.permissions, GRANTED[role]):
            raise beyond_own(f"The role {role} has permissions that you lack: {', '.join(sorted(more))}")


def _require_another_owner(db: Session, organisation_id: UUID, user_id: UUID) -> None:
    if not set(db.scalars(queries.lock_owners(organisation_id))) - {user_id}:
        raise last_owner()


def _require_open(found: Invitation) -> None:
    if found.accepted_at is not None or found.revoked_at is not None:
        raise invitation_over()


def _require_stranger(db: Session, organisation_id: UUID, key: str) -> None:
    """Raises `already_member`, `already_invited`; an invitation that is over by itself makes room."""
    user_id = db.scalar(people.find_user(key))
    if user_id is not None and db.scalars(people.membership(organisation_id, user_id)).one_or_none() is not None:
        raise already_member()
    open_one = db.scalars(queries.open_invitation(organisation_id, key)).one_or_none()
    now = db.scalars(queries.now()).one()
    if open_one is not None and open_one.expires_at > now:
        raise already_invited()
    if open_one is not None:
        open_one.revoked_at = now
        db.flush()


def _take_out(db: Session, acting: Acting, found: Member, action: str) -> None:
    organisation_id, user = acting.organisation_id, found.user
    if found.role is Role.owner:
        _require_another_owner(db, organisation_id, user.id)
    keys = db.scalars(queries.end_keys(organisation_id, user.id)).all()
    acting.note(db, action, user_target(user), role=found.role, keys=len(keys))
    # What of it is the person's own is seen only by whoever names the person.
    enter_tenants(db, {*acting.tenants, user.id})
    db.execute(queries.revoke_families(organisation_id, user.id))
    db.execute(queries.forget_consents(organisation_id, user.id))
    db.execute(queries.end_sessions(organisation_id, user.id))
    db.execute(queries.remove(organisation_id, user.id))
    db.expunge(found.membership)
    changes.note(db, user.id, organisation_id)


def _renewed(invitation: Invitation) -> Token:
    """Another secret for its link."""
    token = Token(invitation.organisation_id, invitation.id, _random())
    invitation.digest = token.digest
    return token


def _send(db: Session, ring: KeyRing, acting: Acting, invitation: Invitation, token: Token) -> None:
    values = {
        "organisation": db.scalars(queries.organisation_in_force(invitation.organisation_id)).one(),
        "inviter": acting.actor.label or "Somebody who runs it",
        "role": invitation.role,
        "token": token.text(),
    }
    queue(db, ring, invitation.organisation_id, Letter("invitation", invitation.email, values))
