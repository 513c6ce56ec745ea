"""The four ways to tokens, by Authlib's grants, stricter than these are by default."""

import hmac
import re
from datetime import timedelta
from typing import Any, ClassVar

from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.errors import (
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
)
from authlib.oauth2.rfc7636 import CodeChallenge

from app.auth.people import has_mfa
from app.domain.audit import Actor, Event, Outcome
from app.domain.ids import encode
from app.domain.owned_tokens import Token
from app.domain.scopes import split
from app.features.audit.operations import record
from app.features.oauth import families, queries
from app.features.oauth.clients import GrantType, client_target
from app.features.oauth.families import FAMILY_LIFETIME, REPLAYED_CODE, REUSED_TOKEN, NewFamily
from app.features.oauth.parameters import Asked
from app.features.oauth.server import METHODS, Client, Server
from app.features.oauth.tokens import ACCESS_LIFETIME
from app.features.people import queries as people
from app.kit.clock import utc_now
from app.kit.db import enter_tenants
from app.models import OAuthCode, OAuthFamily, OAuthRefreshToken, User

CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
"""What S256 makes of any verifier."""


class _Grant:
    """What the grants share: every client shows who it is as it was registered."""

    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    TOKEN_RESPONSE_HEADER: ClassVar = [("Content-Type", "application/json"), ("Pragma", "no-cache")]
    server: Server
    request: Asked

    @property
    def _client(self) -> Client:
        client: Client = self.request.client
        return client


class OnlyS256(CodeChallenge):
    """PKCE for every client, by S256 alone: asked for at the authorization endpoint, and held to at the token's."""

    DEFAULT_CODE_CHALLENGE_METHOD = None
    SUPPORTED_CODE_CHALLENGE_METHOD: ClassVar = ["S256"]
    CODE_CHALLENGE_METHODS: ClassVar = {"S256": CodeChallenge.CODE_CHALLENGE_METHODS["S256"]}

    def validate_code_challenge(self, grant: Any, _redirect_uri: str) -> None:  # noqa: ANN401 Authlib's grant
        """Raises InvalidRequestError for a request without a challenge, or by another method."""
        sent = grant.request.payload.data
        if sent.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(sent.get("code_challenge", "")):
            raise InvalidRequestError("PKCE is needed: send 'code_challenge' and 'code_challenge_method=S256'")

    def get_authorization_code_challenge_method(self, _code: "_Code") -> str:
        """No code is given away for another one."""
        return "S256"


class _Code:
    """A code as Authlib looks at it."""

    def __init__(self, row: OAuthCode, family: OAuthFamily) -> None:
        self.row = row
        self.family = family
        self.code_challenge = row.challenge

    def get_redirect_uri(self) -> str:
        """Where it was sent."""
        return self.row.redirect_uri

    def get_scope(self) -> str:
        """What it is good for."""
        return " ".join(self.row.scopes)


class ByCode(_Grant, grants.AuthorizationCodeGrant):
    """Tokens for a code, which is good once; its second use ends all that came of the first."""

    def query_authorization_code(self, code: str, client: Client) -> _Code | None:
        """The code, kept from everybody else; None when it is not this client's, over, or was used."""
        token = Token.read(code)
        if token is None or token.owner_id != client.row.organisation_id:
            return None
        db = self.server.db
        row = db.scalars(queries.locked_code(token.owner_id, token.id)).one_or_none()
        if row is None or row.client_id != client.row.id or not hmac.compare_digest(row.digest, token.digest):
            return None
        family = db.scalars(queries.locked_family(row.organisation_id, row.family_id)).one_or_none()
        if family is None:
            return None
        if row.used_at is not None:
            end_reused(self.server, family, client, REPLAYED_CODE)
            return None
        is_over = row.expires_at <= utc_now() or not families.is_in_force(db, row.organisation_id, family.id)
        return None if is_over else _Code(row, family)

    def authenticate_user(self, authorization_code: _Code) -> OAuthFamily:
        """For whom the code is: the family says."""
        return authorization_code.family

    def generate_token(self, user: OAuthFamily, *, include_refresh_token: bool, **_more: object) -> dict[str, Any]:
        """The family's first tokens."""
        row: OAuthCode = self.request.authorization_code.row
        user.expires_at = utc_now() + (FAMILY_LIFETIME if include_refresh_token else ACCESS_LIFETIME)
        return self.server.issue(user, self._client.row, row.scopes, refresh=include_refresh_token, nonce=row.nonce)

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        """Marks it as used; it stays, so that its second use is noticed."""
        authorization_code.row.used_at = utc_now()
        self.server.db.flush()

    def generate_authorization_code(self) -> str:
        """Nothing: a code's text is made where it is saved, together with its row."""
        return ""

    def save_authorization_code(self, _code: str, _request: Asked) -> None:
        """Nothing, as above."""


class _Refreshable:
    """A refresh token as Authlib looks at it."""

    def __init__(self, row: OAuthRefreshToken, family: OAuthFamily) -> None:
        self.row = row
        self.family = family

    def check_client(self, client: Client) -> bool:
        """Whether it was given to this client."""
        return self.family.client_id == client.row.id

    def get_scope(self) -> str:
        """What it is good for."""
        return " ".join(self.row.scopes)


class ByRefreshToken(_Grant, grants.RefreshTokenGrant):
    """New tokens for a refresh token, which is good once; its second use ends the family."""

    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> _Refreshable | None:
        """The token, its family kept from everybody else; None when it is not this client's, over, or was used."""
        token, client = Token.read(refresh_token), self._client
        if token is None or token.owner_id != client.row.organisation_id:
            return None
        db = self.server.db
        family = db.scalars(queries.locked_family(token.owner_id, token.id)).one_or_none()
        if family is None or family.client_id != client.row.id:
            return None
        row = db.scalars(queries.refresh_token(token.owner_id, family.id, token.digest)).one_or_none()
        if row is None or not families.is_in_force(db, family.organisation_id, family.id):
            return None
        if row.used_at is not None and not self._is_excused(row):
            end_reused(self.server, family, client, REUSED_TOKEN)
            return None
        return _Refreshable(row, family)

    def authenticate_user(self, refresh_token: _Refreshable) -> OAuthFamily:
        """For whom the token is: the family says."""
        return refresh_token.family

    def issue_token(self, user: OAuthFamily, refresh_token: _Refreshable) -> dict[str, Any]:
        """The next tokens of the family: for as much as this one was, or for less."""
        scopes = split(self.request.payload.scope) or refresh_token.row.scopes
        still = [one for one in scopes if one in self._client.row.scopes]
        return self.server.issue(user, self._client.row, still, refresh=True, parent_id=refresh_token.row.id)

    def revoke_old_credential(self, refresh_token: _Refreshable) -> None:
        """Marks it as used; it stays, so that its second use is noticed."""
        refresh_token.row.used_at = refresh_token.row.used_at or utc_now()
        self.server.db.flush()

    def _is_excused(self, row: OAuthRefreshToken) -> bool:
        """Whether the client may not have got the answer: just now, and nothing came of it."""
        assert row.used_at is not None
        if utc_now() - row.used_at >= timedelta(seconds=self.server.surroundings.grace):
            return False
        return self.server.db.execute(queries.used_children(row)).first() is None


class InOwnName(_Grant, grants.ClientCredentialsGrant):
    """Tokens for a client that can prove who it is, for what it may itself; there is no refresh token."""

    def validate_requested_scope(self) -> None:
        """Raises InvalidScopeError beyond what its role and its scopes allow."""
        asked = split(self.request.payload.scope) or self._client.own_scopes
        if not asked or set(asked) - set(self._client.own_scopes):
            raise InvalidScopeError

    def generate_token(self, **_more: object) -> dict[str, Any]:
        """A token with a family of its own."""
        client = self._client.row
        scopes = split(self.request.payload.scope) or self._client.own_scopes
        family = families.begin(self.server.db, client, NewFamily(scopes, utc_now() + ACCESS_LIFETIME))
        return self.server.issue(family, client, scopes, refresh=False)


class ByPassword(_Grant, grants.ResourceOwnerPasswordCredentialsGrant):
    """Tokens for a person's password, which RFC 9700 forbids: for clients of the first party that were given it.

    That the password is right was found out before, with no transaction open.
    """

    def validate_token_request(self) -> None:
        """Raises InvalidGrantError for a person who is unknown to the organisation, or has a second factor."""
        client = self.authenticate_token_endpoint_client()
        scope = client.get_allowed_scope(self.request.payload.scope)
        if scope is None:
            raise InvalidScopeError
        user = self._user(client)
        if user is None:
            raise InvalidGrantError("Invalid 'username' or 'password' in request.")
        self.request.client, self.request.user, self.request.scope = client, user, scope

    def generate_token(self, user: User, **_more: object) -> dict[str, Any]:
        """A family's first tokens; it hangs on no session."""
        db, client, server = self.server.db, self._client, self.server
        renews = client.check_grant_type(GrantType.refresh_token)
        new = NewFamily(
            split(self.request.scope),
            utc_now() + (FAMILY_LIFETIME if renews else ACCESS_LIFETIME),
            user_id=user.id,
            session_version=user.session_version,
            methods=("pwd",),
            authenticated_at=utc_now(),
        )
        family = families.begin(db, client.row, new)
        actor = Actor("user", encode("user", user.id), user.email)
        details = {"scopes": family.scopes, "family": family.id.hex}
        target, where = client_target(client.row), server.surroundings.where
        record(db, Event(family.organisation_id, "oauth.password_granted", actor, target, where, details=details))
        return server.issue(family, client.row, family.scopes, refresh=renews)

    def _user(self, client: Client) -> User | None:
        db, user_id, organisation_id = self.server.db, self.server.proven_id, client.row.organisation_id
        if user_id is None:
            return None
        enter_tenants(db, [organisation_id, user_id])
        user = db.scalars(people.user(user_id)).one_or_none()
        belongs = db.scalars(people.membership(organisation_id, user_id)).first() is not None
        if user is None or user.disabled_at is not None or not belongs or db.scalar(has_mfa(user_id)):
            return None
        return user


def end_reused(server: Server, family: OAuthFamily, client: Client, reason: str) -> None:
    """Ends a family of which something was used twice, and tells the person: one of the two users is a thief."""
    where = server.surroundings.where
    ended = families.revoke(server.db, family, reason, actor=client.actor, where=where, outcome=Outcome.refused)
    if ended:
        families.tell(server.db, server.surroundings.ring, family, client.row)
