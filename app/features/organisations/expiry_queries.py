"""Statements about secrets of keys that end soon; each for all organisations, for the workers alone."""

from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Interval, Select, and_, cast, func, select, union, update
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import ReturningUpdate

from app.models import ApiKey, ApiKeySecret, Organisation

AHEAD = timedelta(days=7)
AT_ONCE = 100


@cache
def take_ending() -> ReturningUpdate[UUID, UUID, str, UUID, str, datetime]:
    """Takes secrets that end within seven days, or whose time until then is half over, each once.

    (environment, key, its name, secret, its hint, end) come back. What another process takes is left to it.
    """
    due = _due().limit(AT_ONCE).with_for_update(of=ApiKeySecret, skip_locked=True).cte("due")
    mine = and_(
        ApiKeySecret.organisation_id == due.c.organisation_id,
        ApiKeySecret.key_id == due.c.key_id,
        ApiKeySecret.id == due.c.id,
    )
    told: Any = (due.c.environment_id, due.c.key_id, due.c.name, due.c.id, due.c.hint, due.c.ends_at)
    return update(ApiKeySecret).where(mine).values(warned_at=func.now()).returning(*told)


def _due() -> Select[*tuple[Any, ...]]:
    near, end = _near(), _end()
    shortly = func.least(cast(AHEAD, Interval), (end - _since()) / 2)
    return (
        select(
            ApiKeySecret.organisation_id,
            ApiKeySecret.key_id,
            ApiKeySecret.id,
            ApiKeySecret.hint,
            ApiKey.environment_id,
            ApiKey.name,
            end.label("ends_at"),
        )
        .join(near, _same(near.c))
        .join(ApiKey, _key_of())
        .join(Organisation, Organisation.id == ApiKeySecret.organisation_id)
        .where(
            ApiKeySecret.warned_at.is_(None),
            ApiKey.revoked_at.is_(None),
            Organisation.deleted_at.is_(None),
            Organisation.suspended_at.is_(None),
            end > func.now(),
            end - func.now() <= shortly,
        )
    )


def _near() -> CTE:
    """Secrets that may end within seven days, for each of the three reasons by an index of its own."""
    until = func.now() + cast(AHEAD, Interval)
    secret = select(ApiKeySecret.organisation_id, ApiKeySecret.key_id, ApiKeySecret.id).where(
        ApiKeySecret.warned_at.is_(None)
    )
    by_itself = secret.where(ApiKeySecret.expires_at > func.now(), ApiKeySecret.expires_at <= until)
    with_its_key = secret.join(ApiKey, _key_of()).where(
        ApiKey.revoked_at.is_(None), ApiKey.expires_at > func.now(), ApiKey.expires_at <= until
    )
    by_policy = secret.join(Organisation, Organisation.id == ApiKeySecret.organisation_id).where(
        Organisation.key_days.is_not(None),
        ApiKeySecret.created_at > func.now() - _allowed(),
        ApiKeySecret.created_at <= until - _allowed(),
    )
    return union(by_itself, with_its_key, by_policy).cte("near")


def _end() -> ColumnElement[datetime]:
    return func.least(ApiKey.expires_at, ApiKeySecret.expires_at, ApiKeySecret.created_at + _allowed())


def _allowed() -> ColumnElement[timedelta]:
    return func.make_interval(0, 0, 0, Organisation.key_days, type_=Interval())


def _since() -> ColumnElement[datetime]:
    """Since when the end was near: since the next secret came, else since this one did."""
    newer = aliased(ApiKeySecret)
    came = (
        select(func.min(newer.created_at))
        .where(_same(newer, but_id=True), newer.id > ApiKeySecret.id)
        .correlate(ApiKeySecret)
        .scalar_subquery()
    )
    return func.coalesce(came, ApiKeySecret.created_at)


def _same(other: Any, *, but_id: bool = False) -> ColumnElement[bool]:  # noqa: ANN401 columns of secrets
    key = and_(ApiKeySecret.organisation_id == other.organisation_id, ApiKeySecret.key_id == other.key_id)
    return key if but_id else and_(key, ApiKeySecret.id == other.id)


def _key_of() -> ColumnElement[bool]:
    return and_(ApiKey.organisation_id == ApiKeySecret.organisation_id, ApiKey.id == ApiKeySecret.key_id)
