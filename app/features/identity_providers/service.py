"""What an organisation does with its identity providers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.addresses import BadUrl
from app.domain.audit import Where
from app.domain.delegation import Reach, beyond
from app.domain.destinations import Destinations
from app.domain.permissions import Permission, Role, permissions_of
from app.features.identity_providers import operations, queries
from app.features.identity_providers.domains import challenge_name, is_proved, new_challenge
from app.features.identity_providers.errors import domain_exists, domain_taken, not_verified
from app.features.identity_providers.schemas import AuthMethod, IdentityProviderIn, IdentityProviderPatch
from app.features.identity_providers.sealing import seal_secret
from app.kit.clock import new_id, utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import forbidden, invalid, not_found
from app.models import IdentityProvider, ProviderDomain


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose providers it is about, what whoever asks may there, and which addresses a provider may have."""

    db: AsyncSession
    ring: KeyRing
    rules: Destinations
    organisation_id: UUID
    permissions: frozenset[Permission]
    where: Where


def every(scope: Scope) -> Select[IdentityProvider]:
    """The organisation's providers, as a statement for a page."""
    return queries.listed(scope.organisation_id)


async def domains(scope: Scope, providers: Sequence[IdentityProvider]) -> Mapping[UUID, list[ProviderDomain]]:
    """The domains of each provider, by name."""
    found: dict[UUID, list[ProviderDomain]] = {one.id: [] for one in providers}
    for one in await scope.db.scalars(queries.domains(scope.organisation_id, list(found))):
        found[one.provider_id].append(one)
    return found


async def find(scope: Scope, provider_id: UUID) -> IdentityProvider:
    """One provider. Raises `not_found`."""
    found = await scope.db.scalar(queries.provider(scope.organisation_id, provider_id))
    if found is None:
        raise not_found("Identity provider")
    return found


async def create(scope: Scope, new: IdentityProviderIn) -> IdentityProvider:
    """Adds a provider. Raises `invalid`, `forbidden`."""
    values = new.model_dump()
    row = IdentityProvider(organisation_id=scope.organisation_id, id=new_id())
    _change(scope, row, values)
    scope.db.add(row)
    await scope.db.flush()
    await scope.db.refresh(row)
    return row


async def change(scope: Scope, row: IdentityProvider, wanted: IdentityProviderPatch) -> None:
    """Changes what is given; whoever came by one that is disabled is signed out. Raises `invalid`, `forbidden`.

    With another issuer it is another provider: whom the former one vouched for is signed out, and known by it no more.
    """
    _require_held(scope, Role(row.role))
    before = row.issuer
    _change(scope, row, wanted.changes())
    await scope.db.flush()
    if row.issuer != before:
        # Its subjects are names that the other one may give to anybody.
        await scope.db.execute(queries.forget_identities(scope.organisation_id, row.id))
    if row.issuer != before or row.disabled_at is not None:
        await _end_sessions(scope, row)
    await scope.db.refresh(row)


async def delete(scope: Scope, row: IdentityProvider) -> None:
    """Removes a provider with its domains; whom it vouched for is signed out, and known by it no more."""
    await _end_sessions(scope, row)
    await scope.db.delete(row)
    await scope.db.flush()


async def add_domain(scope: Scope, row: IdentityProvider, name: str) -> ProviderDomain:
    """Claims a domain, which is then to be proved. Raises `domain_exists`, `forbidden`."""
    _require_held(scope, Role(row.role))
    made = ProviderDomain(
        organisation_id=scope.organisation_id, provider_id=row.id, domain=name, challenge=new_challenge()
    )
    try:
        async with scope.db.begin_nested():
            scope.db.add(made)
    except IntegrityError:
        raise domain_exists() from None
    await scope.db.refresh(made)
    return made


async def find_domain(scope: Scope, provider_id: UUID, name: str) -> ProviderDomain:
    """A provider's domain. Raises `not_found`."""
    found = await scope.db.scalar(queries.domain(scope.organisation_id, provider_id, name))
    if found is None:
        raise not_found("Domain")
    return found


async def remove_domain(scope: Scope, row: ProviderDomain) -> None:
    """Takes a domain from its provider."""
    await scope.db.delete(row)
    await scope.db.flush()


async def verify_domain(scope: Scope, provider_id: UUID, name: str, texts: Sequence[str]) -> ProviderDomain:
    """Notes that a domain is proved, by the texts of its TXT records. Raises `domain_not_verified`, `domain_taken`."""
    row = await find_domain(scope, provider_id, name)
    if not is_proved(row.challenge, texts):
        raise not_verified(challenge_name(name))
    try:
        async with scope.db.begin_nested():
            row.verified_at = utc_now()
    except IntegrityError:
        raise domain_taken() from None
    await scope.db.refresh(row)
    return row


async def _end_sessions(scope: Scope, row: IdentityProvider) -> None:
    ending = (scope.organisation_id, row.id, scope.where, operations.SHUT)
    await scope.db.run_sync(operations.end_sessions, *ending)


def _change(scope: Scope, row: IdentityProvider, values: dict[str, Any]) -> None:
    given = dict(values)
    if "issuer" in given:
        _require_issuer(scope.rules, given["issuer"])
    if "role" in given:
        _require_held(scope, given["role"])
    if "client_secret" in given:
        secret = given.pop("client_secret")
        sealed = None if secret is None else seal_secret(scope.ring, scope.organisation_id, row.id, secret)
        row.sealed_secret = sealed
    if given.get("auth_method", ...) is None:
        given["auth_method"] = AuthMethod.none if row.sealed_secret is None else AuthMethod.basic
    if "enabled" in given:
        row.disabled_at = None if given.pop("enabled") else row.disabled_at or utc_now()
    for name, value in given.items():
        setattr(row, name, value)
    _require_secret(row)


def _require_issuer(rules: Destinations, issuer: str) -> None:
    """Raises `invalid` for what is no issuer, or is where Postrider may not call."""
    if "?" in issuer or "#" in issuer:
        raise invalid("issuer", "an issuer has neither query nor fragment", type_="url_refused")
    try:
        rules.check(issuer)
    except BadUrl as error:
        raise invalid("issuer", error.reason, type_="url_refused") from None


def _require_held(scope: Scope, role: Role) -> None:
    """Raises `forbidden` for a role that may what the caller may not: whoever comes by the provider gets it."""
    reason = beyond(Reach(scope.permissions), Reach(permissions_of(role, None, live=True)))
    if reason is not None:
        raise forbidden(reason.replace("It would hold", "Its people would hold"))


def _require_secret(row: IdentityProvider) -> None:
    if row.auth_method != AuthMethod.none and row.sealed_secret is None:
        raise invalid("clientSecret", f"is needed for {row.auth_method}; give one, or authMethod none")
    if row.auth_method == AuthMethod.none and row.sealed_secret is not None:
        raise invalid("clientSecret", "is not sent with authMethod none; leave it out")
