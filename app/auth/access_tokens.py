"""Finds the caller behind an OAuth access token: what it says is judged first, then whether that still holds."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ARRAY, Boolean, Select, Text, Uuid, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.expression import column

from app.auth.caller import Caller
from app.auth.signing_keys import SigningKeys
from app.domain.assurance import TWO_FACTORS
from app.domain.ids import decode
from app.domain.networks import network_list
from app.domain.permissions import Role, permissions_of
from app.kit.cache import LIFE_SECONDS, Cache
from app.kit.clock import utc_now
from app.kit.errors import Kind, Problem, forbidden
from app.kit.token_keys import BadToken

TYPES = ("at+jwt", "application/at+jwt")
SKEW = timedelta(seconds=30)
KEPT = timedelta(seconds=LIFE_SECONDS)
LIVE = "live"
CHALLENGE = 'Bearer error="invalid_token"'
STEP_UP = "The organisation asks for a second factor: sign in again with one, then ask for a token again"
ENROL = "The organisation asks for a second factor: sign in at a browser and add one, then ask for a token again"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a token says that was made here, for the API, and is not over."""

    id: str
    organisation_id: UUID
    family_id: UUID
    client_id: UUID
    user_id: UUID | None
    scopes: tuple[str, ...]
    assurance: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class State:
    """What the database said of a token in force, and at which time of its own."""

    environment_id: UUID
    environment: str
    client_id: UUID
    user_id: UUID | None
    role: Role
    scopes: tuple[str, ...]
    mfa_required: bool
    has_mfa: bool
    organisation_allows: tuple[str, ...]
    organisation_denies: tuple[str, ...]
    now: datetime


_STATE = TypeAdapter(State)


class AccessTokens:
    """Reads access tokens; one for each process. `issuer` is this installation.

    What PostgreSQL says of a token is kept in Redis, until its organisation or its person is changed.
    """

    def __init__(self, engine: AsyncEngine, keys: SigningKeys, issuer: str, cache: Cache) -> None:
        self._reads = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._keys = keys
        self._issuer = issuer
        self._cache = cache

    async def caller(self, text: str) -> tuple[Caller, datetime]:
        """Who calls with the token, and until when it is good.

        Raises Problem `unauthenticated` for one that is not in force (`invalid_token`) or was got by fewer factors than
        the organisation asks for (`insufficient_user_authentication`), and Problem `forbidden`
        (`mfa_enrolment_required`) where the person has no second factor at all.
        """
        claims = await self._claims(text)
        with _judging():
            token = claimed(claims, self._issuer)
        state = await self._state(token)
        if state is None or (state.client_id, state.user_id) != (token.client_id, token.user_id):
            raise invalid_token("It was revoked, or whom it stands for is gone: ask for another one")
        # By one clock for all processes, whatever each of them believes.
        with _judging():
            require_now(claims, state.now)
        if state.mfa_required and token.user_id is not None:
            _require_two_factors(token, has_mfa=state.has_mfa)
        return _caller(token, state), token.expires_at

    async def _state(self, token: AccessToken) -> State | None:
        """What is kept, unless the token may be over by now; else what the database says. None for one that is over."""
        owners = [token.organisation_id, *([] if token.user_id is None else [token.user_id])]
        looked = await self._cache.get(f"access/{token.family_id.hex}/{token.id}", owners)
        kept = None if looked.value is None else _kept(looked.value)
        if kept is not None and kept.now + KEPT < token.expires_at:
            return kept
        async with self._reads.connect() as connection:
            asked = {"organisation": token.organisation_id, "family": token.family_id, "token": token.id}
            row = (await connection.execute(_in_force(), asked)).one_or_none()
        if row is None:
            return None
        state = _STATE.validate_python(row._asdict())
        await self._cache.put(looked, _STATE.dump_json(state))
        return state

    async def _claims(self, text: str) -> dict[str, Any]:
        keys = await self._keys.naming(text)
        try:
            return keys.verify(text, TYPES, utc_now())
        except BadToken as error:
            raise invalid_token(str(error)) from None


def read(claims: Mapping[str, Any], issuer: str, now: datetime) -> AccessToken:
    """What the claims say. Raises BadToken for a token of others, for others, or not for now.

    KeyError, TypeError and ValueError are raised for one that lacks something.
    """
    require_now(claims, now)
    return claimed(claims, issuer)


def require_now(claims: Mapping[str, Any], now: datetime) -> None:
    """Raises BadToken for a token whose time is over or has not come, give or take the skew of clocks; as `read`."""
    moment, skew = now.timestamp(), SKEW.total_seconds()
    if _time(claims["exp"]) + skew <= moment:
        raise BadToken("it has expired")
    if _time(claims["iat"]) - skew > moment or _time(claims.get("nbf", 0)) - skew > moment:
        raise BadToken("it is not good yet")


def claimed(claims: Mapping[str, Any], issuer: str) -> AccessToken:
    """What the claims say, whenever that is; raises as `read`."""
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if claims["iss"] != issuer or f"{issuer}/api/v1" not in audiences:
        raise BadToken("it was made by another issuer, or for another audience")
    client_id, user_id = _id("client", claims["client_id"]), decode("user", claims["sub"])
    if user_id is None and claims["sub"] != claims["client_id"]:
        raise BadToken("its subject is nobody")
    return AccessToken(
        _text(claims["jti"]),
        _id("org", claims["org"]),
        UUID(hex=claims["fam"]),
        client_id,
        user_id,
        tuple(_text(claims["scope"]).split()),
        "" if user_id is None else _text(claims["acr"]),
        datetime.fromtimestamp(claims["exp"], UTC),
    )


def invalid_token(detail: str) -> Problem:
    """The answer to a token that is not good (RFC 6750)."""
    return Problem(
        Kind.unauthenticated,
        "authentication_failed",
        f"Invalid token: {detail}",
        word="invalid_token",
        challenge=CHALLENGE,
    )


@contextmanager
def _judging() -> Iterator[None]:
    """Answers with Problem `invalid_token` to claims that cannot be read, or are not for here and now."""
    try:
        yield
    except BadToken as error:
        raise invalid_token(str(error)) from None
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise invalid_token("its claims are not those of an access token") from None


def _require_two_factors(token: AccessToken, *, has_mfa: bool) -> None:
    if not has_mfa:
        raise forbidden(ENROL, "mfa_enrolment_required")
    if token.assurance != TWO_FACTORS:
        word = "insufficient_user_authentication"
        challenge = f'Bearer error="{word}", acr_values="{TWO_FACTORS}"'
        raise Problem(Kind.unauthenticated, "authentication_failed", STEP_UP, word=word, challenge=challenge)


def _kept(value: bytes) -> State | None:
    try:
        return _STATE.validate_json(value)
    except ValidationError:
        return None  # kept by a process of another version


def _caller(token: AccessToken, row: State) -> Caller:
    is_live = row.environment == LIVE
    granted = tuple(sorted(set(token.scopes).intersection(row.scopes)))
    networks = network_list(row.organisation_allows, row.organisation_denies)
    return Caller(
        organisation_id=token.organisation_id,
        environment_id=row.environment_id,
        subject=f"client:{token.client_id}" if token.user_id is None else f"user:{token.user_id}",
        permissions=permissions_of(row.role, granted, live=is_live),
        is_live=is_live,
        networks=() if networks is None else (networks,),
        user_id=token.user_id,
        client_id=token.client_id,
        family_id=token.family_id,
        scopes=frozenset(granted),
    )


def _id(prefix: str, text: object) -> UUID:
    found = decode(prefix, _text(text))
    if found is None:
        raise BadToken(f"it names no {prefix}")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise BadToken("what it says is not a text")
    return value


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken("what it says is not a time")
    return value


FOUND = (
    column("environment_id", Uuid),
    column("environment", Text),
    column("client_id", Uuid),
    column("user_id", Uuid),
    column("role", Text),
    column("scopes", ARRAY(Text)),
    column("mfa_required", Boolean),
    column("has_mfa", Boolean),
    column("organisation_allows", ARRAY(Text)),
    column("organisation_denies", ARRAY(Text)),
)
"""What the database says of a token that is in force."""


@cache
def _in_force() -> Select[*tuple[Any, ...]]:
    asked = bindparam("organisation", type_=Uuid()), bindparam("family", type_=Uuid()), bindparam("token", type_=Text())
    found = func.find_access_token(*asked).table_valued(*FOUND).alias("found")
    return select(*found.c, func.clock_timestamp().label("now"))
