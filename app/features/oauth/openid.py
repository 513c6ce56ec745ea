"""What the OpenID provider says of itself, and of people to those whom they let."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.domain.assurance import ONE_FACTOR, TWO_FACTORS
from app.domain.scopes import WORDS
from app.features.oauth.client_keys import ALGORITHMS
from app.features.oauth.clients import AuthMethod, GrantType
from app.kit.token_keys import Algorithm
from app.models import User

CLAIMS = {"profile": ("name", "updated_at"), "email": ("email", "email_verified")}
"""What each scope lets be said of a person."""
OWN_CLAIMS = ("sub", "iss", "aud", "azp", "exp", "iat", "nonce", "at_hash", "auth_time", "amr", "acr", "sid")
CONFIDENTIAL = [one.value for one in AuthMethod if one is not AuthMethod.none]
PROMPTS = ("none", "login", "consent")


def configuration(issuer: str) -> dict[str, Any]:
    """What holds here, by OpenID Connect Discovery and RFC 8414: no more, and no less."""
    signed = sorted({name for _, names in ALGORITHMS for name in names})
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/oauth/authorize",
        "token_endpoint": f"{issuer}/oauth/token",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "end_session_endpoint": f"{issuer}/oauth/logout",
        "scopes_supported": sorted(map(str, WORDS)),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [one.value for one in GrantType],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [one.value for one in Algorithm],
        "token_endpoint_auth_methods_supported": [one.value for one in AuthMethod],
        "token_endpoint_auth_signing_alg_values_supported": signed,
        "revocation_endpoint_auth_methods_supported": [one.value for one in AuthMethod],
        "revocation_endpoint_auth_signing_alg_values_supported": signed,
        "introspection_endpoint_auth_methods_supported": CONFIDENTIAL,
        "introspection_endpoint_auth_signing_alg_values_supported": signed,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "prompt_values_supported": list(PROMPTS),
        "acr_values_supported": [ONE_FACTOR, TWO_FACTORS],
        "claim_types_supported": ["normal"],
        "claims_supported": [*OWN_CLAIMS, *(name for names in CLAIMS.values() for name in names)],
        "claims_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "backchannel_logout_supported": True,
        "backchannel_logout_session_supported": True,
    }


def about(user: User, scopes: Sequence[str], requested: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What these scopes, and requests by name, let be said of a person; a name that nobody knows is passed over."""
    wanted = {name for scope in scopes for name in CLAIMS.get(scope, ())} | set(requested or ())
    known = {
        "name": user.name,
        "updated_at": int(user.updated_at.timestamp()),
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
    }
    return {name: value for name, value in known.items() if name in wanted}


def scopes_of(requested: Mapping[str, Any] | None) -> list[str]:
    """The scopes of which claims are asked for by name."""
    names = {name for part in (requested or {}).values() for name in part}
    return [scope for scope, claims in CLAIMS.items() if names.intersection(claims)]


def within(requested: Mapping[str, Any] | None, scopes: Sequence[str]) -> dict[str, Any] | None:
    """What is asked for by name, without the claims of scopes that the client may not ask for."""
    if requested is None:
        return None
    barred = {name for scope, names in CLAIMS.items() if scope not in scopes for name in names}
    return {part: {name: how for name, how in asked.items() if name not in barred} for part, asked in requested.items()}
