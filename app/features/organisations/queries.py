"""Statements about organisations, their environments and their API keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Delete, Select, Update, delete, func, select, update

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


def revoke(organisation_id: UUID, key_id: UUID) -> Update:
    """Ends a key that is not revoked yet; its id comes back."""
    mine = (ApiKey.organisation_id == organisation_id, ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
    values = {"revoked_at": func.now(), "version": ApiKey.version + 1}
    return update(ApiKey).where(*mine).values(**values).returning(ApiKey.id)


def details(organisation_id: UUID) -> Select[Organisation]:
    """An organisation that is not deleted."""
    return select(Organisation).where(Organisation.id == organisation_id, Organisation.deleted_at.is_(None))


def environments(organisation_id: UUID) -> Select[Environment]:
    """The environments of an organisation, live first."""
    return select(Environment).where(Environment.organisation_id == organisation_id).order_by(Environment.kind)


def described(organisation_id: UUID) -> Select[ApiKey, str, int | None]:
    """Every key with the kind of its environment and the days that its organisation gives a secret, in no order."""
    return (
        select(ApiKey, Environment.kind, Organisation.key_days)
        .join(Environment, Environment.id == ApiKey.environment_id)
        .join(Organisation, Organisation.id == ApiKey.organisation_id)
        .where(ApiKey.organisation_id == organisation_id)
    )


def listed(organisation_id: UUID, kind: str | None, *, revoked: bool) -> Select[ApiKey, str, int | None]:
    """The keys of one kind of environment (None: all), the revoked ones too if asked for, in no order."""
    statement = described(organisation_id)
    if kind is not None:
        statement = statement.where(Environment.kind == kind)
    return statement if revoked else statement.where(ApiKey.revoked_at.is_(None))


def named(organisation_id: UUID, key_id: UUID, *, lock: bool) -> Select[ApiKey, str, int | None]:
    """One of the keys; locked, nobody else gives it secrets until the transaction ends."""
    statement = described(organisation_id).where(ApiKey.id == key_id)
    return statement.with_for_update(of=ApiKey) if lock else statement


def now() -> Select[datetime]:
    """The moment at which the transaction began."""
    return select(func.now())


def drop_ended(organisation_id: UUID, key_id: UUID) -> Delete:
    """Forgets the secrets of a key that have ended by themselves."""
    return delete(ApiKeySecret).where(
        ApiKeySecret.organisation_id == organisation_id,
        ApiKeySecret.key_id == key_id,
        ApiKeySecret.expires_at <= func.now(),
    )


def delete_organisation(organisation_id: UUID) -> Update:
    """Ends an organisation with all that it has; its id comes back when it was not ended before."""
    mine = (Organisation.id == organisation_id, Organisation.deleted_at.is_(None))
    return update(Organisation).where(*mine).values(deleted_at=func.now()).returning(Organisation.id)


def set_key_days(organisation_id: UUID, days: int | None) -> Update:
    """Sets for how many days a secret is good, None for ever; the id comes back."""
    mine = (Organisation.id == organisation_id, Organisation.deleted_at.is_(None))
    values = {"key_days": days, "version": Organisation.version + 1}
    return update(Organisation).where(*mine).values(**values).returning(Organisation.id)
