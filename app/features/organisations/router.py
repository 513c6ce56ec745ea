"""The caller's organisation and its API keys, over HTTP."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response, status

from app.auth.audit import Trailing
from app.auth.dependencies import (
    AnyCaller,
    CanDeleteOrganisation,
    CanReadKeys,
    CanReadOrganisation,
    CanWriteKeys,
    CanWriteOrganisation,
    Db,
    require,
)
from app.auth.idempotency import Answer, OnceOnly
from app.domain.api_key import Environment as Kind
from app.domain.ids import decode
from app.domain.permissions import Permission
from app.features.audit.targets import key_target, organisation_target
from app.features.organisations import service
from app.features.organisations.errors import KEY, SECRET
from app.features.organisations.rotation import Described
from app.features.organisations.schemas import (
    ApiKeyIn,
    ApiKeyOut,
    ApiKeyPatch,
    ApiKeyRotateIn,
    NewApiKeyOut,
    OrganisationOut,
    OrganisationPatch,
)
from app.features.organisations.service import Scope
from app.kit.conditional import IfMatchRequired, etag
from app.kit.errors import not_found
from app.kit.openapi import problems
from app.kit.paging import Listing, Order, PageQuery, Seal, paginate
from app.kit.query import Reference
from app.kit.routing import Router
from app.models import ApiKey

router = Router(tag="organisation", prefix="/organisation")
keys = Router(tag="api-key", prefix="/organisation/api-key")
KeyId = Annotated[Reference, Path(description="The key's id")]
SecretId = Annotated[Reference, Path(description="The secret's id")]
Confirm = Annotated[bool, Query(description="Do it although it locks the caller out")]


def scope(request: Request, db: Db, caller: AnyCaller) -> Scope:
    """What the service needs to know of a request."""
    return Scope(db, request.app.state.keyring, caller, request.client.host if request.client else "")


def confirmable(asked: Annotated[Scope, Depends(scope)], confirm: Confirm = False) -> Scope:  # noqa: FBT002
    """The same, of a request that says whether it is meant."""
    return Scope(asked.db, asked.ring, asked.caller, asked.address, confirm)


Asked = Annotated[Scope, Depends(scope)]
Confirmable = Annotated[Scope, Depends(confirmable)]


class KeyFor:
    """A dependency: the key in the path, for a caller that holds `permission`; `lock` keeps others from it."""

    def __init__(self, permission: Permission, *, lock: bool = False) -> None:
        self.permission = permission
        self.lock = lock

    async def __call__(self, key_id: KeyId, asked: Asked) -> Described:
        """The key. Raises Problem `not_found` or `forbidden`."""
        require(asked.caller, self.permission)
        found = decode(KEY, key_id)
        if found is None:
            raise not_found("API key")
        return await service.find(asked, found, lock=self.lock)


ReadableKey = Annotated[Described, Depends(KeyFor(Permission.key_read))]
WritableKey = Annotated[Described, Depends(KeyFor(Permission.key_write))]
LockedKey = Annotated[Described, Depends(KeyFor(Permission.key_write, lock=True))]


@router.get("")
async def get(_caller: CanReadOrganisation, asked: Asked, response: Response) -> OrganisationOut:
    """The organisation that calls."""
    row, environments = await service.organisation(asked)
    response.headers["etag"] = etag(row.version)
    return OrganisationOut.of(row, environments)


@router.patch("", responses=problems(409))
async def patch(
    _caller: CanWriteOrganisation,
    asked: Confirmable,
    wanted: OrganisationPatch,
    if_match: IfMatchRequired,
    response: Response,
    trail: Trailing,
) -> OrganisationOut:
    """Changes what is given; null clears. Asks back (409 `would_lock_out`) before it refuses the caller's address."""
    row, environments = await service.organisation(asked)
    if_match.check(row.version)
    await service.change_organisation(asked, row, wanted)
    trail.record("organisation.changed", organisation_target(row.id, row.name), **wanted.changes())
    response.headers["etag"] = etag(row.version)
    return OrganisationOut.of(row, environments)


@router.delete("", status_code=status.HTTP_204_NO_CONTENT)
async def delete(
    _caller: CanDeleteOrganisation,
    asked: Asked,
    name: Annotated[str, Query(description="The organisation's name, so that it is no other one")],
    trail: Trailing,
) -> None:
    """Deletes the organisation with all that it has; its credentials are refused within a second."""
    await service.delete_organisation(asked, name)
    trail.record("organisation.deleted", organisation_target(asked.organisation_id, name))


@keys.get("")
async def list_(
    _caller: CanReadKeys,
    asked: Asked,
    page: PageQuery,
    environment: Annotated[Kind | None, Query(description="Only of this environment")] = None,
    include_revoked: Annotated[bool, Query(description="Show revoked ones too")] = False,  # noqa: FBT002
) -> Listing[ApiKeyOut]:
    """The organisation's keys, the newest first; a key of the test environment sees that environment's."""
    found = await paginate(
        asked.db,
        service.every(asked, environment, revoked=include_revoked),
        ApiKey.id,
        page,
        seal=Seal("api-keys", asked.caller.tenants),
        shape=Described.of,
        order=Order.descending,
    )
    shown: list[Described] = found["data"]
    secrets = await service.secrets(asked, [one.key for one in shown])
    return Listing[ApiKeyOut](**found | {"data": [ApiKeyOut.of(one, secrets[one.key.id]) for one in shown]})


@keys.post("", status_code=status.HTTP_201_CREATED, response_model=NewApiKeyOut)
async def create(_caller: CanWriteKeys, asked: Asked, new: ApiKeyIn, once: OnceOnly, trail: Trailing) -> Response:
    """Makes a key that may do no more than the caller. Its text is shown this once.

    Made with an access token of a person, or by a key that was, it is refused as soon as the person is locked out or
    leaves the organisation, and it never does more than the person's role allows.
    """

    async def work() -> Answer:
        made, text = await service.create(asked, new)
        trail.record("key.created", key_target(made.key), role=made.key.role, environment=made.environment)
        return await _with_text(asked, made, text, status.HTTP_201_CREATED)

    return await once(status.HTTP_201_CREATED, work, private=True)


@keys.get("/{key_id}")
async def get_key(asked: Asked, found: ReadableKey, response: Response) -> ApiKeyOut:
    """One key; its texts are never shown again."""
    return await _shown(asked, found, response)


@keys.patch("/{key_id}", responses=problems(409))
async def patch_key(
    asked: Confirmable,
    found: WritableKey,
    wanted: ApiKeyPatch,
    if_match: IfMatchRequired,
    response: Response,
    trail: Trailing,
) -> ApiKeyOut:
    """Changes what is given; null clears. Asks back (409 `would_lock_out`) before the caller's key shuts itself out."""
    if_match.check(found.key.version)
    await service.change(asked, found, wanted)
    trail.record("key.changed", key_target(found.key), **wanted.changes())
    return await _shown(asked, found, response)


@keys.delete("/{key_id}", status_code=status.HTTP_204_NO_CONTENT)
async def revoke(asked: Asked, found: WritableKey, trail: Trailing) -> None:
    """Revokes the key with all of its secrets; it is refused within a second."""
    if await service.revoke(asked, found):
        trail.record("key.revoked", key_target(found.key))


@keys.post("/{key_id}/rotate", response_model=NewApiKeyOut, responses=problems(409))
async def rotate(asked: Asked, found: LockedKey, wanted: ApiKeyRotateIn, once: OnceOnly, trail: Trailing) -> Response:
    """Gives the key a new secret, shown this once; the one so far is good until the overlap is over."""

    async def work() -> Answer:
        text = await service.rotate(asked, found, wanted.overlap_seconds)
        trail.record("key.rotated", key_target(found.key), overlap_seconds=wanted.overlap_seconds)
        return await _with_text(asked, found, text, status.HTTP_200_OK)

    return await once(status.HTTP_200_OK, work, private=True)


@keys.delete("/{key_id}/secret/{secret_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problems(409))
async def end_secret(asked: Asked, found: LockedKey, secret_id: SecretId, trail: Trailing) -> None:
    """Ends one secret before its time; the last one in force stays."""
    named = decode(SECRET, secret_id)
    if named is None:
        raise not_found("Secret")
    if await service.end_secret(asked, found, named):
        trail.record("key.secret_ended", key_target(found.key), secret=secret_id)


async def _shown(asked: Scope, found: Described, response: Response) -> ApiKeyOut:
    response.headers["etag"] = etag(found.key.version)
    secrets = await service.secrets(asked, [found.key])
    return ApiKeyOut.of(found, secrets[found.key.id])


async def _with_text(asked: Scope, found: Described, text: str, code: int) -> Answer:
    secrets = await service.secrets(asked, [found.key])
    body = NewApiKeyOut.of(found, secrets[found.key.id], key=text)
    return Answer(code, body, etag(found.key.version))
