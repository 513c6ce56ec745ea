"""Authlib's authorization server, and what is decided otherwise than by its defaults.

It is synchronous and rides in one transaction, inside `run_sync`. One is made for each request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from authlib.oauth2.rfc6749 import AuthorizationServer, TokenEndpoint
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidRequestError,
    OAuth2Error,
    UnsupportedGrantTypeError,
)
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from app.domain import redirects
from app.domain.audit import Actor, Where
from app.domain.ids import decode, encode
from app.domain.permissions import Role, permissions_of
from app.domain.scopes import WORDS, OpenIdScope, permissions_in, split
from app.features.oauth import clients, families, openid, queries
from app.features.oauth.assertions import SignedAssertion
from app.features.oauth.clients import AuthMethod, GrantType
from app.features.oauth.errors import CLIENT
from app.features.oauth.parameters import Asked
from app.features.oauth.tokens import Grant, Minter
from app.kit.db import enter_tenants
from app.kit.encryption import KeyRing
from app.kit.token_keys import Algorithm, KeySet
from app.models import OAuthClient, OAuthClientSecret, OAuthFamily, User

LIVE = "live"
METHODS = tuple(AuthMethod)
UNKNOWN_CLIENT = "The client is not known by what it has shown"
TWO_WAYS = "The client shows who it is in more than one way"


class Client:
    """A client as Authlib looks at it."""

    def __init__(self, row: OAuthClient, secrets: Sequence[OAuthClientSecret], kind: str) -> None:
        self.row = row
        self.id = encode(CLIENT, row.id)
        self.kind = kind
        self._secrets = secrets

    @property
    def actor(self) -> Actor:
        """It in the audit log."""
        return Actor("client", self.id, self.row.name)

    @property
    def own_scopes(self) -> list[str]:
        """What it may ask for in its own name."""
        held = permissions_of(Role(self.row.role), None, live=self.kind == LIVE)
        return sorted(permissions_in(self.row.scopes) & held)

    def get_client_id(self) -> str:
        """Its public name."""
        return self.id

    def get_default_redirect_uri(self) -> None:
        """None: whoever asks says where people are to be sent."""

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """The scopes that it gets of those that it asks for, by default all but offline_access; None to refuse.

        Of a request of OpenID Connect, words that nobody knows are left out (Core 1.0, 3.1.2.1).
        """
        asked = split(scope) or [one for one in self.row.scopes if one != OpenIdScope.offline_access]
        known = [one for one in asked if one in WORDS] if OpenIdScope.openid in asked else asked
        return None if set(known) - set(self.row.scopes) else " ".join(known)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether people may be sent there."""
        return redirects.is_registered(self.row.redirect_uris, redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether it is one of its secrets in force; their digests alone are kept."""
        return clients.is_secret(self._secrets, client_secret)

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Whether it proves who it is in this way: the registered one, at every endpoint."""
        return self.row.auth_method == method

    def check_response_type(self, response_type: str) -> bool:
        """Whether it may ask for this at the authorization endpoint."""
        return response_type == "code" and self.check_grant_type(GrantType.authorization_code)

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether it was registered for the grant."""
        return grant_type in self.row.grant_types


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the server needs of the process and of the request.

    `grace` is for how many seconds a used refresh token is taken once more, as long as nothing came of its successor.
    """

    keys: KeySet
    ring: KeyRing
    issuer: str
    where: Where
    grace: int = 0


class Server(AuthorizationServer):
    """The authorization server of one request; its transaction sees nobody at first, then the client's organisation."""

    def __init__(
        self, db: Session, surroundings: Surroundings, known: Client | None = None, proven_id: UUID | None = None
    ) -> None:
        """`known` is a client that showed who it is in a transaction before, `proven_id` whose password it has."""
        super().__init__(scopes_supported=None)
        self.proven_id = proven_id
        self.db = db
        self.surroundings = surroundings
        self._known = known
        self._clients: dict[str, Client | None] = {}
        self.register_client_auth_method(AuthMethod.client_secret_basic, _by_basic)
        self.register_client_auth_method(AuthMethod.private_key_jwt, SignedAssertion(db, surroundings.issuer))

    def query_client(self, client_id: str) -> Client | None:
        """The client, whose organisation the transaction sees from now on; None when there is none in force."""
        if client_id not in self._clients:
            named = decode(CLIENT, client_id)
            self._clients[client_id] = None if named is None else self._load(named)
        return self._clients[client_id]

    def authenticate_client(self, request: Asked, methods: Sequence[str], endpoint: str = "token") -> Client:
        """The client behind the one way in which it shows who it is. Raises InvalidClientError, InvalidRequestError.

        Nothing is said of what was wrong: neither of a client that is not there, nor of one that is.
        """
        if self._known is not None:
            request.auth_method = self._known.row.auth_method
            return self._known
        method = _shown(request)
        try:
            # A way that is not taken here is none at all.
            client: Client = super().authenticate_client(request, [method] if method in methods else [], endpoint)
        except InvalidClientError:
            raise InvalidClientError(UNKNOWN_CLIENT, status_code=401) from None
        _require_same(request, client)
        return client

    def create_oauth2_request(self, request: Asked) -> Asked:
        """The request, which was read before."""
        return request

    def token(self, asked: Asked) -> JSONResponse:
        """The answer of the token endpoint."""
        try:
            require_once(asked)
            if not asked.payload.grant_type:
                raise InvalidRequestError("Missing 'grant_type' in request.")
            grant = self.get_token_grant(asked)
            grant.validate_token_request()
            return self.handle_response(*grant.create_token_response())
        except OAuth2Error as error:
            return self._refuse(asked, error)

    def endpoint(self, kind: type[TokenEndpoint], asked: Asked) -> JSONResponse:
        """The answer of another endpoint of clients."""
        try:
            return self.handle_response(*kind(self)(asked))
        except OAuth2Error as error:
            return self._refuse(asked, error)

    def identify(self, asked: Asked) -> Client | JSONResponse:
        """The client that has a person's password, and may ask for tokens by it; the answer to any other."""
        try:
            require_once(asked)
            client = self.authenticate_client(asked, METHODS)
            if not (client.row.first_party and client.check_grant_type(GrantType.password)):
                raise UnsupportedGrantTypeError(GrantType.password)
            if not {"username", "password"} <= asked.form.keys():
                raise InvalidRequestError("Missing 'username' or 'password' in request.")
        except OAuth2Error as error:
            return self._refuse(asked, error)
        return client

    def save_token(self, token: Mapping[str, Any], request: Asked) -> None:
        """Nothing more to save: of what is kept of a token, `issue` has written the digest."""

    def issue(
        self,
        family: OAuthFamily,
        client: OAuthClient,
        scopes: Sequence[str],
        *,
        refresh: bool,
        parent_id: UUID | None = None,
        nonce: str | None = None,
    ) -> dict[str, Any]:
        """New tokens of a family, as the token endpoint answers with them."""
        grant = granted(family, client, scopes)
        minter = Minter(self.surroundings.issuer, self.surroundings.keys)
        access = minter.access_token(grant)
        token: dict[str, Any] = {"token_type": "Bearer", "access_token": access.text, "expires_in": access.seconds}
        if refresh:
            token["refresh_token"] = families.add_refresh_token(self.db, family, scopes, parent_id)
        if family.user_id is not None and OpenIdScope.openid in scopes:
            claims = self._asked_by_name(family)
            token["id_token"] = minter.id_token(grant, nonce=nonce, access_token=access.text, claims=claims)
        return token | {"scope": " ".join(scopes)}

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> JSONResponse:  # noqa: ANN401 a JSON value
        """Authlib's answer as Starlette's."""
        answer = JSONResponse(body or None, status)
        for name, value in headers:
            answer.headers[name.lower()] = value
        answer.headers["cache-control"] = "no-store"
        return answer

    def send_signal(self, name: str, *_args: object, **_more: object) -> None:
        """Nobody listens."""

    def _refuse(self, asked: Asked, error: OAuth2Error) -> JSONResponse:
        answer: JSONResponse = self.handle_error_response(asked, error)
        return answer

    def _asked_by_name(self, family: OAuthFamily) -> dict[str, Any]:
        """What the client wants the ID token itself to say of the person; the rest it asks userinfo for."""
        requested = (family.claims or {}).get("id_token")
        if not requested or family.user_id is None:
            return {}
        enter_tenants(self.db, [family.organisation_id, family.user_id])
        return openid.about(self.db.get_one(User, family.user_id), (), requested)

    def _load(self, client_id: UUID) -> Client | None:
        organisation_id = self.db.scalar(queries.owner_of(client_id))
        if organisation_id is None:
            return None
        enter_tenants(self.db, [organisation_id])
        row = self.db.execute(queries.named(organisation_id, client_id)).one_or_none()
        return None if row is None else Client(row[0], clients.secrets(self.db, row[0]), row[1])


def granted(family: OAuthFamily, client: OAuthClient, scopes: Sequence[str]) -> Grant:
    """What a token of the family is for."""
    return Grant(
        organisation_id=family.organisation_id,
        family_id=family.id,
        client_id=family.client_id,
        scopes=scopes,
        user_id=family.user_id,
        session_id=family.began_in,
        methods=family.methods,
        authenticated_at=family.authenticated_at,
        algorithm=Algorithm(client.id_token_algorithm),
    )


def require_once(asked: Asked) -> None:
    """Raises InvalidRequestError for a parameter that was sent more than once."""
    if asked.payload.repeated is not None:
        raise InvalidRequestError("A parameter is in the request more than once")


def failed(answer: Response) -> bool:
    """Whether a client could not show who it is."""
    return "www-authenticate" in answer.headers


def _shown(asked: Asked) -> str:
    """The one way in which the client shows who it is. Raises InvalidRequestError for two at once."""
    form = asked.payload.data
    shown = [
        method
        for method, is_there in (
            (AuthMethod.client_secret_basic, "authorization" in asked.headers),
            (AuthMethod.client_secret_post, "client_secret" in form),
            (AuthMethod.private_key_jwt, "client_assertion" in form or "client_assertion_type" in form),
        )
        if is_there
    ]
    if len(shown) > 1:
        raise InvalidRequestError(TWO_WAYS)
    return shown[0] if shown else AuthMethod.none


def _require_same(asked: Asked, client: Client) -> None:
    named = asked.payload.client_id
    if named is not None and named != client.id:
        raise InvalidRequestError("The parameter 'client_id' names another client")


def _by_basic(query_client: Any, asked: Asked) -> Client | None:  # noqa: ANN401 Authlib's callback
    if asked.basic is None:
        return None
    name, secret = asked.basic
    client: Client | None = query_client(name)
    return client if client is not None and client.check_client_secret(secret) else None
