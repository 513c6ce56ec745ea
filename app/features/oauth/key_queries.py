"""Statements about the keys that tokens are signed with."""

from datetime import datetime

from sqlalchemy import Delete, Select, delete, func, or_, select

from app.domain.audit import SYSTEM
from app.models import SigningKey

LOCK = 0x6A776B73  # 'jwks': the class of the advisory lock under which keys are made


def in_force() -> Select[SigningKey]:
    """The keys that verify, the oldest first."""
    return (
        select(SigningKey)
        .where(
            SigningKey.organisation_id == SYSTEM,
            SigningKey.revoked_at.is_(None),
            or_(SigningKey.verifies_until.is_(None), SigningKey.verifies_until > func.now()),
        )
        .order_by(SigningKey.signs_from, SigningKey.id)
    )


def every() -> Select[SigningKey]:
    """All keys that are remembered, the oldest first."""
    return select(SigningKey).order_by(SigningKey.signs_from, SigningKey.id)


def lock() -> Select[None]:
    """Whoever has it makes keys, until the transaction ends."""
    return select(func.pg_advisory_xact_lock(LOCK, 0))


def now() -> Select[datetime]:
    """Now, by the database's clock, also within a long transaction."""
    return select(func.clock_timestamp())


def over(now: datetime) -> Delete:
    """Forgets the keys that verify nothing any more."""
    return delete(SigningKey).where(SigningKey.organisation_id == SYSTEM, SigningKey.verifies_until <= now)
