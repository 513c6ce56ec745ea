"""Endpoints of an application, over HTTP."""

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request, Response, status

from app.auth.audit import Trailing
from app.auth.dependencies import AnyCaller, Db
from app.auth.idempotency import Answer, OnceOnly
from app.auth.resources import AppId, ApplicationFor
from app.domain import ids
from app.domain.permissions import Permission
from app.features.audit.targets import endpoint_target
from app.features.endpoints import service
from app.features.endpoints.schemas import (
    DeletedEndpointOut,
    EndpointHeadersIn,
    EndpointHeadersOut,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    EndpointRestoreIn,
    EndpointSecretOut,
    EndpointSecretRotateIn,
    EndpointStats,
    EndpointStatsRange,
    EndpointUpdate,
    EventExampleIn,
    ExampleOut,
    tag,
)
from app.features.endpoints.service import Scope
from app.kit.clock import utc_now
from app.kit.conditional import IfMatch, IfNoneMatch
from app.kit.openapi import problems
from app.kit.paging import Listing, Order, PageQuery, Seal, paginate
from app.kit.query import Reference
from app.kit.routing import Router
from app.models import Endpoint

router = Router(tag="endpoint", prefix="/app/{app_id}/endpoint")
deleted = Router(tag="endpoint", prefix="/deleted/app/{app_id}/endpoint")
EndpointId = Annotated[Reference, Path(description="The endpoint's id or uid")]
CREATED: dict[int | str, dict[str, Any]] = {201: {"model": EndpointOut, "description": "It was made"}}


class ScopeFor:
    """A dependency: whose endpoints the request is about, for a caller that holds `permission`."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission
        self._application = ApplicationFor(permission)

    async def __call__(self, request: Request, app_id: AppId, db: Db, caller: AnyCaller) -> Scope:
        """The scope. Raises Problem `not_found` or `forbidden`."""
        application = await self._application(app_id, db, caller)
        state = request.app.state
        return Scope(
            db, state.keyring, state.destinations.of(caller.organisation_id), application, caller.feature_flags
        )


Readable = Annotated[Scope, Depends(ScopeFor(Permission.endpoint_read))]
Writable = Annotated[Scope, Depends(ScopeFor(Permission.endpoint_write))]
Testable = Annotated[Scope, Depends(ScopeFor(Permission.endpoint_test))]
WithSecrets = Annotated[Scope, Depends(ScopeFor(Permission.endpoint_secret_read))]
WithSecretsToTurn = Annotated[Scope, Depends(ScopeFor(Permission.endpoint_secret_write))]
WithDeliveries = Annotated[Scope, Depends(ScopeFor(Permission.delivery_read))]


@router.get("")
async def list_(target: Readable, page: PageQuery) -> Listing[EndpointOut]:
    """The application's endpoints, the newest first unless asked otherwise."""
    owner = target.application.environment_id, target.application.id
    found = await paginate(
        target.db,
        service.every(target),
        Endpoint.id,
        page,
        seal=Seal("endpoints", owner),
        shape=EndpointOut.of,
        order=Order.descending,
    )
    return Listing[EndpointOut](**found)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=EndpointOut)
async def create(target: Writable, new: EndpointIn, once: OnceOnly, trail: Trailing) -> Response:
    """Makes an endpoint, with a secret of its own unless one is given."""

    async def work() -> Answer:
        endpoint = await service.create(target, new)
        trail.record("endpoint.created", endpoint_target(endpoint))
        return _answer(endpoint, status.HTTP_201_CREATED)

    return await once(status.HTTP_201_CREATED, work)


@router.get("/{endpoint_id}", response_model=EndpointOut)
async def get(target: Readable, endpoint_id: EndpointId, known: IfNoneMatch) -> Response:
    """One endpoint."""
    endpoint = await service.get(target, endpoint_id)
    return known.answer(tag(endpoint), EndpointOut.of(endpoint))


@router.put("/{endpoint_id}", response_model=EndpointOut, responses={**CREATED, **problems(409)})
async def upsert(
    target: Writable, endpoint_id: EndpointId, wanted: EndpointUpdate, condition: IfMatch, trail: Trailing
) -> Response:
    """Makes the endpoint what is given, or makes one with this uid. Its secret and headers stay."""
    endpoint, made = await service.put(target, endpoint_id, wanted, condition)
    trail.record("endpoint.created" if made else "endpoint.changed", endpoint_target(endpoint))
    return _answer(endpoint, status.HTTP_201_CREATED if made else status.HTTP_200_OK).response()


@router.patch("/{endpoint_id}", response_model=EndpointOut, responses=problems(409))
async def patch(
    target: Writable, endpoint_id: EndpointId, wanted: EndpointPatch, condition: IfMatch, trail: Trailing
) -> Response:
    """Changes what is given; null clears."""
    endpoint = await service.patch(target, endpoint_id, wanted, condition)
    trail.record("endpoint.changed", endpoint_target(endpoint), fields=wanted.model_fields_set)
    return _answer(endpoint).response()


@router.delete("/{endpoint_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete(target: Writable, endpoint_id: EndpointId, condition: IfMatch, trail: Trailing) -> None:
    """Deletes the endpoint; what is pending is cancelled. For 30 days it can be restored."""
    trail.record("endpoint.deleted", endpoint_target(await service.delete(target, endpoint_id, condition)))


@router.post("/{endpoint_id}/restore", response_model=EndpointOut)
async def restore(
    target: Writable, endpoint_id: EndpointId, wanted: EndpointRestoreIn, once: OnceOnly, trail: Trailing
) -> Response:
    """Brings back a deleted endpoint, by its id, with its secrets and headers.

    What was cancelled stays so, and can be replayed. 409 when another endpoint has its uid by now.
    """

    async def work() -> Answer:
        endpoint = await service.restore(target, endpoint_id, wanted)
        trail.record("endpoint.restored", endpoint_target(endpoint))
        return _answer(endpoint)

    return await once(status.HTTP_200_OK, work)


@deleted.get("")
async def list_deleted(target: Writable, page: PageQuery) -> Listing[DeletedEndpointOut]:
    """The application's deleted endpoints that can be restored, the newest first unless asked otherwise."""
    found = await paginate(
        target.db,
        service.deleted(target),
        Endpoint.id,
        page,
        seal=Seal("deleted-endpoints", (target.application.environment_id, target.application.id)),
        shape=DeletedEndpointOut.of,
        order=Order.descending,
    )
    return Listing[DeletedEndpointOut](**found)


@router.get("/{endpoint_id}/secret")
async def get_secret(target: WithSecrets, endpoint_id: EndpointId) -> EndpointSecretOut:
    """What a receiver verifies with: the secret, or the public half of an ed25519 key."""
    return EndpointSecretOut(key=await service.secret(target, endpoint_id))


@router.post(
    "/{endpoint_id}/secret/rotate",
    response_model=EndpointSecretOut,
    responses=problems(400),
)
async def rotate_secret(
    target: WithSecretsToTurn, endpoint_id: EndpointId, wanted: EndpointSecretRotateIn, once: OnceOnly, trail: Trailing
) -> Response:
    """Gives the endpoint a new secret; until the grace period ends, deliveries are signed with both."""

    async def work() -> EndpointSecretOut:
        endpoint, key = await service.rotate(target, endpoint_id, wanted)
        trail.record("endpoint.secret_rotated", endpoint_target(endpoint), grace_seconds=wanted.grace_seconds)
        return EndpointSecretOut(key=key)

    return await once(status.HTTP_200_OK, work, private=True)


@router.get("/{endpoint_id}/headers", response_model=EndpointHeadersOut)
async def get_headers(target: Readable, endpoint_id: EndpointId, known: IfNoneMatch) -> Response:
    """The custom headers; values that are credentials are never shown."""
    endpoint = await service.get(target, endpoint_id)
    return known.answer(tag(endpoint), EndpointHeadersOut.of(service.headers(target, endpoint)))


@router.put("/{endpoint_id}/headers", status_code=status.HTTP_204_NO_CONTENT)
async def update_headers(
    target: Writable, endpoint_id: EndpointId, wanted: EndpointHeadersIn, condition: IfMatch, trail: Trailing
) -> Response:
    """Replaces the custom headers, from the next attempt on."""
    changed = await service.set_headers(target, endpoint_id, wanted.headers, condition)
    trail.record("endpoint.headers_changed", endpoint_target(changed), names=list(wanted.headers))
    return Answer(status.HTTP_204_NO_CONTENT, etag=tag(changed)).response()


@router.patch("/{endpoint_id}/headers", status_code=status.HTTP_204_NO_CONTENT)
async def patch_headers(
    target: Writable, endpoint_id: EndpointId, wanted: EndpointHeadersPatchIn, condition: IfMatch, trail: Trailing
) -> Response:
    """Sets some custom headers, and removes those that are null or in deleteHeaders."""
    changed = await service.patch_headers(target, endpoint_id, wanted, condition)
    names = [*wanted.headers, *(wanted.delete_headers or ())]
    trail.record("endpoint.headers_changed", endpoint_target(changed), names=names)
    return Answer(status.HTTP_204_NO_CONTENT, etag=tag(changed)).response()


@router.get("/{endpoint_id}/stats")
async def get_stats(
    target: WithDeliveries, endpoint_id: EndpointId, window: Annotated[EndpointStatsRange, Query()]
) -> EndpointStats:
    """How many deliveries of at most 28 days are in which state."""
    return await service.stats(target, endpoint_id, window, utc_now())


@router.post(
    "/{endpoint_id}/send-example",
    response_model=ExampleOut,
    responses=problems(400, 429),
)
async def send_example(
    target: Testable,
    endpoint_id: EndpointId,
    wanted: EventExampleIn,
    once: OnceOnly,
    trail: Trailing,
) -> Response:
    """Sends an example of the event type to this endpoint, whatever it subscribes to."""

    async def work() -> ExampleOut:
        endpoint, sent = await service.send_example(target, endpoint_id, wanted)
        trail.record("endpoint.example_sent", endpoint_target(endpoint), event_type=wanted.event_type)
        return ExampleOut(
            id=ids.encode("msg", sent.id),
            event_type=wanted.event_type,
            payload=dict(sent.payload),
            timestamp=ids.timestamp(sent.id),
        )

    return await once(status.HTTP_200_OK, work)


def _answer(endpoint: Endpoint, code: int = status.HTTP_200_OK) -> Answer:
    return Answer(code, EndpointOut.of(endpoint), tag(endpoint))
