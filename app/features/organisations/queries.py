"""Statements about organisations, their environments and their API keys."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, Update, func, select, update

from app.models import ApiKey, ApiKeySecret, Environment, Organisation


def organisations() -> Select[UUID, str]:
    """Id and name of each organisation that is not deleted, oldest first; a tenant's transaction sees its own."""
    return select(Organisation.id, Organisation.name).where(Organisation.deleted_at.is_(None)).order_by(Organisation.id)


def organisation(organisation_id: UUID) -> Select[UUID, str]:
    """Id and name of one organisation that is not deleted."""
    return organisations().where(Organisation.id == organisation_id)


def environment(organisation_id: UUID, kind: str) -> Select[UUID]:
    """The id of an environment of an organisation that is not deleted."""
    return (
        select(Environment.id)
        .join(Organisation, Organisation.id == Environment.organisation_id)
        .where(Organisation.id == organisation_id, Organisation.deleted_at.is_(None), Environment.kind == kind)
    )


def set_retry_schedule(organisation_id: UUID, kinds: Sequence[str], schedule: Sequence[int] | None) -> Update:
    """Sets the seconds before each try of what neither endpoint nor event type has a schedule for; the ids come back.

    None means the product's own schedule.
    """
    return (
        update(Environment)
        .where(Environment.organisation_id == organisation_id, Environment.kind.in_(kinds))
        .values(retry_schedule=schedule)
        .returning(Environment.id)
    )


def keys(organisation_id: UUID) -> Select[ApiKey]:
    """Every key of an organisation, the revoked ones too, in no order."""
    return select(ApiKey).where(ApiKey.organisation_id == organisation_id)


def secrets(organisation_id: UUID, key_ids: Sequence[UUID]) -> Select[ApiKeySecret]:
    """The secrets of keys, the newest first."""
    return (
        select(ApiKeySecret)
        .where(ApiKeySecret.organisation_id == organisation_id, ApiKeySecret.key_id.in_(key_ids))
        .order_by(ApiKeySecret.id.desc())
    )


def environments(organisation_id: UUID) -> Select[Environment]:
    """The environments of an organisation."""
    return select(Environment).where(Environment.organisation_id == organisation_id).order_by(Environment.kind)


def revoke(organisation_id: UUID, key_id: UUID) -> Update:
    """Ends a key that is not revoked yet; its id comes back."""
    mine = (ApiKey.organisation_id == organisation_id, ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    return update(ApiKey).where(*mine).values(revoked_at=func.now()).returning(ApiKey.id)
