"""Operational webhook endpoints, over HTTP."""

from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response, status

from app.auth.audit import Trailing
from app.auth.dependencies import AnyCaller, Db, require
from app.auth.idempotency import Answer, OnceOnly
from app.domain.permissions import Permission
from app.features.audit.targets import endpoint_target
from app.features.operational_webhooks import service
from app.features.operational_webhooks.schemas import (
    OperationalWebhookEndpointHeadersIn,
    OperationalWebhookEndpointHeadersOut,
    OperationalWebhookEndpointIn,
    OperationalWebhookEndpointOut,
    OperationalWebhookEndpointPatch,
    OperationalWebhookEndpointSecretIn,
    OperationalWebhookEndpointSecretOut,
    OperationalWebhookEndpointUpdate,
    tag,
)
from app.features.operational_webhooks.service import Scope
from app.kit.conditional import IfMatch, IfNoneMatch
from app.kit.openapi import problems
from app.kit.paging import Listing, Order, PageQuery, Seal, paginate
from app.kit.query import Reference
from app.kit.routing import Router
from app.models import Endpoint

router = Router(tag="operational-webhook-endpoint", prefix="/operational-webhook/endpoint")
EndpointId = Annotated[Reference, Path(description="The endpoint's id or uid")]
KIND = "operational_endpoint"
CREATED: dict[int | str, dict[str, Any]] = {201: {"model": OperationalWebhookEndpointOut, "description": "It was made"}}


class ScopeFor:
    """A dependency: whose operational endpoints the request is about, for a caller that holds `permission`."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, request: Request, db: Db, caller: AnyCaller) -> Scope:
        """The scope. Raises Problem `forbidden`."""
        require(caller, self.permission)
        application = await db.run_sync(service.open_application, caller.environment_id)
        return Scope(db, request.app.state.keyring, request.app.state.destinations, application)


Readable = Annotated[Scope, Depends(ScopeFor(Permission.operational_webhook_read))]
Writable = Annotated[Scope, Depends(ScopeFor(Permission.operational_webhook_write))]


@router.get("")
async def list_(target: Readable, page: PageQuery) -> Listing[OperationalWebhookEndpointOut]:
    """The organisation's operational endpoints, the newest first unless asked otherwise."""
    found = await paginate(
        target.db,
        service.every(target),
        Endpoint.id,
        page,
        seal=Seal("operational-endpoints", (target.application.environment_id,)),
        shape=OperationalWebhookEndpointOut.of,
        order=Order.descending,
    )
    return Listing[OperationalWebhookEndpointOut](**found)


@router.post("", status_code=status.HTTP_201_CREATED, response_model=OperationalWebhookEndpointOut)
async def create(target: Writable, new: OperationalWebhookEndpointIn, once: OnceOnly, trail: Trailing) -> Response:
    """Makes an endpoint that is told of Postrider's own events."""

    async def work() -> Answer:
        endpoint = await service.create(target, new)
        trail.record("operational_endpoint.created", endpoint_target(endpoint, KIND))
        return _answer(endpoint, status.HTTP_201_CREATED)

    return await once(status.HTTP_201_CREATED, work)


@router.get("/{endpoint_id}", response_model=OperationalWebhookEndpointOut)
async def get(target: Readable, endpoint_id: EndpointId, known: IfNoneMatch) -> Response:
    """One operational endpoint."""
    endpoint = await service.get(target, endpoint_id)
    return known.answer(tag(endpoint), OperationalWebhookEndpointOut.of(endpoint))


@router.put("/{endpoint_id}", response_model=OperationalWebhookEndpointOut, responses={**CREATED, **problems(409)})
async def upsert(
    target: Writable,
    endpoint_id: EndpointId,
    wanted: OperationalWebhookEndpointUpdate,
    condition: IfMatch,
    trail: Trailing,
) -> Response:
    """Makes the endpoint what is given, or makes one with this uid."""
    endpoint, made = await service.put(target, endpoint_id, wanted, condition)
    trail.record(f"operational_endpoint.{'created' if made else 'changed'}", endpoint_target(endpoint, KIND))
    return _answer(endpoint, status.HTTP_201_CREATED if made else status.HTTP_200_OK).response()


@router.patch("/{endpoint_id}", response_model=OperationalWebhookEndpointOut, responses=problems(409))
async def patch(
    target: Writable,
    endpoint_id: EndpointId,
    wanted: OperationalWebhookEndpointPatch,
    condition: IfMatch,
    trail: Trailing,
) -> Response:
    """Changes what is given; null clears."""
    endpoint = await service.patch(target, endpoint_id, wanted, condition)
    fields = wanted.model_fields_set
    trail.record("operational_endpoint.changed", endpoint_target(endpoint, KIND), fields=fields)
    return _answer(endpoint).response()


@router.delete("/{endpoint_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete(target: Writable, endpoint_id: EndpointId, condition: IfMatch, trail: Trailing) -> None:
    """Deletes the endpoint; what is pending is cancelled."""
    endpoint = await service.delete(target, endpoint_id, condition)
    trail.record("operational_endpoint.deleted", endpoint_target(endpoint, KIND))


@router.get("/{endpoint_id}/secret")
async def get_secret(target: Writable, endpoint_id: EndpointId) -> OperationalWebhookEndpointSecretOut:
    """What a receiver verifies with."""
    return OperationalWebhookEndpointSecretOut(key=await service.secret(target, endpoint_id))


@router.post(
    "/{endpoint_id}/secret/rotate", response_model=OperationalWebhookEndpointSecretOut, responses=problems(400)
)
async def rotate_secret(
    target: Writable,
    endpoint_id: EndpointId,
    wanted: OperationalWebhookEndpointSecretIn,
    once: OnceOnly,
    trail: Trailing,
) -> Response:
    """Gives the endpoint a new secret; until the grace period ends, deliveries are signed with both."""

    async def work() -> OperationalWebhookEndpointSecretOut:
        endpoint, key = await service.rotate(target, endpoint_id, wanted)
        kept = wanted.grace_seconds
        trail.record("operational_endpoint.secret_rotated", endpoint_target(endpoint, KIND), grace_seconds=kept)
        return OperationalWebhookEndpointSecretOut(key=key)

    return await once(status.HTTP_200_OK, work, private=True)


@router.get("/{endpoint_id}/headers", response_model=OperationalWebhookEndpointHeadersOut)
async def get_headers(target: Readable, endpoint_id: EndpointId, known: IfNoneMatch) -> Response:
    """The custom headers; values that are credentials are never shown."""
    endpoint = await service.get(target, endpoint_id)
    return known.answer(tag(endpoint), OperationalWebhookEndpointHeadersOut.of(service.headers(target, endpoint)))


@router.put("/{endpoint_id}/headers", status_code=status.HTTP_204_NO_CONTENT)
async def update_headers(
    target: Writable,
    endpoint_id: EndpointId,
    wanted: OperationalWebhookEndpointHeadersIn,
    condition: IfMatch,
    trail: Trailing,
) -> Response:
    """Replaces the custom headers, from the next attempt on."""
    changed = await service.set_headers(target, endpoint_id, wanted.headers, condition)
    names = list(wanted.headers)
    trail.record("operational_endpoint.headers_changed", endpoint_target(changed, KIND), names=names)
    return Answer(status.HTTP_204_NO_CONTENT, etag=tag(changed)).response()


def _answer(endpoint: Endpoint, code: int = status.HTTP_200_OK) -> Answer:
    return Answer(code, OperationalWebhookEndpointOut.of(endpoint), tag(endpoint))
