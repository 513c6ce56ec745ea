"""What clients are handed: access tokens (RFC 9068), ID tokens (OpenID Connect) and logout tokens, all of them JWT."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from app.domain.assurance import assurance
from app.domain.ids import encode
from app.kit.clock import new_id, utc_now
from app.kit.token_keys import Algorithm, KeySet

ACCESS_TYPE, ID_TYPE, LOGOUT_TYPE = "at+jwt", "JWT", "logout+jwt"
ACCESS_LIFETIME = timedelta(minutes=10)
ID_LIFETIME = timedelta(minutes=10)
LOGOUT_LIFETIME = timedelta(minutes=2)
AUDIENCE_PATH = "/api/v1"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True, slots=True)
class Access:
    """An access token: its text, its `jti`, and when it is over."""

    text: str = field(repr=False)
    id: str
    expires_at: datetime

    @property
    def seconds(self) -> int:
        """What `expires_in` says."""
        return int(ACCESS_LIFETIME.total_seconds())


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted: by whom to which client, what of it the token is for, and how the person had signed in.

    `user_id` None is a client in its own name, which has no ID token. `session_id` is the session in which a person
    allowed it.
    """

    organisation_id: UUID
    family_id: UUID
    client_id: UUID
    scopes: Sequence[str]
    user_id: UUID | None = None
    session_id: UUID | None = None
    methods: Sequence[str] = ()
    authenticated_at: datetime | None = None
    algorithm: Algorithm = Algorithm.rs256


class Minter:
    """Mints tokens in the name of one issuer, by the keys of one moment."""

    def __init__(self, issuer: str, keys: KeySet) -> None:
        self._issuer = issuer
        self._keys = keys

    def access_token(self, grant: Grant) -> Access:
        """An access token for the API. Raises NoSigningKey."""
        now, token_id = utc_now(), new_id().hex
        expires_at = now + ACCESS_LIFETIME
        claims = {
            **self._about(grant.client_id, grant.user_id, now, expires_at),
            "aud": audience(self._issuer),
            "client_id": encode("client", grant.client_id),
            "jti": token_id,
            "scope": " ".join(grant.scopes),
            "org": encode("org", grant.organisation_id),
            "fam": grant.family_id.hex,
            **(how(grant) if grant.user_id is not None else {}),
        }
        return Access(self._keys.sign(grant.algorithm, ACCESS_TYPE, claims, now), token_id, expires_at)

    def id_token(
        self,
        grant: Grant,
        *,
        nonce: str | None = None,
        access_token: str | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """An ID token; `claims` are what the person lets be said beside, and never replace its own.

        Raises NoSigningKey.
        """
        now = utc_now()
        client = encode("client", grant.client_id)
        own = {
            **self._about(grant.client_id, grant.user_id, now, now + ID_LIFETIME),
            "aud": client,
            "azp": client,
            "sid": None if grant.session_id is None else grant.session_id.hex,
            "nonce": nonce,
            "at_hash": None if access_token is None else half_hash(access_token),
            **how(grant),
        }
        said = {**(claims or {}), **{name: value for name, value in own.items() if value is not None}}
        return self._keys.sign(grant.algorithm, ID_TYPE, said, now)

    def logout_token(self, client_id: UUID, user_id: UUID, session_id: UUID, algorithm: Algorithm) -> str:
        """Tells a client that a session is over (OpenID Connect Back-Channel Logout). Raises NoSigningKey."""
        now = utc_now()
        claims = {
            **self._about(client_id, user_id, now, now + LOGOUT_LIFETIME),
            "aud": encode("client", client_id),
            "jti": new_id().hex,
            "sid": session_id.hex,
            "events": {LOGOUT_EVENT: {}},
        }
        return self._keys.sign(algorithm, LOGOUT_TYPE, claims, now)

    def _about(self, client_id: UUID, user_id: UUID | None, now: datetime, expires_at: datetime) -> dict[str, Any]:
        subject = encode("client", client_id) if user_id is None else encode("user", user_id)
        times = {"iat": int(now.timestamp()), "exp": int(expires_at.timestamp())}
        return {"iss": self._issuer, "sub": subject, **times}


def audience(issuer: str) -> str:
    """Whom access tokens are for: the API."""
    return issuer + AUDIENCE_PATH


def how(grant: Grant) -> dict[str, Any]:
    """When and how the person signed in, as claims."""
    found: dict[str, Any] = {"amr": list(grant.methods), "acr": assurance(grant.methods)}
    if grant.authenticated_at is not None:
        found["auth_time"] = int(grant.authenticated_at.timestamp())
    return found


def half_hash(text: str) -> str:
    """`at_hash`: the left half of the SHA-256 of a token, for RS256 and ES256 alike."""
    return base64.urlsafe_b64encode(sha256(text.encode("ascii")).digest()[:16]).rstrip(b"=").decode()
