"""Makes organisations and their API keys, which no caller of the API may."""

import os
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import api_key
from app.domain.retry import validate_schedule
from app.features.organisations import queries, usage_queries
from app.kit.clock import new_id
from app.models import ApiKey, Organisation

UNKNOWN = "there is no such organisation"


def create_organisation(db: Session, name: str) -> UUID:
    """Adds an organisation; returns its id."""
    organisation = Organisation(id=new_id(), name=name)
    db.add(organisation)
    db.flush()
    return organisation.id


def set_retry_schedule(db: Session, organisation_id: UUID, seconds: Sequence[int]) -> None:
    """Sets when deliveries are tried that neither endpoint nor event type has a schedule for; empty is the default.

    ValueError for a schedule that cannot be, LookupError without such an organisation.
    """
    schedule = list(validate_schedule(seconds)) if seconds else None
    if db.execute(queries.set_retry_schedule(organisation_id, schedule)).first() is None:
        raise LookupError(UNKNOWN)


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


def create_key(
    db: Session,
    organisation_id: UUID,
    name: str,
    environment: api_key.Environment,
    expires_at: datetime | None = None,
) -> str:
    """Adds a key; returns its text, which is shown this once. LookupError without such an organisation."""
    if db.execute(queries.organisation(organisation_id)).first() is None:
        raise LookupError(UNKNOWN)
    text = api_key.generate(environment, os.urandom(api_key.RANDOM_BYTES))
    key = ApiKey(
        organisation_id=organisation_id,
        id=new_id(),
        name=name,
        digest=api_key.digest(text),
        hint=api_key.hint(text),
        expires_at=expires_at,
    )
    db.add(key)
    db.flush()
    return text


def revoke_key(db: Session, organisation_id: UUID, key_id: UUID) -> bool:
    """Ends a key, which is refused at most a second later; False when no such key is in force."""
    return db.execute(queries.revoke(organisation_id, key_id)).first() is not None
