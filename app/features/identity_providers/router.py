"""The organisation's identity providers, over HTTP."""

from typing import Annotated

from fastapi import Depends, Path, Request, Response, status
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.audit import Trail, Trailing, where_of
from app.auth.caller import Caller
from app.auth.dependencies import (
    AnyCaller,
    CanReadProviders,
    CanWriteProviders,
    Db,
    require,
)
from app.auth.idempotency import Answer, OnceOnly
from app.auth.phases import InPhases
from app.domain.ids import decode
from app.domain.permissions import Permission
from app.features.identity_providers import service
from app.features.identity_providers.domains import texts_of
from app.features.identity_providers.errors import PROVIDER, provider_target
from app.features.identity_providers.schemas import (
    IdentityProviderIn,
    IdentityProviderOut,
    IdentityProviderPatch,
    ProviderDomainIn,
    ProviderDomainOut,
)
from app.features.identity_providers.service import Scope
from app.kit.conditional import IfMatch, IfMatchRequired, etag
from app.kit.errors import not_found
from app.kit.openapi import problems
from app.kit.paging import Listing, Order, PageQuery, Seal, paginate
from app.kit.query import Reference
from app.kit.routing import Router
from app.models import IdentityProvider

router = Router(tag="identity-provider", prefix="/organisation/identity-provider")
ProviderId = Annotated[Reference, Path(description="The identity provider's id")]
DomainName = Annotated[Reference, Path(description="The domain")]


def scope(request: Request, db: Db, caller: AnyCaller) -> Scope:
    """What the service needs to know of a request."""
    return _scope(request, db, caller)


Asked = Annotated[Scope, Depends(scope)]


class ProviderFor:
    """A dependency: the provider in the path, for a caller that holds `permission`."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, provider_id: ProviderId, asked: Asked, caller: AnyCaller) -> IdentityProvider:
        """The provider. Raises Problem `not_found` or `forbidden`."""
        require(caller, self.permission)
        found = decode(PROVIDER, provider_id)
        if found is None:
            raise not_found("Identity provider")
        return await service.find(asked, found)


ReadableProvider = Annotated[IdentityProvider, Depends(ProviderFor(Permission.identity_provider_read))]
WritableProvider = Annotated[IdentityProvider, Depends(ProviderFor(Permission.identity_provider_write))]


@router.get("")
async def list_(
    _caller: CanReadProviders, asked: Asked, page: PageQuery, request: Request
) -> Listing[IdentityProviderOut]:
    """The organisation's identity providers, the newest first."""
    found = await paginate(
        asked.db,
        service.every(asked),
        IdentityProvider.id,
        page,
        seal=Seal("identity-providers", (asked.organisation_id,)),
        shape=lambda row: row,
        order=Order.descending,
    )
    shown: list[IdentityProvider] = found["data"]
    domains = await service.domains(asked, shown)
    url = request.app.state.settings.public_url
    data = [IdentityProviderOut.of(one, domains[one.id], url) for one in shown]
    return Listing[IdentityProviderOut](**found | {"data": data})


@router.post("", status_code=status.HTTP_201_CREATED, response_model=IdentityProviderOut)
async def create(
    _caller: CanWriteProviders, asked: Asked, new: IdentityProviderIn, once: OnceOnly, trail: Trailing, request: Request
) -> Response:
    """Adds an identity provider. Nobody can sign in at it until a domain is proved."""

    async def work() -> Answer:
        row = await service.create(asked, new)
        trail.record("provider.created", provider_target(row), **new.told())
        body = IdentityProviderOut.of(row, [], request.app.state.settings.public_url)
        return Answer(status.HTTP_201_CREATED, body, etag(row.version))

    return await once(status.HTTP_201_CREATED, work)


@router.get("/{provider_id}")
async def get(asked: Asked, found: ReadableProvider, request: Request, response: Response) -> IdentityProviderOut:
    """One identity provider; its secret is never shown."""
    return await _shown(asked, found, request, response)


@router.patch("/{provider_id}")
async def patch(
    asked: Asked,
    found: WritableProvider,
    wanted: IdentityProviderPatch,
    if_match: IfMatchRequired,
    request: Request,
    response: Response,
    trail: Trailing,
) -> IdentityProviderOut:
    """Changes what is given; null clears. Whoever came by one that is disabled is signed out."""
    if_match.check(found.version)
    await service.change(asked, found, wanted)
    trail.record("provider.changed", provider_target(found), **wanted.told())
    return await _shown(asked, found, request, response)


@router.delete("/{provider_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete(asked: Asked, found: WritableProvider, if_match: IfMatch, trail: Trailing) -> None:
    """Removes the identity provider with its domains; people whom it vouched for keep what else they sign in by."""
    if_match.check(found.version)
    await service.delete(asked, found)
    trail.record("provider.deleted", provider_target(found))


@router.post(
    "/{provider_id}/domain",
    status_code=status.HTTP_201_CREATED,
    response_model=ProviderDomainOut,
    responses=problems(409),
)
async def add_domain(
    asked: Asked, found: WritableProvider, new: ProviderDomainIn, once: OnceOnly, trail: Trailing
) -> Response:
    """Claims a domain for the provider, and says which TXT record proves it."""

    async def work() -> Answer:
        row = await service.add_domain(asked, found, new.domain)
        trail.record("provider.domain_added", provider_target(found), domain=row.domain)
        return Answer(status.HTTP_201_CREATED, ProviderDomainOut.of(row))

    return await once(status.HTTP_201_CREATED, work)


@router.post("/{provider_id}/domain/{domain}/verify", responses=problems(409, 502))
async def verify_domain(
    caller: CanWriteProviders, provider_id: ProviderId, domain: DomainName, request: Request, phases: InPhases
) -> ProviderDomainOut:
    """Looks for the TXT record. 409 `domain_not_verified` while it is not there."""
    wanted = decode(PROVIDER, provider_id)
    if wanted is None:
        raise not_found("Identity provider")
    async with phases.begin(*caller.tenants) as db:
        await service.find_domain(_scope(request, db, caller), wanted, domain)
    texts = await texts_of(request.app.state.egress, domain)
    async with phases.begin(*caller.tenants) as db:
        asked = _scope(request, db, caller)
        row = await service.verify_domain(asked, wanted, domain, texts)
        target = provider_target(await service.find(asked, wanted))
        Trail(db, caller, where_of(request)).record("provider.domain_verified", target, domain=domain)
        return ProviderDomainOut.of(row)


@router.delete("/{provider_id}/domain/{domain}", status_code=status.HTTP_204_NO_CONTENT)
async def remove_domain(asked: Asked, found: WritableProvider, domain: DomainName, trail: Trailing) -> None:
    """Takes a domain from the provider: nobody new comes by it."""
    await service.remove_domain(asked, await service.find_domain(asked, found.id, domain))
    trail.record("provider.domain_removed", provider_target(found), domain=domain)


def _scope(request: Request, db: AsyncSession, caller: Caller) -> Scope:
    state = request.app.state
    return Scope(db, state.keyring, state.provider_rules, caller.organisation_id, caller.permissions, where_of(request))


async def _shown(asked: Scope, found: IdentityProvider, request: Request, response: Response) -> IdentityProviderOut:
    response.headers["etag"] = etag(found.version)
    domains = await service.domains(asked, [found])
    return IdentityProviderOut.of(found, domains[found.id], request.app.state.settings.public_url)
