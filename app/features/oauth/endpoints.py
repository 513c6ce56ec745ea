"""Revocation (RFC 7009) and introspection (RFC 7662), by Authlib's endpoints: a client's own tokens alone."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from authlib.oauth2.rfc6749.errors import InvalidRequestError
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from app.auth.access_tokens import SKEW, TYPES, AccessToken, read
from app.domain.ids import encode
from app.domain.owned_tokens import Token
from app.features.oauth import families, queries
from app.features.oauth.clients import AuthMethod
from app.features.oauth.errors import CLIENT
from app.features.oauth.parameters import Asked
from app.features.oauth.server import METHODS, Client, Server, require_once
from app.features.oauth.tokens import audience
from app.kit import changes
from app.kit.clock import utc_now
from app.kit.token_keys import BadToken
from app.models import OAuthFamily, OAuthRefreshToken

MALFORMED = (BadToken, KeyError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Presented:
    """A token that was shown: its family, and what else it is, an access token or a refresh token."""

    family: OAuthFamily
    access: AccessToken | None = None
    refresh: OAuthRefreshToken | None = None
    is_in_force: bool = False

    def check_client(self, client: Client) -> bool:
        """Whether it was given to this client."""
        return self.family.client_id == client.row.id

    @property
    def expires_at(self) -> datetime:
        """When it is over."""
        return self.family.expires_at if self.access is None else self.access.expires_at

    @property
    def scopes(self) -> list[str]:
        """What it is good for."""
        if self.access is not None:
            return list(self.access.scopes)
        return [] if self.refresh is None else self.refresh.scopes

    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires_at <= utc_now()

    def is_revoked(self) -> bool:
        """Whether it, or what it hangs on, was ended; of refresh tokens those that were used are ended too."""
        return not self.is_in_force or (self.refresh is not None and self.refresh.used_at is not None)


class _Endpoint:
    """What both share."""

    server: Server

    def check_params(self, request: Asked, _client: Client) -> None:
        """Raises InvalidRequestError without a token. What kind it may be is no more than a hint, and not needed."""
        require_once(request)
        if "token" not in request.form:
            raise InvalidRequestError("Missing 'token' in request.")

    def query_token(self, text: str, _hint: str | None) -> Presented | None:
        """The token, of the organisation of the client; None for anything else."""
        return self._refresh_token(text) or self._access_token(text)

    def _refresh_token(self, text: str) -> Presented | None:
        token, db = Token.read(text), self.server.db
        if token is None:
            return None
        family = db.scalars(queries.locked_family(token.owner_id, token.id)).one_or_none()
        row = db.scalars(queries.refresh_token(token.owner_id, token.id, token.digest)).one_or_none()
        if family is None or row is None:
            return None
        return Presented(family, refresh=row, is_in_force=families.is_in_force(db, token.owner_id, family.id))

    def _access_token(self, text: str) -> Presented | None:
        db, now, surroundings = self.server.db, utc_now(), self.server.surroundings
        try:
            token = read(surroundings.keys.verify(text, TYPES, now), surroundings.issuer, now)
        except MALFORMED:
            return None
        family = db.scalars(queries.locked_family(token.organisation_id, token.family_id)).one_or_none()
        if family is None:
            return None
        in_force = families.is_in_force(db, token.organisation_id, token.family_id, token.id)
        return Presented(family, access=token, is_in_force=in_force)


class Revocation(_Endpoint, RevocationEndpoint):
    """Ends an access token, or with a refresh token its whole family; of what is unknown nothing is said."""

    CLIENT_AUTH_METHODS = METHODS

    def revoke_token(self, token: Presented, request: Asked) -> None:
        """Ends it."""
        db, client = self.server.db, request.client
        if token.access is None:
            families.revoke(
                db, token.family, "revoked by the client", actor=client.actor, where=self.server.surroundings.where
            )
        else:
            # For as long as some clock may still take it for good.
            until = token.expires_at + SKEW
            db.execute(queries.revoke_token(token.family.organisation_id, token.access.id, until))
            changes.note(db, token.family.organisation_id)


class Introspection(_Endpoint, IntrospectionEndpoint):
    """Tells a client that can prove who it is of its own tokens, as long as they are in force."""

    CLIENT_AUTH_METHODS = tuple(one for one in METHODS if one is not AuthMethod.none)

    def check_permission(self, token: Presented, client: Client, _request: Asked) -> bool:
        """Whether the client may hear of it."""
        return token.check_client(client)

    def introspect_token(self, token: Presented) -> dict[str, Any]:
        """What is said of a token in force."""
        family, issuer = token.family, self.server.surroundings.issuer
        client = encode(CLIENT, family.client_id)
        said = {
            "active": True,
            "client_id": client,
            "scope": " ".join(token.scopes),
            "sub": client if family.user_id is None else encode("user", family.user_id),
            "iss": issuer,
            "exp": int(token.expires_at.timestamp()),
        }
        if token.access is None:
            return said
        return said | {"token_type": "Bearer", "aud": audience(issuer), "jti": token.access.id}
