"""Makes organisations with their environments and API keys."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Update
from sqlalchemy.orm import Session

from app.domain import api_key
from app.domain.api_key import ENVIRONMENTS
from app.domain.permissions import Role
from app.domain.retry import validate_schedule
from app.features.deliveries.operations import cancel
from app.features.organisations import queries, usage_queries
from app.kit.changes import note as note_change
from app.kit.clock import new_id
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.models import ApiKey, ApiKeySecret, Environment, Organisation

Row = TypeVar("Row", Organisation, ApiKey)
MOST_KEY_DAYS = 3650
UNKNOWN = "there is no such organisation"
DELETED = "organisation deleted"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is to be made, by `user_id` if by a person; see ApiKey.

    With a `ring` it signs, and its text is kept sealed.
    """

    name: str
    environment: api_key.Environment
    role: Role = Role.owner
    scopes: Sequence[str] | None = None
    allowed_networks: Sequence[str] = ()
    denied_networks: Sequence[str] = ()
    expires_at: datetime | None = None
    ring: KeyRing | None = None
    user_id: UUID | None = None


def create_organisation(db: Session, name: str) -> UUID:
    """Adds an organisation with its environments; returns its id."""
    organisation = Organisation(id=new_id(), name=name)
    db.add(organisation)
    db.flush()
    _add_environments(db, organisation.id)
    return organisation.id


def ensure_organisation(db: Session, organisation_id: UUID, name: str) -> bool:
    """Whether there was no organisation of this id, so that it was made, with its environments."""
    made = db.execute(queries.add_organisation(organisation_id, name)).first() is not None
    if made:
        _add_environments(db, organisation_id)
    return made


def _add_environments(db: Session, organisation_id: UUID) -> None:
    db.add_all([Environment(id=new_id(), organisation_id=organisation_id, kind=kind) for kind in ENVIRONMENTS])
    db.flush()


def set_retry_schedule(
    db: Session, organisation_id: UUID, seconds: Sequence[int], kinds: Sequence[api_key.Environment] = ENVIRONMENTS
) -> None:
    """Sets when deliveries are tried that neither endpoint nor event type has a schedule for; empty is the default.

    ValueError for a schedule that cannot be, LookupError without such an organisation.
    """
    schedule = list(validate_schedule(seconds)) if seconds else None
    if db.execute(queries.set_retry_schedule(organisation_id, kinds, schedule)).first() is None:
        raise LookupError(UNKNOWN)


def set_key_days(db: Session, organisation_id: UUID, days: int | None) -> None:
    """Sets for how many days a secret of a key is good, None for ever. LookupError without such an organisation."""
    if db.execute(queries.set_key_days(organisation_id, days)).first() is None:
        raise LookupError(UNKNOWN)


def change(db: Session, row: Row, changes: Mapping[str, Any]) -> Row:
    """Sets columns of a row that was read before. StaleDataError when someone else has changed it meanwhile."""
    for name, value in changes.items():
        setattr(row, name, value)
    db.flush()
    db.refresh(row)
    return row


def environment_id(db: Session, organisation_id: UUID, kind: api_key.Environment) -> UUID:
    """An environment of an organisation. LookupError without such an organisation."""
    found = db.scalars(queries.environment(organisation_id, kind)).one_or_none()
    if found is None:
        raise LookupError(UNKNOWN)
    return found


def delete_organisation(db: Session, organisation_id: UUID) -> None:
    """Deletes an organisation and cancels all that it is owed; its keys are dead within a second.

    For 30 days it can be restored. LookupError without such an organisation.
    """
    environment_ids = _mark(db, organisation_id, queries.delete_organisation(organisation_id))
    for one in environment_ids:
        cancel(db, one, reason=DELETED)


def restore_organisation(db: Session, organisation_id: UUID) -> None:
    """Brings back a deleted organisation; what was cancelled stays so. LookupError when there is none, or too late."""
    _start(db, organisation_id, queries.restore_organisation(organisation_id))


def suspend_organisation(db: Session, organisation_id: UUID) -> None:
    """Shuts an organisation out: its keys are dead within a second, and what it is owed waits.

    LookupError without such an organisation.
    """
    _mark(db, organisation_id, queries.suspend_organisation(organisation_id))


def resume_organisation(db: Session, organisation_id: UUID) -> None:
    """Ends a suspension; deliveries go on. LookupError without such an organisation."""
    _start(db, organisation_id, queries.resume_organisation(organisation_id))


def _mark(db: Session, organisation_id: UUID, mark: Update) -> Sequence[UUID]:
    """Marks the organisation and tells its environments; these are returned, and seen from now on."""
    if db.execute(mark).first() is None:
        raise LookupError(UNKNOWN)
    environment_ids = [one.id for one in db.scalars(queries.environments(organisation_id))]
    enter_tenants(db, (organisation_id, *environment_ids))
    db.execute(queries.set_stopped(organisation_id))
    note_change(db, organisation_id)
    return environment_ids


def _start(db: Session, organisation_id: UUID, mark: Update) -> None:
    environment_ids = _mark(db, organisation_id, mark)
    db.execute(queries.forget_failures(environment_ids))
    db.execute(queries.open_gates(environment_ids))


def set_quota(db: Session, organisation_id: UUID, monthly_events: int | None) -> None:
    """Sets how many events are accepted in a month; None for any number. LookupError without such an organisation."""
    if db.execute(usage_queries.set_quota(organisation_id, monthly_events)).first() is None:
        raise LookupError(UNKNOWN)


def usage(db: Session, organisation_id: UUID) -> tuple[int | None, int]:
    """The quota and the events of this month. LookupError without such an organisation."""
    row = db.execute(usage_queries.standing(organisation_id)).first()
    if row is None:
        raise LookupError(UNKNOWN)
    return row.monthly_events, row.events


def create_key(db: Session, organisation_id: UUID, new: NewKey) -> tuple[ApiKey, str]:
    """Adds a key; returns it with its text, which is shown this once. LookupError without such an organisation."""
    key = ApiKey(
        organisation_id=organisation_id,
        id=new_id(),
        environment_id=environment_id(db, organisation_id, new.environment),
        name=new.name,
        role=new.role,
        scopes=None if new.scopes is None else sorted(set(new.scopes)),
        signs=new.ring is not None,
        allowed_networks=list(new.allowed_networks),
        denied_networks=list(new.denied_networks),
        expires_at=new.expires_at,
        user_id=new.user_id,
    )
    db.add(key)
    db.flush()
    return key, add_secret(db, key, new.environment, new.ring)


def add_secret(db: Session, key: ApiKey, environment: api_key.Environment, ring: KeyRing | None) -> str:
    """Gives a key one more text, which is returned and never shown again."""
    text = api_key.generate(environment, os.urandom(api_key.RANDOM_BYTES))
    secret_id = new_id()
    secret = ApiKeySecret(
        organisation_id=key.organisation_id,
        key_id=key.id,
        id=secret_id,
        digest=api_key.digest(text),
        hint=api_key.hint(text),
        sealed=None if ring is None else ring.encrypt(text.encode(), api_key.sealed_for(secret_id)),
    )
    db.add(secret)
    db.flush()
    return text


def revoke_key(db: Session, organisation_id: UUID, key_id: UUID) -> bool:
    """Ends a key, which is refused at most a second later; False when no such key is in force."""
    return db.execute(queries.revoke(organisation_id, key_id)).first() is not None
