"""What the API does with event types."""

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Insert, Update
from sqlalchemy.ext.asyncio import AsyncSession

from app.features.event_types import queries
from app.features.event_types.schemas import EventTypeIn, EventTypePatch, EventTypeUpdate, tag
from app.kit.conditional import Precondition
from app.kit.errors import conflict, not_found
from app.kit.wire import is_name
from app.models import EventType

Row = TypeVar("Row")
FRESH = {"populate_existing": True}


async def find(db: AsyncSession, environment_id: UUID, flags: frozenset[str] | None, name: str) -> EventType:
    """The event type; Problem `not_found` when there is none, or a flag that is not held hides it."""
    statement = queries.named(environment_id, flags, name)
    return _found(await db.scalar(statement) if is_name(name) else None)


async def create(db: AsyncSession, environment_id: UUID, body: EventTypeIn) -> EventType:
    """A new event type, or an archived one brought back; Problem `conflict` when there is one."""
    values = body.columns()
    created = await _row(db, queries.add(environment_id, values.pop("name"), values))
    if created is None:
        raise conflict("An event type of this name exists", "event_type_exists")
    return created


async def put(
    db: AsyncSession, environment_id: UUID, name: str, body: EventTypeUpdate, wanted: Precondition
) -> tuple[EventType, bool]:
    """The event type as in the body, and whether it is new. Raises Problem `precondition_failed`."""
    if wanted.tags is not None:
        current = await db.scalar(queries.lock(environment_id, name))
        wanted.require(tag(current) if current else None)
    statement: Any = queries.put(environment_id, name, body.columns()).returning(EventType, queries.NEW)
    row, new = (await db.execute(statement, execution_options=FRESH)).one()
    return row, new


async def patch(
    db: AsyncSession, environment_id: UUID, name: str, body: EventTypePatch, wanted: Precondition
) -> EventType:
    """The event type with the given fields changed. Raises Problem `not_found` or `precondition_failed`."""
    found = await _lock(db, environment_id, name, wanted)
    values = body.columns(body.model_fields_set)
    return _found(await _row(db, queries.change(environment_id, name, values))) if values else found


async def remove(db: AsyncSession, environment_id: UUID, name: str, wanted: Precondition, *, expunge: bool) -> None:
    """Archives the event type, or deletes it for good. Raises Problem `not_found` or `precondition_failed`."""
    await _lock(db, environment_id, name, wanted)
    if expunge:
        _found((await db.execute(queries.expunge(environment_id, name))).first())
    else:
        _found(await _row(db, queries.change(environment_id, name, {"archived": True})))


async def _lock(db: AsyncSession, environment_id: UUID, name: str, wanted: Precondition) -> EventType:
    """The event type as it is wanted, which nobody else changes until the transaction ends."""
    found = _found(await db.scalar(queries.lock(environment_id, name)) if is_name(name) else None)
    wanted.require(tag(found))
    return found


async def _row(db: AsyncSession, statement: Insert | Update) -> EventType | None:
    returning: Any = statement.returning(EventType)
    row: EventType | None = await db.scalar(returning, execution_options=FRESH)
    return row


def _found(row: Row | None) -> Row:
    if row is None:
        raise not_found("Event type")
    return row
