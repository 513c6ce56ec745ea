"""Statements about event types; the tenant comes first in each."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Select, Text, Update, cast, delete, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningDelete

from app.models import EventType

Values = Mapping[str, Any]
NEW = literal_column("xmax = 0", Boolean)
"""Of a row that an upsert returns: whether it was inserted."""


def visible(environment_id: UUID, flags: Collection[str] | None, *, archived: bool) -> Select[EventType]:
    """Those that a holder of these feature flags sees (None: all), in no order; the archived ones too if asked for."""
    statement = select(EventType).where(EventType.environment_id == environment_id)
    if not archived:
        statement = statement.where(EventType.archived.is_(False))
    if flags is None:
        return statement
    held = cast(sorted(flags), ARRAY(Text))
    return statement.where(
        or_(func.coalesce(func.cardinality(EventType.feature_flags), 0) == 0, EventType.feature_flags.op("&&")(held))
    )


def named(environment_id: UUID, flags: Collection[str] | None, name: str) -> Select[EventType]:
    """One of them, archived or not."""
    return visible(environment_id, flags, archived=True).where(EventType.name == name)


def add(environment_id: UUID, name: str, values: Values) -> Insert:
    """Adds an event type, or brings back an archived one as this; no row comes back when there is one."""
    return _upsert(environment_id, name, values, only_archived=True)


def put(environment_id: UUID, name: str, values: Values) -> Insert:
    """Adds or replaces an event type."""
    return _upsert(environment_id, name, values, only_archived=False)


def _upsert(environment_id: UUID, name: str, values: Values, *, only_archived: bool) -> Insert:
    return (
        insert(EventType)
        .values(environment_id=environment_id, name=name, **values)
        .on_conflict_do_update(
            index_elements=["environment_id", "name"],
            set_={**values, "updated_at": func.now(), "version": EventType.version + 1},
            where=EventType.archived.is_(True) if only_archived else None,
        )
    )


def change(environment_id: UUID, name: str, values: Values) -> Update:
    """Changes an event type."""
    mine = (EventType.environment_id == environment_id, EventType.name == name)
    return update(EventType).where(*mine).values(**values, version=EventType.version + 1)


def lock(environment_id: UUID, name: str) -> Select[EventType]:
    """One event type, which nobody else changes until the transaction ends."""
    return named(environment_id, None, name).with_for_update()


def expunge(environment_id: UUID, name: str) -> ReturningDelete[str]:
    """Removes an event type; its name comes back."""
    mine = (EventType.environment_id == environment_id, EventType.name == name)
    return delete(EventType).where(*mine).returning(EventType.name)
