"""What a provider says of itself (OpenID Connect Discovery 1.0), believed as far as it is about the issuer we asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.addresses import BadUrl
from app.domain.destinations import Destinations
from app.features.identity_providers.errors import refused, unreachable

WELL_KNOWN = "/.well-known/openid-configuration"
REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where a provider's endpoints are; `names_itself` is whether its answers carry `iss` (RFC 9207)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    names_itself: bool


def discovery_url(issuer: str) -> str:
    """Where the metadata of an issuer is."""
    return issuer.removesuffix("/") + WELL_KNOWN


def read_metadata(document: Mapping[str, Any], issuer: str, rules: Destinations) -> Metadata:
    """The metadata, when it is this issuer's and leads nowhere that is forbidden.

    Raises Problem `unauthenticated` for another issuer's, `bad_gateway` for what cannot be used.
    """
    if document.get("issuer") != issuer:
        raise refused("discovery_issuer_wrong", "its metadata is that of another issuer")
    userinfo = document.get("userinfo_endpoint")
    authorization, token, keys = (_url(document.get(name), name, rules) for name in REQUIRED)
    return Metadata(
        authorization_endpoint=authorization,
        token_endpoint=token,
        jwks_uri=keys,
        userinfo_endpoint=None if userinfo is None else _url(userinfo, "userinfo_endpoint", rules),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def read_object(body: bytes, what: str) -> Mapping[str, Any]:
    """The JSON object in an answer. Raises Problem `bad_gateway`."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise unreachable(f"its {what} is no JSON object")
    return found


def _url(given: object, name: str, rules: Destinations) -> str:
    if not isinstance(given, str):
        raise unreachable(f"its metadata lacks {name}")
    try:
        rules.check(given)
    except BadUrl as error:
        raise unreachable(f"its {name} cannot be used: {error.reason}") from None
    return given
