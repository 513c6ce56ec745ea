"""Whose rows a transaction changed, so that caches forget them once it is committed."""

from uuid import UUID

from sqlalchemy.orm import Session

_INFO = "changes"


def note(db: Session, *owners: UUID) -> None:
    """Notes that what is remembered of these people or organisations is over when this transaction is committed."""
    db.info.setdefault(_INFO, set()).update(owners)


def noted(db: Session) -> frozenset[UUID]:
    """Who was noted."""
    return frozenset(db.info.get(_INFO, ()))
