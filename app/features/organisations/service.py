"""What a caller does with its organisation and with the organisation's API keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession

from app.auth.caller import Caller
from app.domain import api_key
from app.domain.delegation import Reach, beyond
from app.domain.networks import NetworkList, parse
from app.domain.permissions import Permission, Role, permissions_of
from app.features.organisations import operations, queries, rotation
from app.features.organisations.errors import beyond_own, key_ended, would_lock_out
from app.features.organisations.operations import NewKey
from app.features.organisations.rotation import Described
from app.features.organisations.schemas import ApiKeyIn, ApiKeyPatch, OrganisationPatch
from app.kit.changes import note as note_change
from app.kit.clock import utc_now
from app.kit.encryption import KeyRing
from app.kit.errors import invalid, not_found, unauthenticated
from app.models import ApiKey, ApiKeySecret, Environment, Organisation

LIVE: api_key.Environment = "live"
TEST: api_key.Environment = "test"


@dataclass(frozen=True, slots=True)
class Scope:
    """Who asks, and from which address; `confirmed` is whether it may cut itself off."""

    db: AsyncSession
    ring: KeyRing
    caller: Caller
    address: str
    confirmed: bool = False

    @property
    def organisation_id(self) -> UUID:
        """Whose keys it is about."""
        return self.caller.organisation_id

    @property
    def environment(self) -> api_key.Environment:
        """The caller's own."""
        return LIVE if self.caller.is_live else TEST


async def organisation(scope: Scope) -> tuple[Organisation, Sequence[Environment]]:
    """The caller's organisation with its environments. Raises `not_found` when it was just deleted."""
    found = await scope.db.scalar(queries.details(scope.organisation_id))
    if found is None:
        raise not_found("Organisation")
    return found, (await scope.db.scalars(queries.environments(scope.organisation_id))).all()


async def change_organisation(scope: Scope, row: Organisation, wanted: OrganisationPatch) -> Organisation:
    """Changes what is given. Raises `would_lock_out`."""
    changes = wanted.changes()
    if not scope.confirmed:
        _require_address(scope, _networks({**_columns(row), **changes}))
        await _require_days(scope, changes.get("key_days"))
    note_change(scope.db.sync_session, scope.organisation_id)
    return await scope.db.run_sync(operations.change, row, changes)


async def delete_organisation(scope: Scope, name: str) -> None:
    """Ends the organisation, whose name must be repeated. Raises `invalid`, `not_found`."""
    found, _ = await organisation(scope)
    if found.name != name:
        raise invalid("name", "is not the organisation's name; repeat it to delete the organisation", where="query")
    await scope.db.run_sync(operations.delete_organisation, scope.organisation_id)


def every(scope: Scope, kind: api_key.Environment | None, *, revoked: bool) -> Select[ApiKey, str, int | None]:
    """The keys that the caller may see, as a statement for a page: of the test environment, only that one's."""
    statement = queries.listed(scope.organisation_id, kind, revoked=revoked)
    return statement if scope.caller.is_live else statement.where(Environment.kind == TEST)


async def find(scope: Scope, key_id: UUID, *, lock: bool = False) -> Described:
    """A key that the caller may see. Raises `not_found`."""
    found = await scope.db.run_sync(rotation.find, scope.organisation_id, key_id, lock=lock)
    if found.environment == LIVE and not scope.caller.is_live:
        raise not_found("API key")
    return found


async def secrets(scope: Scope, keys: Sequence[ApiKey]) -> Mapping[UUID, list[ApiKeySecret]]:
    """The secrets of each key, the newest first."""
    found: dict[UUID, list[ApiKeySecret]] = {one.id: [] for one in keys}
    for one in await scope.db.scalars(queries.secrets(scope.organisation_id, list(found))):
        found[one.key_id].append(one)
    return found


async def create(scope: Scope, new: ApiKeyIn) -> tuple[Described, str]:
    """Makes a key that reaches no farther than the caller's own; its text comes with it."""
    kind = new.environment or scope.environment
    columns = new.model_dump(exclude={"environment", "signs"}) | {"scopes": new.changes().get("scopes")}
    _require_sense(columns, kind)
    await _require_within(scope, kind, columns)
    ring, maker = scope.ring if new.signs else None, scope.caller.answerable
    made = NewKey(environment=kind, ring=ring, user_id=maker, **columns)
    key, text = await scope.db.run_sync(operations.create_key, scope.organisation_id, made)
    return await find(scope, key.id), text


async def change(scope: Scope, found: Described, wanted: ApiKeyPatch) -> None:
    """Changes what is given, when neither what the key was nor what it becomes goes beyond the caller's own key."""
    changes, before = wanted.changes(), _columns(found.key)
    after = {**before, **changes}
    if found.has_ended(utc_now()):
        raise key_ended()
    _require_sense(after, found.environment)
    _require_held(scope, found)
    await _require_within(scope, found.environment, after)
    if found.key.id == scope.caller.key_id and not scope.confirmed:
        _require_address(scope, _networks(after))
        _require_still_able(after, found.environment)
    await scope.db.run_sync(operations.change, found.key, changes)


async def rotate(scope: Scope, found: Described, overlap_seconds: int) -> str:
    """Gives a locked key a new secret, and returns it. Raises `rotation_in_progress`, `key_ended`."""
    await _require_within(scope, found.environment, _columns(found.key))
    overlap = timedelta(seconds=overlap_seconds)
    return await scope.db.run_sync(rotation.rotate, found, overlap, scope.ring)


async def end_secret(scope: Scope, found: Described, secret_id: UUID) -> bool:
    """Ends a secret of a locked key at once; False for one that had ended. Raises `not_found`, `last_secret`."""
    _require_held(scope, found)
    return await scope.db.run_sync(rotation.end_secret, found, secret_id)


async def revoke(scope: Scope, found: Described) -> bool:
    """Ends a key; False for one that was ended before, which stays as it was."""
    _require_held(scope, found)
    return await scope.db.run_sync(operations.revoke_key, scope.organisation_id, found.key.id)


def _require_sense(columns: Mapping[str, Any], kind: api_key.Environment) -> None:
    """Raises `invalid` for scopes that the role does not have, and for an end that is over."""
    granted = permissions_of(Role(columns["role"]), None, live=kind == LIVE)
    lacking = sorted(set(columns["scopes"] or ()) - granted)
    if lacking:
        raise invalid("scopes", f"the role {Role(columns['role'])} does not have {', '.join(lacking)} in {kind}")
    if columns["expires_at"] is not None and columns["expires_at"] <= utc_now():
        raise invalid("expiresAt", "lies in the past; to end a key now, delete it")


def _require_held(scope: Scope, found: Described) -> None:
    """Raises `insufficient_scope` for a key that may more than the caller."""
    permissions = _permissions(_columns(found.key), found.environment)
    reason = beyond(Reach(scope.caller.permissions), Reach(permissions))
    if reason is not None:
        raise beyond_own(reason.replace("It would hold", "The key holds"))


async def _require_within(scope: Scope, kind: api_key.Environment, columns: Mapping[str, Any]) -> None:
    """Raises `insufficient_scope` for a key that would reach farther than the caller's own."""
    if kind == LIVE and not scope.caller.is_live:
        raise beyond_own("A key of the test environment makes keys of that environment only")
    reason = beyond(await _own_reach(scope), _reach(columns, kind))
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
    reach = _reach(_columns(own.key), own.environment)
    # Whoever made it may be able to do less.
    return replace(reach, permissions=reach.permissions & caller.permissions)


def _require_address(scope: Scope, listed: NetworkList) -> None:
    if not listed.admits(scope.address):
        raise would_lock_out(f"You call from {scope.address}, which the new lists refuse")


async def _require_days(scope: Scope, days: int | None) -> None:
    """Raises `would_lock_out` when a secret of the caller's own key is older than that."""
    if days is None or scope.caller.key_id is None:
        return
    own = await scope.db.run_sync(rotation.find, scope.organisation_id, scope.caller.key_id)
    under = Described(own.key, own.environment, days)
    if not all(under.is_live(one, utc_now()) for one in await scope.db.run_sync(rotation.secrets, own.key)):
        raise would_lock_out("A secret of the key that you call with is older than that, and would end at once")


def _require_still_able(columns: Mapping[str, Any], kind: api_key.Environment) -> None:
    if Permission.key_write not in _permissions(columns, kind):
        raise would_lock_out("The key that you call with could change no keys any more")


def _columns(row: ApiKey | Organisation) -> dict[str, Any]:
    names = ("name", "role", "scopes", "allowed_networks", "denied_networks", "expires_at")
    return {name: getattr(row, name) for name in names if hasattr(row, name)}


def _permissions(columns: Mapping[str, Any], kind: api_key.Environment) -> frozenset[Permission]:
    scopes = None if columns["scopes"] is None else tuple(columns["scopes"])
    return permissions_of(Role(columns["role"]), scopes, live=kind == LIVE)


def _networks(columns: Mapping[str, Any]) -> NetworkList:
    return NetworkList(parse(columns["allowed_networks"]), parse(columns["denied_networks"]))


def _reach(columns: Mapping[str, Any], kind: api_key.Environment) -> Reach:
    return Reach(_permissions(columns, kind), _networks(columns), columns["expires_at"])
