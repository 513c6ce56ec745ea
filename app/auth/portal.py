"""Portal tokens: what an application's own users carry, signed by keys derived from the key ring."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.caller import Caller
from app.domain.ids import decode, encode, timestamp
from app.domain.permissions import Permission
from app.kit.clock import new_id, utc_now
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.errors import forbidden, unauthenticated
from app.models import Application, ApplicationKind, Environment, Organisation, PortalExpiry, RevokedPortalToken

ISSUER = "postrider/portal"
ALGORITHM = "HS256"
PURPOSE = "portal-token"
PAGE = "/portal"
LIFETIME = timedelta(days=7)
SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=28)
LEEWAY = timedelta(seconds=5)
# Browsers drop cookies of more than 4096 bytes, with their name and attributes, in silence.
MAX_TOKEN = 3800
# A header or claims that are nested deeply, or hold numbers beyond the calendar, are no tokens of ours either.
REFUSED = (JoseError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


class Capability(StrEnum):
    """What a portal token can be narrowed to; looking is part of each."""

    view_base = "ViewBase"
    view_endpoint_secret = "ViewEndpointSecret"  # noqa: S105 a capability's name on the wire
    manage_endpoint_secret = "ManageEndpointSecret"  # noqa: S105 as above
    manage_transformations = "ManageTransformations"
    create_attempts = "CreateAttempts"
    manage_endpoint = "ManageEndpoint"


LOOKS = frozenset(
    {
        Permission.application_read,
        Permission.delivery_read,
        Permission.endpoint_read,
        Permission.event_type_read,
        Permission.message_read,
    }
)
SEES = {Capability.view_endpoint_secret: Permission.endpoint_secret_read}
DOES = {
    Capability.manage_endpoint_secret: Permission.endpoint_secret_write,
    Capability.create_attempts: Permission.delivery_replay,
    Capability.manage_endpoint: Permission.endpoint_write,
}


def permissions_of(capabilities: Sequence[str] | None, *, read_only: bool) -> frozenset[Permission]:
    """What a portal token may that was made with these capabilities (None: all)."""
    can = SEES if read_only else SEES | DOES
    return LOOKS.union(can[one] for one in can if capabilities is None or one in capabilities)


def within(capabilities: Sequence[str] | None, held: Collection[Permission], *, read_only: bool) -> list[str] | None:
    """The capabilities of a token that somebody makes who holds these permissions: never more than its maker may.

    Where none are asked for, those that it may give; None when it may give all. Raises Problem `forbidden` when one
    is asked for that it lacks.
    """
    lacking = {one for one, permission in (SEES if read_only else SEES | DOES).items() if permission not in held}
    if capabilities is None:
        return sorted({*SEES, *DOES, Capability.view_base} - lacking) if lacking else None
    if lacking & set(capabilities):
        raise forbidden(f"The credential itself lacks what is granted by {', '.join(sorted(lacking))}")
    return sorted(set(capabilities))


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows: the event types without a flag and those of its flags; capabilities None means all."""

    organisation_id: UUID
    environment_id: UUID
    application_id: UUID
    feature_flags: Sequence[str] = ()
    capabilities: Sequence[str] | None = None
    read_only: bool = False
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class PortalToken:
    """A token that was made here and has not expired; whether it was revoked the database knows."""

    id: UUID
    grant: Grant
    expires_at: datetime

    def caller(self) -> Caller:
        """Who calls with it."""
        grant = self.grant
        return Caller(
            organisation_id=grant.organisation_id,
            environment_id=grant.environment_id,
            subject=f"portal:{self.id}",
            permissions=permissions_of(grant.capabilities, read_only=grant.read_only),
            application_id=grant.application_id,
            feature_flags=frozenset(grant.feature_flags),
        )


class PortalTokens:
    """Makes and reads portal tokens; the algorithm is pinned, the key is found by its id."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def mint(self, grant: Grant, lifetime: timedelta = LIFETIME) -> str:
        """A token; ValueError for a lifetime out of bounds."""
        if not SHORTEST <= lifetime <= LONGEST:
            msg = "a portal token lives for a minute to 28 days"
            raise ValueError(msg)
        key_id, key = self._ring.derive(PURPOSE)
        header = {"alg": ALGORITHM, "kid": key_id, "typ": "JWT"}
        return jwt.encode(header, _claims(grant, lifetime), OctKey.import_key(key), [ALGORITHM])

    def verify(self, text: str) -> PortalToken:
        """What the token says; Problem `unauthenticated` when it was not made here, was changed, or has expired."""
        try:
            token = _token(jwt.decode(text, self._key, [ALGORITHM]).claims)
        except REFUSED:
            raise unauthenticated() from None
        if token.expires_at + LEEWAY <= utc_now():
            raise unauthenticated("The portal token has expired")
        return token

    async def read(self, connection: AsyncConnection, text: str) -> Caller:
        """The caller of the token; Problem `unauthenticated` also when it was revoked or its application is gone.

        The connection must be in a transaction, which is left under the caller's tenants.
        """
        token = self.verify(text)
        caller = token.caller()
        await connection.run_sync(enter_tenants, caller.tenants)
        if (await connection.execute(_still_good(token))).scalar_one_or_none() is None:
            raise unauthenticated()
        return caller

    def _key(self, signed: Any) -> OctKey:  # noqa: ANN401 joserfc passes one of several kinds
        return OctKey.import_key(self._ring.derive(PURPOSE, signed.headers()["kid"])[1])


def _claims(grant: Grant, lifetime: timedelta) -> dict[str, Any]:
    now = utc_now()
    claims = {
        "iss": ISSUER,
        "sub": encode("app", grant.application_id),
        "org": encode("org", grant.organisation_id),
        "env": encode("env", grant.environment_id),
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
        "jti": str(new_id()),
        "featureFlags": list(grant.feature_flags),
        "capabilities": None if grant.capabilities is None else list(grant.capabilities),
        "readOnly": grant.read_only or None,
        "sid": grant.session_id,
    }
    return {name: value for name, value in claims.items() if value is not None}


def _token(claims: dict[str, Any]) -> PortalToken:
    organisation_id, environment_id = decode("org", claims["org"]), decode("env", claims["env"])
    application_id = decode("app", claims["sub"])
    if claims["iss"] != ISSUER or organisation_id is None or environment_id is None or application_id is None:
        msg = "not a portal token"
        raise ValueError(msg)
    grant = Grant(
        organisation_id,
        environment_id,
        application_id,
        claims["featureFlags"],
        claims.get("capabilities"),
        claims.get("readOnly", False),
        claims.get("sid"),
    )
    return PortalToken(UUID(claims["jti"]), grant, datetime.fromtimestamp(claims["exp"], UTC))


def _still_good(token: PortalToken) -> Select[UUID]:
    grant = token.grant
    revoked = exists().where(
        RevokedPortalToken.environment_id == grant.environment_id, RevokedPortalToken.token_id == token.id
    )
    ended = exists().where(
        PortalExpiry.environment_id == grant.environment_id,
        PortalExpiry.application_id == grant.application_id,
        PortalExpiry.made_before > timestamp(token.id),
        PortalExpiry.takes_effect_at <= func.now(),
        or_(PortalExpiry.session_id.is_(None), PortalExpiry.session_id == grant.session_id),
    )
    return (
        select(Application.id)
        .join(Environment, Environment.id == Application.environment_id)
        .join(Organisation, Organisation.id == Environment.organisation_id)
        .where(
            Application.environment_id == grant.environment_id,
            Application.id == grant.application_id,
            Application.kind == ApplicationKind.tenant,
            Application.deleted_at.is_(None),
            Organisation.id == grant.organisation_id,
            Organisation.deleted_at.is_(None),
            Organisation.suspended_at.is_(None),
            ~revoked,
            ~ended,
        )
    )


def portal_url(public_url: str, token: str) -> str:
    """The page that takes a token; at once it moves the token into a cookie and itself to a URL without it."""
    return f"{public_url.rstrip('/')}{PAGE}?token={token}"
