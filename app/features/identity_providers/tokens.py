"""Tokens that providers sign: which key may have signed one, and whether what it says is meant for us.

The algorithms are ours to choose, whatever the provider's metadata lists; so is the key, whatever the token's header
says of itself.
"""

import hmac
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from authlib.oidc.core.util import create_half_hash
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.features.identity_providers.errors import refused

ALGORITHMS = {"RS256": ("RSA", None), "PS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
"""The algorithms that are taken, each with its kind of key and its curve."""
KINDS: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
KIND_NAMES = tuple(KINDS)
MOST_KEYS = 100
MOST_CHARACTERS = 64 * 1024
LEAST_RSA_BITS = 2048
MOST_NAME = 255
SKEW = timedelta(seconds=60)
OLDEST = timedelta(minutes=10)
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
TYPES = {"id_token": frozenset({"", "jwt"}), "logout_token": frozenset({"", "jwt", "logout+jwt"})}
MALFORMED = (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)

Claims = Mapping[str, Any]
Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class Header:
    """What a token says of its signature."""

    algorithm: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Expected:
    """For whom a token has to be, from whom, and when."""

    issuer: str
    client_id: str
    now: datetime


def header_of(token: str, use: str) -> Header:
    """A token's header. Raises Problem `unauthenticated` for an algorithm or type that is not taken."""
    if len(token) > MOST_CHARACTERS:
        raise refused("token_malformed", "its token is too long")
    try:
        given = jws.extract_compact(token.encode("ascii")).headers()
    except MALFORMED:
        raise refused("token_malformed", "its token is no signed JWT") from None
    algorithm, key_id, type_ = given.get("alg"), given.get("kid"), given.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise refused("algorithm_refused", "its token is signed by an algorithm that is not taken")
    if not isinstance(type_, str) or type_.lower().removeprefix("application/") not in TYPES[use]:
        raise refused("type_refused", "its token is of another type")
    if key_id is not None and not isinstance(key_id, str):
        raise refused("token_malformed", "its token names its key in no text")
    return Header(algorithm, key_id)


class Keys:
    """The keys of a provider that may sign; what cannot be read, or is for something else, is none of them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        listed = document.get("keys")
        given = listed[:MOST_KEYS] if isinstance(listed, list) else []
        self._keys = [one for one in given if isinstance(one, dict) and _may_sign(one)]

    def choose(self, header: Header) -> Key | None:
        """The key that must have signed; None when there is none.

        Raises Problem `unauthenticated` where several could have.
        """
        kind, curve = ALGORITHMS[header.algorithm]
        fitting = [
            one
            for one in self._keys
            if one["kty"] == kind
            and one.get("crv") == curve
            and one.get("alg") in (None, header.algorithm)
            and header.key_id in (None, one.get("kid"))
        ]
        found = [key for key in map(_imported, fitting) if key is not None]
        if len(found) > 1:
            raise refused("key_ambiguous", "several of its keys could have signed the token")
        return found[0] if found else None


def claims_of(token: str, key: Key, header: Header) -> Claims:
    """What a token says, when this key has signed it. Raises Problem `unauthenticated`."""
    try:
        with warnings.catch_warnings():
            # EdDSA goes by its new name where RFC 9864 has arrived; providers know the old one.
            warnings.simplefilter("ignore")
            return jwt.decode(token, key, [header.algorithm]).claims
    except MALFORMED:
        raise refused("signature_wrong", "the signature of its token is wrong") from None


def check_common(claims: Claims, expected: Expected) -> None:
    """What ID tokens and logout tokens have in common. Raises Problem `unauthenticated`."""
    if claims.get("iss") != expected.issuer:
        raise refused("issuer_wrong", "its token comes from another issuer")
    if _audience(claims) != [expected.client_id]:
        raise refused("audience_wrong", "its token is meant for somebody else")
    _check_times(claims, expected.now)


def check_id_token(claims: Claims, expected: Expected, nonce: str, access_token: str, header: Header) -> str:
    """The subject of an ID token that is meant for this sign-in. Raises Problem `unauthenticated`."""
    check_common(claims, expected)
    if not _same(claims.get("nonce"), nonce):
        raise refused("nonce_wrong", "its token belongs to another sign-in")
    if "azp" in claims and claims["azp"] != expected.client_id:
        raise refused("audience_wrong", "its token was made for somebody else")
    if "at_hash" in claims and not _same(claims["at_hash"], _half_hash(access_token, header.algorithm)):
        raise refused("access_token_wrong", "its tokens do not belong together")
    return subject_of(claims)


def check_logout_token(claims: Claims, expected: Expected) -> None:
    """OpenID Connect Back-Channel Logout 1.0, section 2.6. Raises Problem `unauthenticated`."""
    check_common(claims, expected)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise refused("event_missing", "its token does not speak of a logout")
    if "nonce" in claims:
        raise refused("nonce_present", "its token is that of a sign-in")
    if not isinstance(claims.get("jti"), str) or not claims["jti"]:
        raise refused("id_missing", "its token has no id")
    if "sub" not in claims and "sid" not in claims:
        raise refused("subject_missing", "its token names nobody")
    if "sub" in claims:
        subject_of(claims)
    if "sid" in claims and not is_name(claims["sid"]):
        raise refused("subject_missing", "its token names no session")


def subject_of(claims: Claims) -> str:
    """Whom a provider speaks of. Raises Problem `unauthenticated`."""
    subject = claims.get("sub")
    if not is_name(subject):
        raise refused("subject_missing", "its token names nobody")
    return subject


def is_name(value: object) -> TypeGuard[str]:
    """Whether a provider may call a person or a session so."""
    return isinstance(value, str) and 0 < len(value) <= MOST_NAME and value.isprintable()


def _may_sign(key: Mapping[str, Any]) -> bool:
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") in KIND_NAMES
        and key.get("use") in (None, "sig")
        and isinstance(operations, list)
        and "verify" in operations
    )


def _imported(given: Mapping[str, Any]) -> Key | None:
    """A key; None for one that cannot be read, or is too weak."""
    public = {name: given[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in given}
    try:
        key = KINDS[str(given["kty"])].import_key(public)
        bits = key.public_key.key_size if isinstance(key, RSAKey) else LEAST_RSA_BITS
    except MALFORMED:
        return None
    return key if bits >= LEAST_RSA_BITS else None


def _audience(claims: Claims) -> Sequence[object]:
    given = claims.get("aud")
    return given if isinstance(given, list) else [given]


def _check_times(claims: Claims, now: datetime) -> None:
    moment = now.timestamp()
    issued, ends = (_seconds(claims, name) for name in ("iat", "exp"))
    if issued is None or ends is None:
        raise refused("times_missing", "its token does not say when it was made and until when it is good")
    begins = _seconds(claims, "nbf") if "nbf" in claims else issued
    if begins is None or max(begins, issued) > moment + SKEW.total_seconds():
        raise refused("token_early", "its token is good only later")
    if ends <= moment - SKEW.total_seconds() or issued < moment - OLDEST.total_seconds():
        raise refused("token_expired", "its token is too old")


def _seconds(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _same(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())


def _half_hash(text: str, algorithm: str) -> str:
    half: bytes = create_half_hash(text, algorithm)
    return half.decode()
