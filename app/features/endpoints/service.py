"""What callers do with an application's endpoints."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from app.domain import ids
from app.domain.destinations import Destinations
from app.features.endpoints import operations, queries
from app.features.endpoints.examples import Example, Sent, send
from app.features.endpoints.operations import Changes, NewEndpoint, ShownHeaders
from app.features.endpoints.schemas import (
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointPatch,
    EndpointRestoreIn,
    EndpointSecretRotateIn,
    EndpointStats,
    EndpointStatsRange,
    EndpointUpdate,
    EventExampleIn,
    tag,
)
from app.kit.conditional import Precondition
from app.kit.encryption import KeyRing
from app.kit.errors import Problem, invalid
from app.models import Application, Endpoint, Status

STATS_SPAN = timedelta(days=28)
MILLISECOND = timedelta(milliseconds=1)
Written = EndpointIn | EndpointUpdate | EndpointPatch


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose endpoints, and what binds the caller: `flags` are a portal token's feature flags, None is unrestricted."""

    db: AsyncSession
    ring: KeyRing
    destinations: Destinations
    application: Application
    flags: Collection[str] | None


def every(scope: Scope) -> Select[Endpoint]:
    """The application's endpoints, as a statement for a page."""
    return queries.of_application(scope.application.environment_id, scope.application.id)


async def get(scope: Scope, reference: str, *, lock: bool = False) -> Endpoint:
    """The endpoint of this id or uid. Raises `not_found`."""
    return await scope.db.run_sync(operations.find, scope.application, reference, lock=lock)


async def create(scope: Scope, new: EndpointIn) -> Endpoint:
    """Makes an endpoint. Raises `invalid` or `conflict`."""
    changes = await _checked(scope, new)
    if scope.flags is not None:
        changes["feature_flags"] = sorted(scope.flags)
    made = NewEndpoint(changes, new.secret, new.headers or {})
    return await scope.db.run_sync(operations.create, scope.ring, scope.application, made)


async def put(scope: Scope, reference: str, wanted: EndpointUpdate, condition: Precondition) -> tuple[Endpoint, bool]:
    """The endpoint as it is wanted, and whether it was made. A uid that is left out stays.

    Raises `not_found` for an id that there is none of, `invalid`, `conflict`, `precondition_failed`.
    """
    endpoint = await _seek(scope, reference)
    condition.require(tag(endpoint) if endpoint else None)
    if endpoint is None:
        try:
            return await create(scope, _as_new(wanted, operations.uid_for(reference))), True
        except Problem:
            # Someone else may have made it meanwhile.
            endpoint = await _seek(scope, reference)
            if endpoint is None:
                raise
    changes = await _checked(scope, wanted)
    if "uid" not in wanted.model_fields_set:
        del changes["uid"]
    return await _change(scope, endpoint, changes), False


async def patch(scope: Scope, reference: str, wanted: EndpointPatch, condition: Precondition) -> Endpoint:
    """Changes what is given. Raises `not_found`, `invalid`, `conflict`, `precondition_failed`."""
    endpoint = await _lock(scope, reference, condition)
    return await _change(scope, endpoint, await _checked(scope, wanted))


async def delete(scope: Scope, reference: str, condition: Precondition) -> Endpoint:
    """Deletes the endpoint, which comes back, and cancels what is pending.

    Raises `not_found` or `precondition_failed`.
    """
    endpoint = await _lock(scope, reference, condition)
    await scope.db.run_sync(operations.delete, scope.application, endpoint)
    return endpoint


def deleted(scope: Scope) -> Select[Endpoint]:
    """The endpoints that can be restored, as a statement for a page."""
    return queries.deleted(scope.application.environment_id, scope.application.id)


async def restore(scope: Scope, reference: str, wanted: EndpointRestoreIn) -> Endpoint:
    """Brings back a deleted endpoint. Raises `not_found` or `conflict`."""
    changes: Changes = {"uid": wanted.uid} if "uid" in wanted.model_fields_set else {}
    return await scope.db.run_sync(operations.restore, scope.application, reference, changes)


async def secret(scope: Scope, reference: str) -> str:
    """What a receiver verifies the endpoint's deliveries with. Raises `not_found`."""
    current, *_ = await scope.db.run_sync(operations.secrets, scope.ring, await get(scope, reference))
    return current.shown


async def rotate(scope: Scope, reference: str, wanted: EndpointSecretRotateIn) -> tuple[Endpoint, str]:
    """Gives the endpoint a new secret; the endpoint, and what a receiver verifies with from now on."""
    endpoint = await get(scope, reference, lock=True)
    grace = timedelta(seconds=wanted.grace_seconds)
    return endpoint, (await scope.db.run_sync(operations.rotate, scope.ring, endpoint, wanted.key, grace)).shown


def headers(scope: Scope, endpoint: Endpoint) -> ShownHeaders:
    """The endpoint's custom headers, as far as they may be shown."""
    return operations.shown_headers(scope.ring, endpoint)


async def set_headers(scope: Scope, reference: str, wanted: dict[str, str], condition: Precondition) -> Endpoint:
    """Replaces the custom headers. Raises `invalid`, naming the header, or `precondition_failed`."""
    endpoint = await _lock(scope, reference, condition)
    return await scope.db.run_sync(operations.set_headers, scope.ring, endpoint, wanted)


async def patch_headers(
    scope: Scope, reference: str, wanted: EndpointHeadersPatchIn, condition: Precondition
) -> Endpoint:
    """Sets and removes custom headers. Raises `invalid`, naming the header, or `precondition_failed`."""
    endpoint = await _lock(scope, reference, condition)
    given = wanted.headers, wanted.delete_headers or ()
    return await scope.db.run_sync(operations.patch_headers, scope.ring, endpoint, *given)


async def stats(scope: Scope, reference: str, window: EndpointStatsRange, now: datetime) -> EndpointStats:
    """How many of the window's deliveries are in which state. Raises `invalid` beyond 28 days."""
    first, last = _span(window, now)
    endpoint = await get(scope, reference)
    of = endpoint.environment_id, endpoint.id, ids.lowest(first), ids.lowest(last + MILLISECOND)
    counts = dict.fromkeys(Status, 0)
    for statement in (queries.count_open(*of), queries.count_finished(*of)):
        for status, count in await scope.db.execute(statement):
            counts[Status(status)] += count
    return EndpointStats(**{status.name: count for status, count in counts.items()})


async def send_example(scope: Scope, reference: str, wanted: EventExampleIn) -> tuple[Endpoint, Sent]:
    """Sends an example to this endpoint alone."""
    example = Example(wanted.event_type, wanted.example_index, wanted.payload)

    def carry_out(db: Session) -> tuple[Endpoint, Sent]:
        endpoint = operations.find(db, scope.application, reference, lock=True)
        return endpoint, send(db, scope.application, endpoint, example)

    return await scope.db.run_sync(carry_out)


async def _lock(scope: Scope, reference: str, condition: Precondition) -> Endpoint:
    """The endpoint as it is wanted, which nobody else changes until the transaction ends."""
    endpoint = await get(scope, reference, lock=True)
    condition.require(tag(endpoint))
    return endpoint


async def _change(scope: Scope, endpoint: Endpoint, changes: Changes) -> Endpoint:
    if scope.flags is not None and endpoint.feature_flags is not None:
        changes["feature_flags"] = sorted(scope.flags)
    return await scope.db.run_sync(operations.change, scope.application, endpoint, changes)


async def _checked(scope: Scope, wanted: Written) -> Changes:
    """The columns that the request sets. Raises `invalid` for a URL or an event type that cannot be."""
    changes = wanted.changes()
    operations.require_destination(scope.destinations, changes)
    await scope.db.run_sync(
        operations.require_event_types,
        scope.application.environment_id,
        changes.get("event_types"),
        flags=scope.flags,
        field=wanted.event_types_field,
    )
    return changes


async def _seek(scope: Scope, reference: str) -> Endpoint | None:
    return await scope.db.run_sync(operations.seek, scope.application, reference, lock=True)


def _as_new(wanted: EndpointUpdate, uid: str) -> EndpointIn:
    values: dict[str, Any] = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    values["uid"] = wanted.uid or uid
    return EndpointIn.model_construct(_fields_set=set(values), **values)


def _span(window: EndpointStatsRange, now: datetime) -> tuple[datetime, datetime]:
    last = window.until or now
    first = window.since or last - STATS_SPAN
    if last - first > STATS_SPAN:
        raise invalid("since", "at most 28 days before until", where="query")
    if first > last:
        raise invalid("since", "must be before until", where="query")
    return first, last
