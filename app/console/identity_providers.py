"""The pages about the identity providers of the organisation that a person looks at."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.people import Person, RecentlySignedIn, SignedIn
from app.auth.phases import InPhases
from app.console.visits import Pages, Posted, Visit, Visiting, field
from app.domain.audit import Actor, Event
from app.domain.ids import decode, encode
from app.domain.permissions import Permission
from app.features.audit.operations import record
from app.features.identity_providers import service
from app.features.identity_providers.domains import texts_of
from app.features.identity_providers.errors import PROVIDER, provider_target
from app.features.identity_providers.schemas import (
    AuthMethod,
    IdentityProviderIn,
    IdentityProviderOut,
    IdentityProviderPatch,
    ProviderDomainIn,
)
from app.features.identity_providers.service import Scope
from app.features.members.overview import Seat, take_seat
from app.kit.errors import Problem, changed, forbidden, invalid, not_found
from app.models import IdentityProvider

PAGE = "/organisation/identity-providers"
TEMPLATE = "people/identity_providers.html"
DONE = {
    "added": "The identity provider is added; now prove a domain",
    "changed": "The identity provider is changed",
    "enabled": "People can sign in at it",
    "disabled": "Nobody can sign in at it any more",
    "removed": "The identity provider is removed",
    "claimed": "The domain is claimed; now publish its record",
    "proved": "The domain is proved: its people sign in at this provider",
    "taken": "The domain is taken away",
}
METHODS = {
    AuthMethod.basic: "a secret, by HTTP Basic",
    AuthMethod.post: "a secret, in the form",
    AuthMethod.none: "nothing but PKCE",
}
TYPED = ("name", "issuer", "clientId", "clientSecret", "authMethod", "role")
router = Pages(PAGE)


class Desk:
    """A person at work on the providers of the organisation that it looks at, within one transaction."""

    def __init__(self, visiting: Visit, db: AsyncSession, seat: Seat) -> None:
        state = visiting.request.app.state
        self.seat = seat
        self._where = visiting.where()
        rules = state.provider_rules
        self.scope = Scope(db, state.keyring, rules, seat.organisation_id, seat.permissions, self._where)

    async def note(self, action: str, row: IdentityProvider, **details: object) -> None:
        """Writes down what was done."""
        actor = Actor("user", encode("user", self.seat.user_id), self.seat.email)
        event = Event(self.seat.organisation_id, action, actor, provider_target(row), self._where, details=details)
        await self.scope.db.run_sync(record, event)


Act = Callable[[Desk], Awaitable[None]]
Form = TypeVar("Form", bound=BaseModel)


@router.get("")
async def show(visiting: Visiting, person: SignedIn, phases: InPhases, done: str = "") -> Response:
    """The providers, and what each has to know."""
    return await _page(visiting, person, phases, done=done)


@router.post("/add")
async def add(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Adds a provider."""
    typed = {name: field(fields, name) for name in TYPED}

    async def act(desk: Desk) -> None:
        new = _read(IdentityProviderIn, {name: value for name, value in typed.items() if value})
        row = await service.create(desk.scope, new)
        await desk.note("provider.created", row, **new.told())

    return await _do(visiting, person, phases, act, "added", typed)


@router.post("/change")
async def change(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Changes a provider; a secret that is left empty stays."""
    provider_id, version = _id(field(fields, "provider")), field(fields, "version")
    typed = {name: value for name in TYPED if (value := field(fields, name))}
    if typed.get("authMethod") == AuthMethod.none:
        typed.pop("clientSecret", None)

    async def act(desk: Desk) -> None:
        row = await service.find(desk.scope, provider_id)
        if str(row.version) != version:
            raise changed()
        cleared = {"clientSecret": None} if typed.get("authMethod") == AuthMethod.none else {}
        wanted = _read(IdentityProviderPatch, {**typed, **cleared})
        await service.change(desk.scope, row, wanted)
        await desk.note("provider.changed", row, **wanted.told())

    return await _do(visiting, person, phases, act, "changed")


@router.post("/enable")
async def enable(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Lets people sign in at a provider."""
    return await _switch(visiting, person, phases, _id(field(fields, "provider")), enabled=True)


@router.post("/disable")
async def disable(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Lets nobody sign in at a provider."""
    return await _switch(visiting, person, phases, _id(field(fields, "provider")), enabled=False)


@router.post("/remove")
async def remove(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Removes a provider with its domains."""
    provider_id = _id(field(fields, "provider"))

    async def act(desk: Desk) -> None:
        row = await service.find(desk.scope, provider_id)
        await service.delete(desk.scope, row)
        await desk.note("provider.deleted", row)

    return await _do(visiting, person, phases, act, "removed")


@router.post("/domain")
async def claim(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Claims a domain."""
    provider_id, domain = _id(field(fields, "provider")), field(fields, "domain")

    async def act(desk: Desk) -> None:
        row = await service.find(desk.scope, provider_id)
        made = await service.add_domain(desk.scope, row, _read(ProviderDomainIn, {"domain": domain}).domain)
        await desk.note("provider.domain_added", row, domain=made.domain)

    return await _do(visiting, person, phases, act, "claimed")


@router.post("/domain/verify")
async def verify(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Looks for a domain's record, between two transactions."""
    provider_id, domain = _id(field(fields, "provider")), field(fields, "domain")
    found: list[str] = []

    async def look(desk: Desk) -> None:
        await service.find_domain(desk.scope, provider_id, domain)

    async def act(desk: Desk) -> None:
        await service.verify_domain(desk.scope, provider_id, domain, found)
        row = await service.find(desk.scope, provider_id)
        await desk.note("provider.domain_verified", row, domain=domain)

    try:
        await _run(visiting, person, phases, look)
        found.extend(await texts_of(visiting.request.app.state.egress, domain))
    except Problem as problem:
        return await _page(visiting, person, phases, problem=problem)
    return await _do(visiting, person, phases, act, "proved")


@router.post("/domain/remove")
async def take_away(visiting: Visiting, person: RecentlySignedIn, fields: Posted, phases: InPhases) -> Response:
    """Takes a domain from a provider."""
    provider_id, domain = _id(field(fields, "provider")), field(fields, "domain")

    async def act(desk: Desk) -> None:
        row = await service.find(desk.scope, provider_id)
        await service.remove_domain(desk.scope, await service.find_domain(desk.scope, provider_id, domain))
        await desk.note("provider.domain_removed", row, domain=domain)

    return await _do(visiting, person, phases, act, "taken")


async def _switch(visiting: Visit, person: Person, phases: InPhases, provider_id: UUID, *, enabled: bool) -> Response:
    async def act(desk: Desk) -> None:
        row = await service.find(desk.scope, provider_id)
        await service.change(desk.scope, row, IdentityProviderPatch(enabled=enabled))
        await desk.note("provider.changed", row, enabled=enabled)

    return await _do(visiting, person, phases, act, "enabled" if enabled else "disabled")


async def _do(
    visiting: Visit, person: Person, phases: InPhases, act: Act, done: str, typed: dict[str, str] | None = None
) -> Response:
    """Acts for the organisation that the person looks at; what is refused is said on the page."""
    try:
        await _run(visiting, person, phases, act)
    except Problem as problem:
        if problem.word == "no_organisation":
            raise
        return await _page(visiting, person, phases, problem=problem, typed=typed)
    return visiting.go(f"{PAGE}?done={done}")


async def _run(visiting: Visit, person: Person, phases: InPhases, act: Act) -> None:
    async with phases.begin(person.user_id) as db:
        desk = await _desk(visiting, person, db)
        if not desk.seat.may(Permission.identity_provider_write):
            raise forbidden("Your role in this organisation does not change its identity providers")
        await act(desk)


async def _page(
    visiting: Visit,
    person: Person,
    phases: InPhases,
    *,
    problem: Problem | None = None,
    done: str = "",
    typed: dict[str, str] | None = None,
) -> Response:
    async with phases.begin(person.user_id) as db:
        desk = await _desk(visiting, person, db)
        if not desk.seat.may(Permission.identity_provider_read):
            raise forbidden("Your role in this organisation does not see its identity providers")
        rows = (await db.scalars(service.every(desk.scope))).all()
        domains = await service.domains(desk.scope, rows)
        url = visiting.settings.public_url
        providers = [(IdentityProviderOut.of(one, domains[one.id], url), one.version) for one in rows]
    values: dict[str, Any] = {
        "seat": desk.seat,
        "providers": providers,
        "done": DONE.get(done),
        "methods": METHODS,
        # A secret that was typed is not shown again, not even to whom it was refused.
        "typed": {**dict.fromkeys(TYPED, ""), **(typed or {}), "clientSecret": ""},
    }
    return visiting.answer(TEMPLATE, problem, **values)


async def _desk(visiting: Visit, person: Person, db: AsyncSession) -> Desk:
    seat = await db.run_sync(take_seat, person.user_id, person.email, person.organisation_id)
    return Desk(visiting, db, seat)


def _read(kind: type[Form], given: object) -> Form:
    """What was typed, as the API would take it. Raises Problem `invalid`."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        field_name = ".".join(map(str, first["loc"]))
        raise invalid(field_name, f"{field_name}: {first['msg']}") from None


def _id(text: str) -> UUID:
    found = decode(PROVIDER, text)
    if found is None:
        raise not_found("Identity provider")
    return found
