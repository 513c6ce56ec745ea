"""Statements about organisations and their API keys."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, Update, func, select, update

from app.models import ApiKey, Organisation


def organisations() -> Select[UUID, str]:
    """Id and name of each organisation that is not deleted, oldest first; a tenant's transaction sees its own."""
    return select(Organisation.id, Organisation.name).where(Organisation.deleted_at.is_(None)).order_by(Organisation.id)


def organisation(organisation_id: UUID) -> Select[UUID, str]:
    """Id and name of one organisation that is not deleted."""
    return organisations().where(Organisation.id == organisation_id)


def set_retry_schedule(organisation_id: UUID, schedule: Sequence[int] | None) -> Update:
    """Sets the seconds before each try of what neither endpoint nor event type has a schedule for; the id comes back.

    None means the product's own schedule.
    """
    mine = (Organisation.id == organisation_id, Organisation.deleted_at.is_(None))
    return update(Organisation).where(*mine).values(retry_schedule=schedule).returning(Organisation.id)


def keys(organisation_id: UUID) -> Select[ApiKey]:
    """Every key of an organisation, oldest first, the revoked ones too."""
    return select(ApiKey).where(ApiKey.organisation_id == organisation_id).order_by(ApiKey.id)


def revoke(organisation_id: UUID, key_id: UUID) -> Update:
    """Ends a key that is not revoked yet; its id comes back."""
    mine = (ApiKey.organisation_id == organisation_id, ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    return update(ApiKey).where(*mine).values(revoked_at=func.now()).returning(ApiKey.id)
