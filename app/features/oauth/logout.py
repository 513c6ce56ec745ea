"""What a client may ask for when it signs somebody out (OpenID Connect RP-Initiated Logout)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain import redirects
from app.domain.ids import decode
from app.features.oauth.errors import CLIENT
from app.kit.errors import Kind, Problem
from app.kit.token_keys import BadToken, KeySet
from app.models import OAuthClient

HINT_TYPES = ("jwt",)
BAD_HINT = "The application names somebody by a token that was not made here, or is too old"
BAD_CLIENT = "The application is unknown, or names itself otherwise than its token does"
BAD_REDIRECT = "The application asked to lead you to an address that it has not registered"


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a request as they came; empty where there are none."""

    hint: str = ""
    client_id: str = ""
    redirect_uri: str = ""
    state: str = ""

    def fields(self) -> dict[str, str]:
        """Them as a form carries them on."""
        named = {
            "id_token_hint": self.hint,
            "client_id": self.client_id,
            "post_logout_redirect_uri": self.redirect_uri,
            "state": self.state,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Hint:
    """Whom an ID token names that was made here, to which client, and in which session."""

    client_id: UUID
    user_id: UUID
    session_id: UUID | None

    def is_of(self, user_id: UUID, session_id: UUID) -> bool:
        """Whether it is this person, in this session."""
        return self.user_id == user_id and self.session_id == session_id


def read_hint(keys: KeySet, asked: Asked, issuer: str, now: datetime) -> Hint | None:
    """Whom the hint names, None without one. One that has expired will do: it is no credential.

    Raises Problem `invalid_id_token_hint`, and `invalid_client` when it was made for another client.
    """
    if not asked.hint:
        return None
    try:
        hint = _hint(keys.verify(asked.hint, HINT_TYPES, now), issuer)
    except (BadToken, KeyError, TypeError, ValueError):
        raise _refusal("invalid_id_token_hint", BAD_HINT) from None
    if asked.client_id and decode(CLIENT, asked.client_id) != hint.client_id:
        raise _refusal("invalid_client", BAD_CLIENT)
    return hint


def target(client: OAuthClient | None, asked: Asked) -> str | None:
    """Where the person is led to in the end, None for nowhere: what the client has registered, to the letter.

    Raises Problem `invalid_client` without the client, and `invalid_redirect_uri`.
    """
    if not asked.redirect_uri:
        return None
    if client is None:
        raise _refusal("invalid_client", BAD_CLIENT)
    if asked.redirect_uri not in client.post_logout_redirect_uris:
        raise _refusal("invalid_redirect_uri", BAD_REDIRECT)
    return (
        redirects.with_parameters(asked.redirect_uri, [("state", asked.state)]) if asked.state else asked.redirect_uri
    )


def _hint(claims: dict[str, Any], issuer: str) -> Hint:
    client_id, user_id = decode(CLIENT, claims["aud"]), decode("user", claims["sub"])
    if claims["iss"] != issuer or client_id is None or user_id is None:
        raise BadToken("it was made by another issuer, or names nobody")
    sid = claims.get("sid")
    return Hint(client_id, user_id, None if sid is None else UUID(hex=sid))


def _refusal(word: str, detail: str) -> Problem:
    return Problem(Kind.bad_request, "invalid_request", detail, word=word)
