"""Clients that show who they are by signing (RFC 7523, `private_key_jwt`)."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from authlib.oauth2.rfc6749.errors import InvalidClientError
from joserfc import jws, jwt
from joserfc.jwk import Key
from sqlalchemy.orm import Session

from app.features.oauth import queries
from app.features.oauth.client_keys import algorithms, key_set
from app.features.oauth.clients import AuthMethod
from app.kit.clock import utc_now
from app.kit.token_keys import REFUSED
from app.models import OAuthClient

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST = timedelta(minutes=10)
"""For how long an assertion may be good: for so long it is remembered that it was used."""
SKEW = timedelta(seconds=30)
TOKEN_PATH = "/oauth/token"  # noqa: S105 a path
MOST_CHARACTERS = 256


class SignedAssertion:
    """Authlib's hook for the method: by the client's own keys, each by its own algorithms, and each assertion once."""

    def __init__(self, db: Session, issuer: str) -> None:
        self._db = db
        self._audiences = frozenset({issuer, issuer + TOKEN_PATH})

    def __call__(self, query_client: Callable[[str], Any], asked: Any) -> Any:  # noqa: ANN401 Authlib's callback
        """The client. Raises InvalidClientError."""
        form = asked.payload.data
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise InvalidClientError
        try:
            text = form["client_assertion"]
            client = query_client(str(json.loads(jws.extract_compact(text.encode("ascii")).payload)["sub"]))
            if client is None or client.row.auth_method != AuthMethod.private_key_jwt:
                raise InvalidClientError
            self._use(client.row, self._verified(client.row, client.id, text))
        except (*REFUSED, OSError):  # some times are beyond what the system counts
            raise InvalidClientError from None
        return client

    def _verified(self, client: OAuthClient, client_id: str, text: str) -> Mapping[str, Any]:
        key = _named(client, jws.extract_compact(text.encode("ascii")).headers().get("kid"))
        claims = jwt.decode(text, key, list(algorithms(key))).claims
        audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if claims["iss"] != client_id or claims["sub"] != client_id or not self._audiences & set(audiences):
            raise InvalidClientError
        now = utc_now()
        if max(_moment(claims.get("nbf", 0)), _moment(claims.get("iat", 0))) > now + SKEW:
            raise InvalidClientError
        if not now - SKEW < _moment(claims["exp"]) <= now + LONGEST + SKEW:
            raise InvalidClientError
        return claims

    def _use(self, client: OAuthClient, claims: Mapping[str, Any]) -> None:
        name = claims["jti"]
        if not isinstance(name, str) or not 0 < len(name) <= MOST_CHARACTERS:
            raise InvalidClientError
        ticket = UUID(bytes=sha256(client.id.bytes + name.encode()).digest()[:16])
        once = queries.use_ticket(client.organisation_id, ticket, _moment(claims["exp"]) + SKEW)
        if self._db.execute(once).first() is None:
            raise InvalidClientError


def _named(client: OAuthClient, key_id: object) -> Key:
    """The key that the assertion names; where it names none, the only one there is. Raises InvalidClientError."""
    keys = key_set(client.jwks or {}).keys
    found = [one for one in keys if key_id is None or one.kid == key_id]
    if len(found) != 1:
        raise InvalidClientError
    return found[0]


def _moment(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidClientError
    return datetime.fromtimestamp(value, UTC)
