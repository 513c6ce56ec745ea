"""Statements about organisations, their environments and their API keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Delete, Select, Update, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from app.domain.lifecycle import RESTORABLE
from app.models import ApiKey, ApiKeySecret, EndpointGate, EndpointHealth, Environment, Organisation


def organisations() -> Select[UUID, str]:
    """Id and name of each organisation that is not deleted, oldest first; a tenant's transaction sees its own."""
    return select(Organisation.id, Organisation.name).where(Organisation.deleted_at.is_(None)).order_by(Organisation.id)


def organisation(organisation_id: UUID) -> Select[UUID, str]:
    """Id and name of one organisation that is not deleted."""
    return organisations().where(Organisation.id == organisation_id)


def every_organisation() -> Select[Organisation]:
    """Every organisation, the deleted ones too as long as they can be restored, oldest first."""
    return select(Organisation).order_by(Organisation.id)


def add_organisation(organisation_id: UUID, name: str) -> ReturningInsert[UUID]:
    """Makes an organisation of this id; the id comes back, unless it is there already."""
    new = insert(Organisation).values(id=organisation_id, name=name)
    return new.on_conflict_do_nothing(index_elements=["id"]).returning(Organisation.id)


def delete_organisation(organisation_id: UUID) -> Update:
    """Marks an organisation as deleted; its id comes back, unless it is deleted already."""
    return _mark(organisation_id, {"deleted_at": func.now()}).where(Organisation.deleted_at.is_(None))


def restore_organisation(organisation_id: UUID) -> Update:
    """Brings back an organisation that can be restored; its id comes back."""
    return _mark(organisation_id, {"deleted_at": None}).where(Organisation.deleted_at > func.now() - RESTORABLE)


def suspend_organisation(organisation_id: UUID) -> Update:
    """Marks an organisation as suspended, since when it was first; its id comes back, unless it is deleted."""
    since = func.coalesce(Organisation.suspended_at, func.now())
    return _mark(organisation_id, {"suspended_at": since}).where(Organisation.deleted_at.is_(None))


def resume_organisation(organisation_id: UUID) -> Update:
    """Ends a suspension; the organisation's id comes back, unless it is deleted."""
    return _mark(organisation_id, {"suspended_at": None}).where(Organisation.deleted_at.is_(None))


def set_stopped(organisation_id: UUID) -> Update:
    """Tells the environments whether, and since when, nothing is delivered."""
    since = select(func.coalesce(Organisation.deleted_at, Organisation.suspended_at))
    stopped_at = since.where(Organisation.id == organisation_id).scalar_subquery()
    mine = Environment.organisation_id == organisation_id
    return update(Environment).where(mine).values(stopped_at=stopped_at, updated_at=Environment.updated_at)


def open_gates(environment_ids: Sequence[UUID]) -> Update:
    """Lets what waits behind the gates of running environments be looked at now."""
    running = select(Environment.id).where(Environment.id.in_(environment_ids), Environment.stopped_at.is_(None))
    return update(EndpointGate).where(EndpointGate.environment_id.in_(running)).values(next_at=func.now())


def forget_failures(environment_ids: Sequence[UUID]) -> Update:
    """Lets no endpoint be disabled for having failed since before its organisation was stopped."""
    failing = (EndpointHealth.environment_id.in_(environment_ids), EndpointHealth.fail_since.is_not(None))
    return update(EndpointHealth).where(*failing).values(fail_since=None)


def _mark(organisation_id: UUID, values: Mapping[str, Any]) -> Update:
    return (
        update(Organisation)
        .where(Organisation.id == organisation_id)
        .values(**values, version=Organisation.version + 1)
        .returning(Organisation.id)
    )


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


def set_key_days(organisation_id: UUID, days: int | None) -> Update:
    """Sets for how many days a secret is good, None for ever; the id comes back."""
    mine = (Organisation.id == organisation_id, Organisation.deleted_at.is_(None))
    values = {"key_days": days, "version": Organisation.version + 1}
    return update(Organisation).where(*mine).values(**values).returning(Organisation.id)
