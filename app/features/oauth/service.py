"""What a caller does with its organisation's OAuth clients."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic.alias_generators import to_camel
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.domain import api_key
from app.domain.delegation import Reach, beyond
from app.domain.networks import NetworkList, parse
from app.domain.permissions import Role, permissions_of
from app.domain.scopes import permissions_in
from app.features.oauth import clients, queries
from app.features.oauth.clients import NewClient
from app.features.oauth.errors import beyond_own
from app.features.oauth.schemas import OAuthClientIn, OAuthClientPatch
from app.features.organisations import rotation
from app.kit.changes import note as note_change
from app.kit.clock import utc_now
from app.kit.errors import invalid, not_found, unauthenticated
from app.models import Environment, OAuthClient, OAuthClientSecret

LIVE: api_key.Environment = "live"
TEST: api_key.Environment = "test"


@dataclass(frozen=True, slots=True)
class Scope:
    """Who asks."""

    db: AsyncSession
    caller: Caller

    @property
    def organisation_id(self) -> UUID:
        """Whose clients it is about."""
        return self.caller.organisation_id


@dataclass(frozen=True, slots=True)
class Described:
    """A client, and the kind of its environment."""

    client: OAuthClient
    environment: str


def every(scope: Scope) -> Select[OAuthClient, str]:
    """The clients that the caller may see, as a statement for a page: of the test environment, only that one's."""
    statement = queries.clients(scope.organisation_id)
    return statement if scope.caller.is_live else statement.where(Environment.kind == TEST)


async def find(scope: Scope, client_id: UUID, *, lock: bool = False) -> Described:
    """A client that the caller may see. Raises `not_found`."""
    row = (await scope.db.execute(queries.named(scope.organisation_id, client_id, lock=lock))).one_or_none()
    if row is None or (row[1] == LIVE and not scope.caller.is_live):
        raise not_found("OAuth client")
    return Described(row[0], row[1])


async def secrets(scope: Scope, found: Collection[OAuthClient]) -> Mapping[UUID, list[OAuthClientSecret]]:
    """The secrets of each client that are in force, the newest first."""
    by_client: dict[UUID, list[OAuthClientSecret]] = {one.id: [] for one in found}
    for one in await scope.db.scalars(queries.secrets(scope.organisation_id, list(by_client))):
        by_client[one.client_id].append(one)
    return by_client


async def create(scope: Scope, new: OAuthClientIn) -> tuple[Described, str | None]:
    """Makes a client that reaches no farther than the caller; its secret comes with it, if it has one."""
    kind = new.environment or (LIVE if scope.caller.is_live else TEST)
    columns = new.model_dump(exclude={"environment"}) | {"first_party": False}
    _require_sense(columns)
    await _require_within(scope, kind, columns["scopes"])
    made = NewClient(environment=kind, **columns)
    client, secret = await scope.db.run_sync(clients.create, scope.organisation_id, made)
    return await find(scope, client.id), secret


async def change(scope: Scope, found: Described, wanted: OAuthClientPatch) -> None:
    """Changes what is given, when neither what the client was nor what it becomes goes beyond the caller."""
    changes = wanted.changes()
    after = {**_columns(found.client), **changes}
    _require_sense(after)
    _require_held(scope, found.client.scopes)
    await _require_within(scope, found.environment, after["scopes"])
    for name, value in changes.items():
        setattr(found.client, name, value)
    note_change(scope.db.sync_session, scope.organisation_id)
    await scope.db.flush()
    await scope.db.refresh(found.client)


async def rotate(scope: Scope, found: Described, overlap_seconds: int) -> str:
    """Gives a locked client a new secret, and returns it. Raises `rotation_in_progress`, `no_secrets`."""
    await _require_within(scope, found.environment, found.client.scopes)
    return await scope.db.run_sync(
        lambda db: clients.rotate(db, found.client, timedelta(seconds=overlap_seconds)),
    )


async def end_secret(scope: Scope, found: Described, secret_id: UUID) -> None:
    """Ends a secret of a locked client at once. Raises `not_found`, `last_secret`."""
    _require_held(scope, found.client.scopes)
    await scope.db.run_sync(clients.end_secret, found.client, secret_id)


async def delete(scope: Scope, found: Described) -> bool:
    """Ends a client with all its tokens; False for one that was ended before."""
    _require_held(scope, found.client.scopes)
    return await scope.db.run_sync(clients.delete, scope.organisation_id, found.client.id)


def _require_sense(columns: Mapping[str, Any]) -> None:
    """Raises `invalid` for columns that do not fit to one another."""
    wrong = clients.fault(columns)
    if wrong is not None:
        raise invalid(to_camel(wrong[0]), wrong[1])


def _require_held(scope: Scope, scopes: Sequence[str]) -> None:
    """Raises `insufficient_scope` for a client that may more than the caller."""
    reason = beyond(Reach(scope.caller.permissions), Reach(permissions_in(scopes)))
    if reason is not None:
        raise beyond_own(reason.replace("It would hold", "The client holds"))


async def _require_within(scope: Scope, kind: str, scopes: Sequence[str]) -> None:
    """Raises `insufficient_scope` for a client that would reach farther than the caller."""
    if kind == LIVE and not scope.caller.is_live:
        raise beyond_own("A credential of the test environment makes clients of that environment only")
    reason = beyond(await _own_reach(scope), Reach(permissions_in(scopes)))
    if reason is not None:
        raise beyond_own(reason)


async def _own_reach(scope: Scope) -> Reach:
    """What the caller may now, whatever it could when the process last looked. Raises `unauthenticated`."""
    caller = scope.caller
    if caller.key_id is None:
        return Reach(caller.permissions)
    own = await scope.db.run_sync(rotation.find, scope.organisation_id, caller.key_id)
    if own.has_ended(utc_now()):
        raise unauthenticated()
    key = own.key
    scopes = None if key.scopes is None else tuple(key.scopes)
    held = permissions_of(Role(key.role), scopes, live=caller.is_live)
    return Reach(held, NetworkList(parse(key.allowed_networks), parse(key.denied_networks)), key.expires_at)


def _columns(client: OAuthClient) -> dict[str, Any]:
    return {name: getattr(client, name) for name in (*OAuthClientPatch.model_fields, "auth_method", "first_party")}
