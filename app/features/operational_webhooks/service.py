"""What an organisation does with its operational endpoints, which are endpoints of a hidden application."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from app.domain.destinations import Destinations
from app.features.endpoints import operations as endpoints
from app.features.endpoints import queries as endpoint_queries
from app.features.endpoints.errors import unknown_event_types
from app.features.endpoints.operations import Changes, NewEndpoint, ShownHeaders
from app.features.operational_webhooks import queries
from app.features.operational_webhooks.events import EVENT_TYPES
from app.features.operational_webhooks.schemas import (
    OperationalWebhookEndpointIn,
    OperationalWebhookEndpointPatch,
    OperationalWebhookEndpointSecretIn,
    OperationalWebhookEndpointUpdate,
    tag,
)
from app.kit.clock import new_id
from app.kit.conditional import Precondition
from app.kit.encryption import KeyRing
from app.kit.errors import Problem
from app.models import Application, Endpoint

Written = OperationalWebhookEndpointUpdate | OperationalWebhookEndpointPatch


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose operational endpoints, with what it takes to write them."""

    db: AsyncSession
    ring: KeyRing
    destinations: Destinations
    application: Application


def open_application(db: Session, environment_id: UUID) -> Application:
    """The hidden application, which the first use makes."""
    found = db.scalars(queries.application(environment_id)).one_or_none()
    if found is not None:
        return found
    db.execute(queries.add_application(environment_id, new_id()))
    return db.scalars(queries.application(environment_id)).one()


def every(scope: Scope) -> Select[Endpoint]:
    """The organisation's operational endpoints, as a statement for a page."""
    return endpoint_queries.of_application(scope.application.environment_id, scope.application.id)


async def get(scope: Scope, reference: str, *, lock: bool = False) -> Endpoint:
    """The endpoint of this id or uid. Raises `not_found`."""
    return await scope.db.run_sync(endpoints.find, scope.application, reference, lock=lock)


async def create(scope: Scope, new: OperationalWebhookEndpointIn) -> Endpoint:
    """Makes an endpoint. Raises `invalid` or `conflict`."""
    made = NewEndpoint(_checked(scope, new), new.secret, new.headers or {})
    return await scope.db.run_sync(endpoints.create, scope.ring, scope.application, made)


async def put(
    scope: Scope, reference: str, wanted: OperationalWebhookEndpointUpdate, condition: Precondition
) -> tuple[Endpoint, bool]:
    """The endpoint as it is wanted, and whether it was made. A uid that is left out stays."""
    endpoint = await _seek(scope, reference)
    condition.require(tag(endpoint) if endpoint else None)
    if endpoint is None:
        try:
            return await create(scope, _as_new(wanted, endpoints.uid_for(reference))), True
        except Problem:
            # Someone else may have made it meanwhile.
            endpoint = await _seek(scope, reference)
            if endpoint is None:
                raise
    changes = _checked(scope, wanted)
    if "uid" not in wanted.model_fields_set:
        del changes["uid"]
    return await scope.db.run_sync(endpoints.change, scope.application, endpoint, changes), False


async def patch(
    scope: Scope, reference: str, wanted: OperationalWebhookEndpointPatch, condition: Precondition
) -> Endpoint:
    """Changes what is given. Raises `not_found`, `invalid`, `conflict`, `precondition_failed`."""
    endpoint = await _lock(scope, reference, condition)
    return await scope.db.run_sync(endpoints.change, scope.application, endpoint, _checked(scope, wanted))


async def delete(scope: Scope, reference: str, condition: Precondition) -> Endpoint:
    """Deletes the endpoint, which comes back, and cancels what is pending.

    Raises `not_found` or `precondition_failed`.
    """
    endpoint = await _lock(scope, reference, condition)
    await scope.db.run_sync(endpoints.delete, scope.application, endpoint)
    return endpoint


async def secret(scope: Scope, reference: str) -> str:
    """What a receiver verifies the endpoint's deliveries with. Raises `not_found`."""
    current, *_ = await scope.db.run_sync(endpoints.secrets, scope.ring, await get(scope, reference))
    return current.shown


async def rotate(scope: Scope, reference: str, wanted: OperationalWebhookEndpointSecretIn) -> tuple[Endpoint, str]:
    """Gives the endpoint a new secret; the endpoint, and what a receiver verifies with from now on."""
    endpoint = await get(scope, reference, lock=True)
    grace = timedelta(seconds=wanted.grace_seconds)
    return endpoint, (await scope.db.run_sync(endpoints.rotate, scope.ring, endpoint, wanted.key, grace)).shown


def headers(scope: Scope, endpoint: Endpoint) -> ShownHeaders:
    """The endpoint's custom headers, as far as they may be shown."""
    return endpoints.shown_headers(scope.ring, endpoint)


async def set_headers(scope: Scope, reference: str, wanted: dict[str, str], condition: Precondition) -> Endpoint:
    """Replaces the custom headers. Raises `invalid`, naming the header, or `precondition_failed`."""
    endpoint = await _lock(scope, reference, condition)
    return await scope.db.run_sync(endpoints.set_headers, scope.ring, endpoint, wanted)


async def _lock(scope: Scope, reference: str, condition: Precondition) -> Endpoint:
    """The endpoint as it is wanted, which nobody else changes until the transaction ends."""
    endpoint = await get(scope, reference, lock=True)
    condition.require(tag(endpoint))
    return endpoint


def _checked(scope: Scope, wanted: Written) -> Changes:
    """The columns that the request sets. Raises `invalid` for a URL or an event that cannot be."""
    changes = wanted.changes()
    unknown = [name for name in changes.get("event_types") or () if name not in EVENT_TYPES]
    if unknown:
        raise unknown_event_types(wanted.event_types_field, unknown)
    endpoints.require_destination(scope.destinations, changes)
    return changes


async def _seek(scope: Scope, reference: str) -> Endpoint | None:
    return await scope.db.run_sync(endpoints.seek, scope.application, reference, lock=True)


def _as_new(wanted: OperationalWebhookEndpointUpdate, uid: str) -> OperationalWebhookEndpointIn:
    values: dict[str, Any] = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    values["uid"] = wanted.uid or uid
    return OperationalWebhookEndpointIn.model_construct(_fields_set=set(values), **values)
