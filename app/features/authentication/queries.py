"""Statements about portal tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import Insert, insert

from app.models import RevokedPortalToken


def revoke(organisation_id: UUID, token_id: UUID, expires_at: datetime) -> Insert:
    """Revokes a portal token until it would have ended by itself; doing so again changes nothing."""
    row = insert(RevokedPortalToken).values(organisation_id=organisation_id, token_id=token_id, expires_at=expires_at)
    return row.on_conflict_do_nothing()
