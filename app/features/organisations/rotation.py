"""Turns the secrets of a key: a new one, while the old one is good for a while longer; runs under the key's lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import api_key
from app.features.organisations import queries
from app.features.organisations.errors import key_ended, last_secret, rotation_in_progress
from app.features.organisations.operations import add_secret
from app.kit.encryption import KeyRing
from app.kit.errors import not_found
from app.models import ApiKey, ApiKeySecret

MOST_LIVE = 2
DEFAULT_OVERLAP = 86400
LONGEST_OVERLAP = 7 * 86400


@dataclass(frozen=True, slots=True)
class Described:
    """A key, the kind of its environment, and for how many days its organisation lets a secret be good."""

    key: ApiKey
    environment: api_key.Environment
    key_days: int | None

    @classmethod
    def of(cls, row: Any) -> Self:  # noqa: ANN401 a row of queries.described
        """What a row tells."""
        return cls(row[0], row[1], row[2])

    def ends_at(self, secret: ApiKeySecret) -> datetime | None:
        """When one of its secrets ends; None is never."""
        return api_key.ends_at(secret.created_at, secret.expires_at, self.key.expires_at, self.key_days)

    def is_live(self, secret: ApiKeySecret, now: datetime) -> bool:
        """Whether one of its secrets is in force."""
        end = self.ends_at(secret)
        return end is None or end > now

    def has_ended(self, now: datetime) -> bool:
        """Whether it was revoked or has expired."""
        return self.key.revoked_at is not None or (self.key.expires_at is not None and self.key.expires_at <= now)


def find(db: Session, organisation_id: UUID, key_id: UUID, *, lock: bool = False) -> Described:
    """A key of the organisation. Raises `not_found`."""
    row = db.execute(queries.named(organisation_id, key_id, lock=lock)).one_or_none()
    if row is None:
        raise not_found("API key")
    return Described.of(row)


def secrets(db: Session, key: ApiKey) -> Sequence[ApiKeySecret]:
    """The secrets of a key, the newest first."""
    return db.scalars(queries.secrets(key.organisation_id, [key.id])).all()


def rotate(db: Session, found: Described, overlap: timedelta, ring: KeyRing) -> str:
    """Gives a locked key a new secret, which is returned; the old one ends when the overlap is over.

    Raises `key_ended`, and `rotation_in_progress` while two are in force.
    """
    key, now = found.key, db.scalars(queries.now()).one()
    if found.has_ended(now):
        raise key_ended()
    db.execute(queries.drop_ended(key.organisation_id, key.id))
    live = [one for one in secrets(db, key) if found.is_live(one, now)]
    if len(live) >= MOST_LIVE:
        raise rotation_in_progress(live[-1].id)
    for old in live:
        old.expires_at = min(old.expires_at or now + overlap, now + overlap)
    _touch(db, key, now)
    return add_secret(db, key, found.environment, ring if key.signs else None)


def end_secret(db: Session, found: Described, secret_id: UUID) -> bool:
    """Ends a secret of a locked key at once; False for one that had ended. Raises `not_found`, `last_secret`."""
    now = db.scalars(queries.now()).one()
    every = secrets(db, found.key)
    ended = next((one for one in every if one.id == secret_id), None)
    if ended is None:
        raise not_found("Secret")
    if not found.is_live(ended, now):
        return False
    if not any(one is not ended and found.is_live(one, now) for one in every):
        raise last_secret()
    ended.expires_at = now
    _touch(db, found.key, now)
    return True


def _touch(db: Session, key: ApiKey, now: datetime) -> None:
    """What its secrets are is part of what callers see of a key: it has a new version."""
    key.updated_at = now
    db.flush()
