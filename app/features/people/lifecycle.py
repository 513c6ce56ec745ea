"""Locks people out and lets them in again, and forgets them; what they had open is over at once."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain.permissions import Role
from app.features.members import queries as members
from app.features.people import lifecycle_queries as queries
from app.features.sessions import operations as sessions
from app.kit import changes
from app.kit.clock import utc_now
from app.models import User

DISABLED, DELETED = "disabled", "deleted"


class LastOwnerError(ValueError):
    """Organisations would be left without anybody who may do everything."""

    def __init__(self, organisation_ids: Sequence[UUID]) -> None:
        super().__init__("the last owner")
        self.organisation_ids = organisation_ids


def disable(db: Session, user: User) -> bool:
    """Locks a person out: sessions, tokens, the keys that it made and the links that it was mailed end at once.

    False when that was done before.
    """
    if user.disabled_at is not None:
        return False
    user.disabled_at = utc_now()
    _end_everything(db, user, DISABLED)
    return True


def enable(db: Session, user: User) -> bool:
    """Lets a person sign in again; what was ended stays so. False when nobody had locked it out."""
    if user.disabled_at is None:
        return False
    user.disabled_at = None
    db.flush()
    changes.note(db, user.id)
    return True


def delete(db: Session, user: User) -> None:
    """Forgets a person with all that it proves itself with, and takes it out of its organisations.

    What the audit log says of it stays. LastOwnerError for somebody whom organisations cannot do without.
    """
    _require_others(db, user)
    _end_everything(db, user, DELETED)
    for statement in queries.forget(user.id):
        db.execute(statement)
    user.deleted_at = utc_now()
    user.email = user.email_key = user.name = ""
    db.flush()


def can_sign_in(db: Session, user_id: UUID) -> bool:
    """Whether the person has a password, a passkey or an identity provider to sign in by."""
    return bool(db.scalar(queries.has_a_way_in(user_id)))


def _require_others(db: Session, user: User) -> None:
    owned = db.scalars(queries.owned(user.id, Role.owner)).all()
    alone = [one for one in owned if not set(db.scalars(members.lock_owners(one))) - {user.id}]
    if alone:
        raise LastOwnerError(alone)


def _end_everything(db: Session, user: User, reason: str) -> None:
    user.session_version += 1
    db.flush()
    sessions.end_all(db, user.id, reason)
    db.execute(queries.revoke_families(user.id, reason))
    db.execute(queries.end_keys(user.id))
    db.execute(queries.void_links(user.id))
    changes.note(db, user.id)
