"""Statements about portal tokens."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import Insert, insert

from app.models import PortalExpiry, RevokedPortalToken


def revoke(environment_id: UUID, token_id: UUID, expires_at: datetime) -> Insert:
    """Revokes a portal token until it would have ended by itself; doing so again changes nothing."""
    row = insert(RevokedPortalToken).values(environment_id=environment_id, token_id=token_id, expires_at=expires_at)
    return row.on_conflict_do_nothing()


def expire(
    environment_id: UUID, application_id: UUID, expiry_id: UUID, session_id: str | None, delay: timedelta
) -> Insert:
    """Ends the portal tokens of an application that were made before now, after a delay."""
    return insert(PortalExpiry).values(
        environment_id=environment_id,
        application_id=application_id,
        id=expiry_id,
        session_id=session_id,
        made_before=func.now(),
        takes_effect_at=func.now() + delay,
    )
