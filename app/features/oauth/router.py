"""The organisation's OAuth clients, over HTTP."""

from typing import Annotated

from fastapi import Depends, Path, Request, Response, status

from app.auth.audit import Trailing
from app.auth.dependencies import AnyCaller, CanReadClients, CanWriteClients, Db, require
from app.auth.idempotency import Answer, OnceOnly
from app.domain.ids import decode
from app.domain.permissions import Permission
from app.features.oauth import service
from app.features.oauth.clients import client_target
from app.features.oauth.errors import CLIENT, SECRET
from app.features.oauth.schemas import (
    NewOAuthClientOut,
    OAuthClientIn,
    OAuthClientOut,
    OAuthClientPatch,
    OAuthClientRotateIn,
)
from app.features.oauth.service import Described, Scope
from app.kit.conditional import IfMatchRequired, etag
from app.kit.errors import not_found
from app.kit.openapi import problems
from app.kit.paging import Listing, Order, PageQuery, Seal, paginate
from app.kit.query import Reference
from app.kit.routing import Router
from app.models import OAuthClient

clients = Router(tag="oauth-client", prefix="/organisation/oauth-client")
ClientId = Annotated[Reference, Path(description="The client's id")]
SecretId = Annotated[Reference, Path(description="The secret's id")]


def scope(_request: Request, db: Db, caller: AnyCaller) -> Scope:
    """What the service needs to know of a request."""
    return Scope(db, caller)


Asked = Annotated[Scope, Depends(scope)]


class ClientFor:
    """A dependency: the client in the path, for a caller that holds `permission`; `lock` keeps others from it."""

    def __init__(self, permission: Permission, *, lock: bool = False) -> None:
        self.permission = permission
        self.lock = lock

    async def __call__(self, client_id: ClientId, asked: Asked) -> Described:
        """The client. Raises Problem `not_found` or `forbidden`."""
        require(asked.caller, self.permission)
        found = decode(CLIENT, client_id)
        if found is None:
            raise not_found("OAuth client")
        return await service.find(asked, found, lock=self.lock)


ReadableClient = Annotated[Described, Depends(ClientFor(Permission.oauth_client_read))]
LockedClient = Annotated[Described, Depends(ClientFor(Permission.oauth_client_write, lock=True))]


@clients.get("")
async def list_(_caller: CanReadClients, asked: Asked, page: PageQuery) -> Listing[OAuthClientOut]:
    """The organisation's clients, the newest first; a key of the test environment sees that environment's."""
    found = await paginate(
        asked.db,
        service.every(asked),
        OAuthClient.id,
        page,
        seal=Seal("oauth-clients", asked.caller.tenants),
        shape=lambda row: Described(row[0], row[1]),
        order=Order.descending,
    )
    shown: list[Described] = found["data"]
    secrets = await service.secrets(asked, [one.client for one in shown])
    data = [OAuthClientOut.of(one.client, one.environment, secrets[one.client.id]) for one in shown]
    return Listing[OAuthClientOut](**found | {"data": data})


@clients.post("", status_code=status.HTTP_201_CREATED, response_model=NewOAuthClientOut)
async def create(
    _caller: CanWriteClients, asked: Asked, new: OAuthClientIn, once: OnceOnly, trail: Trailing
) -> Response:
    """Makes a client that may do no more than the caller. Its secret, if it has one, is shown this once."""

    async def work() -> Answer:
        made, secret = await service.create(asked, new)
        trail.record("oauth.client_created", client_target(made.client), **new.changes())
        return await _with_secret(asked, made, secret, status.HTTP_201_CREATED)

    return await once(status.HTTP_201_CREATED, work, private=True)


@clients.get("/{client_id}")
async def get(asked: Asked, found: ReadableClient, response: Response) -> OAuthClientOut:
    """One client; its secrets are never shown again."""
    return await _shown(asked, found, response)


@clients.patch("/{client_id}")
async def patch(
    asked: Asked,
    found: LockedClient,
    wanted: OAuthClientPatch,
    if_match: IfMatchRequired,
    response: Response,
    trail: Trailing,
) -> OAuthClientOut:
    """Changes what is given. What was handed out before keeps only scopes that the client still has."""
    if_match.check(found.client.version)
    await service.change(asked, found, wanted)
    trail.record("oauth.client_changed", client_target(found.client), **wanted.changes())
    return await _shown(asked, found, response)


@clients.delete("/{client_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete(asked: Asked, found: LockedClient, trail: Trailing) -> None:
    """Deletes the client; its secrets and all its tokens are refused from now on."""
    if await service.delete(asked, found):
        trail.record("oauth.client_deleted", client_target(found.client))


@clients.post("/{client_id}/rotate", response_model=NewOAuthClientOut, responses=problems(409))
async def rotate(
    asked: Asked, found: LockedClient, wanted: OAuthClientRotateIn, once: OnceOnly, trail: Trailing
) -> Response:
    """Gives the client a new secret, shown this once; the one so far is good until the overlap is over."""

    async def work() -> Answer:
        secret = await service.rotate(asked, found, wanted.overlap_seconds)
        target = client_target(found.client)
        trail.record("oauth.client_rotated", target, overlap_seconds=wanted.overlap_seconds)
        return await _with_secret(asked, found, secret, status.HTTP_200_OK)

    return await once(status.HTTP_200_OK, work, private=True)


@clients.delete("/{client_id}/secret/{secret_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(409))
async def end_secret(asked: Asked, found: LockedClient, secret_id: SecretId, trail: Trailing) -> None:
    """Ends one secret before its time; the last one in force stays."""
    named = decode(SECRET, secret_id)
    if named is None:
        raise not_found("Secret")
    await service.end_secret(asked, found, named)
    trail.record("oauth.client_secret_ended", client_target(found.client), secret=secret_id)


async def _shown(asked: Scope, found: Described, response: Response) -> OAuthClientOut:
    response.headers["etag"] = etag(found.client.version)
    secrets = await service.secrets(asked, [found.client])
    return OAuthClientOut.of(found.client, found.environment, secrets[found.client.id])


async def _with_secret(asked: Scope, found: Described, secret: str | None, code: int) -> Answer:
    secrets = await service.secrets(asked, [found.client])
    body = NewOAuthClientOut.of(found.client, found.environment, secrets[found.client.id], secret=secret)
    return Answer(code, body, etag(found.client.version))
