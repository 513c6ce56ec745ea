"""Event types over HTTP."""

from typing import Annotated, Any

from fastapi import Path, Query, Response

from app.auth.audit import Trailing
from app.auth.dependencies import CanReadEventTypes, CanWriteEventTypes, Db
from app.auth.idempotency import Answer, OnceOnly
from app.domain.audit import Target
from app.features.event_types import queries, service
from app.features.event_types.schemas import EventTypeIn, EventTypeOut, EventTypePatch, EventTypeUpdate, tag
from app.kit.conditional import IfMatch, IfNoneMatch
from app.kit.paging import Listing, PageQuery, Seal, paginate
from app.kit.query import Reference
from app.kit.routing import Router
from app.kit.wire import Name
from app.models import EventType

router = Router(tag="event-type", prefix="/event-type")
TypeName = Annotated[Reference, Path(description="The event type's name")]
NewName = Annotated[Name, Path(description="The event type's name")]


@router.get("", response_model=Listing[EventTypeOut])
async def list_(
    caller: CanReadEventTypes,
    db: Db,
    page: PageQuery,
    include_archived: Annotated[bool, Query(description="Show archived ones too")] = False,  # noqa: FBT002
    with_content: Annotated[bool, Query(description="Show the schemas")] = False,  # noqa: FBT002
) -> dict[str, Any]:
    """The organisation's event types by name; a portal token sees those that its feature flags open."""
    environment_id = caller.environment_id
    statement = queries.visible(environment_id, caller.feature_flags, archived=include_archived)
    seal = Seal("event-types", (environment_id,))

    def shape(row: EventType) -> EventTypeOut:
        return EventTypeOut.of(row, with_content=with_content)

    return await paginate(db, statement, EventType.name, page, seal=seal, shape=shape)


@router.post("", response_model=EventTypeOut, status_code=201)
async def create(body: EventTypeIn, caller: CanWriteEventTypes, db: Db, once: OnceOnly, trail: Trailing) -> Response:
    """Adds an event type, or brings back an archived one. 409 `event_type_exists` when there is one."""

    async def work() -> Answer:
        row = await service.create(db, caller.environment_id, body)
        trail.record("event_type.created", _target(row.name))
        return _answer(row, 201)

    return await once(201, work)


@router.get("/{event_type_name}", response_model=EventTypeOut)
async def get(event_type_name: TypeName, caller: CanReadEventTypes, db: Db, known: IfNoneMatch) -> Response:
    """One event type, archived or not."""
    found = await service.find(db, caller.environment_id, caller.feature_flags, event_type_name)
    return known.answer(tag(found), EventTypeOut.of(found))


@router.put("/{event_type_name}", response_model=EventTypeOut, responses={201: {"model": EventTypeOut}})
async def upsert(
    event_type_name: NewName,
    body: EventTypeUpdate,
    caller: CanWriteEventTypes,
    db: Db,
    wanted: IfMatch,
    trail: Trailing,
) -> Response:
    """Replaces an event type, or adds it (201); with If-Match only the former."""
    row, new = await service.put(db, caller.environment_id, event_type_name, body, wanted)
    trail.record("event_type.created" if new else "event_type.changed", _target(row.name))
    return _answer(row, 201 if new else 200).response()


@router.patch("/{event_type_name}", response_model=EventTypeOut)
async def patch(
    event_type_name: TypeName,
    body: EventTypePatch,
    caller: CanWriteEventTypes,
    db: Db,
    wanted: IfMatch,
    trail: Trailing,
) -> Response:
    """Changes the given fields; null clears."""
    row = await service.patch(db, caller.environment_id, event_type_name, body, wanted)
    trail.record("event_type.changed", _target(row.name), fields=body.model_fields_set)
    return _answer(row).response()


@router.delete("/{event_type_name}", status_code=204)
async def delete(
    event_type_name: TypeName,
    caller: CanWriteEventTypes,
    db: Db,
    wanted: IfMatch,
    trail: Trailing,
    expunge: Annotated[bool, Query(description="Delete it instead of archiving it")] = False,  # noqa: FBT002
) -> None:
    """Archives an event type: it is hidden from lists, and messages of it are still sent."""
    await service.remove(db, caller.environment_id, event_type_name, wanted, expunge=expunge)
    trail.record("event_type.deleted" if expunge else "event_type.archived", _target(event_type_name))


def _target(name: str) -> Target:
    return Target("event_type", name)


def _answer(row: EventType, status: int = 200) -> Answer:
    return Answer(status, EventTypeOut.of(row), tag(row))
