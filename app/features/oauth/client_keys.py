"""The public keys by which a client that signs is known."""

import warnings
from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

MAX_KEYS = 10
LEAST_BITS = 2048
ALGORITHMS: tuple[tuple[type[Key], tuple[str, ...]], ...] = (
    (RSAKey, ("RS256", "PS256")),
    (ECKey, ("ES256", "ES384", "ES512")),
    (OKPKey, ("EdDSA", "Ed25519")),
)
"""What is taken of each kind of key; symmetric ones are taken for nothing."""
KINDS = frozenset(kind.key_type for kind, _ in ALGORITHMS)
REFUSED = (JoseError, ValueError, TypeError, KeyError, AttributeError)


def key_set(document: Mapping[str, Any]) -> KeySet:
    """The keys of a JWK set. ValueError says what is wrong with it."""
    try:
        keys = [one for one in document["keys"] if one["kty"] in KINDS]
        found = _imported(keys)
    except REFUSED:
        raise ValueError("is no JWK set (RFC 7517)") from None
    if len(keys) < len(document["keys"]):
        raise ValueError("takes RSA, EC and OKP keys alone")
    if not 0 < len(keys) <= MAX_KEYS:
        raise ValueError(f"must hold 1 to {MAX_KEYS} keys")
    names = [one.kid for one in found.keys]
    if len(names) > 1 and (None in names or len(set(names)) < len(names)):
        raise ValueError("of several keys each needs a kid of its own")
    for one in found.keys:
        _check(one)
    return found


def algorithms(key: Key) -> tuple[str, ...]:
    """The algorithms that a key may be used with."""
    return next((names for kind, names in ALGORITHMS if isinstance(key, kind)), ())


def _imported(keys: list[dict[str, Any]]) -> KeySet:
    with warnings.catch_warnings():
        # What it only warns of is refused here.
        warnings.simplefilter("ignore", SecurityWarning)
        return KeySet.import_key_set({"keys": keys})


def _check(key: Key) -> None:
    if key.is_private:
        raise ValueError("holds a private key: replace that one, and send public keys alone")
    if isinstance(key, RSAKey) and key.raw_value.key_size < LEAST_BITS:
        raise ValueError(f"takes RSA keys of {LEAST_BITS} bits at least")
