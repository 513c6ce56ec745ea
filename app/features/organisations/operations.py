"""Makes organisations and their API keys; for the command line, over the worker's role."""

import os
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.domain import api_key
from app.features.organisations import queries
from app.kit.clock import new_id
from app.kit.errors import invalid, not_found
from app.models import ApiKey, Organisation


def create_organisation(db: Session, name: str) -> Organisation:
    """A new organisation. Raises Problem `invalid` for a blank name."""
    organisation = Organisation(id=new_id(), name=_named(name))
    db.add(organisation)
    db.flush()
    return organisation


def list_organisations(db: Session) -> Sequence[Organisation]:
    """Every organisation, oldest first."""
    return db.scalars(queries.organisations()).all()


def create_key(
    db: Session,
    organisation_id: UUID,
    name: str,
    *,
    environment: api_key.Environment = "live",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which is never shown again. Raises Problem `not_found` without its organisation."""
    if db.scalars(queries.organisation(organisation_id)).one_or_none() is None:
        raise not_found("Organisation")
    text = api_key.generate(environment, os.urandom(api_key.RANDOM_BYTES))
    key = ApiKey(
        organisation_id=organisation_id,
        id=new_id(),
        name=_named(name),
        digest=api_key.digest(text),
        hint=api_key.hint(text),
        expires_at=expires_at,
    )
    db.add(key)
    db.flush()
    return key, text


def list_keys(db: Session, organisation_id: UUID) -> Sequence[ApiKey]:
    """Every key of the organisation, oldest first, the revoked ones too."""
    return db.scalars(queries.keys(organisation_id)).all()


def revoke_key(db: Session, organisation_id: UUID, key_id: UUID) -> None:
    """Ends a key; it is refused at most a second later. Raises Problem `not_found` when no such key is in force."""
    if db.execute(queries.revoke(organisation_id, key_id)).first() is None:
        raise not_found("API key")


def _named(name: str) -> str:
    name = name.strip()
    if not name:
        raise invalid("name", "must not be blank")
    return name
