"""Keys that tokens are signed with: made, sealed, published, and found again by the id that a token names."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, Self
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from app.kit.encryption import KeyRing

RSA_BITS, LEAST_RSA_BITS = 3072, 2048
CURVE = "P-256"
# A header or claims that are nested deeply, or hold what is no number of ours, are no tokens of ours either.
REFUSED = (JoseError, KeyError, TypeError, ValueError, OverflowError, RecursionError)
Key = RSAKey | ECKey


class Algorithm(StrEnum):
    """How tokens are signed that others verify; each key is good for one of them."""

    rs256 = "RS256"
    es256 = "ES256"


class WeakKey(ValueError):
    """A key that is too short for what it is to protect, or of another kind than its algorithm's."""


class NoSigningKey(LookupError):
    """There is no key that signs by an algorithm now."""


class BadToken(Exception):
    """A token that was not made here, or is not of the wanted type; says why, never what stands in it."""


class Row(Protocol):
    """A key as it is stored; see SigningKey."""

    id: UUID
    algorithm: str
    public_jwk: dict[str, Any]
    sealed: bytes
    signs_from: datetime
    verifies_until: datetime | None


def type_of(text: str) -> str:
    """What a token calls itself, in small letters, before anything of it is believed; empty for what is no token."""
    try:
        return str(jws.extract_compact(text.encode("ascii")).headers()["typ"]).lower()
    except REFUSED:
        return ""


def make(algorithm: Algorithm) -> Key:
    """A new key."""
    if algorithm is Algorithm.rs256:
        return RSAKey.generate_key(RSA_BITS)
    return ECKey.generate_key(CURVE)


def public_half(key: Key) -> dict[str, Any]:
    """What others may see of it."""
    return dict(key.as_dict(private=False))


def private_half(key: Key) -> bytes:
    """What nobody may see of it, to be sealed."""
    return key.as_der(private=True)


def sealed_for(key_id: UUID) -> bytes:
    """What a private half is bound to where it is kept."""
    return b"signing_keys.sealed:" + key_id.bytes


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that is in force: `id` is the `kid` of what it signs."""

    id: str
    algorithm: Algorithm
    public: Key
    private: Key = field(repr=False)
    signs_from: datetime
    verifies_until: datetime | None

    @classmethod
    def of(cls, row: Row, ring: KeyRing) -> Self:
        """The key of a row. Raises WeakKey, and Undecryptable when the ring has lost its key."""
        algorithm = Algorithm(row.algorithm)
        public = _public(algorithm, row.public_jwk)
        # It was made here and its seal is whole: to prove its primes again would take a tenth of a second.
        opened = load_der_private_key(
            ring.decrypt(row.sealed, sealed_for(row.id)), None, unsafe_skip_rsa_key_validation=True
        )
        if isinstance(opened, rsa.RSAPrivateKey):
            private: Key = RSAKey(opened, opened)
        elif isinstance(opened, ec.EllipticCurvePrivateKey):
            private = ECKey(opened, opened)
        else:
            raise WeakKey(f"signing key {row.id}: not of a kind that signs tokens")
        return cls(row.id.hex, algorithm, public, private, row.signs_from, row.verifies_until)

    @property
    def published(self) -> dict[str, Any]:
        """Its entry in the published set."""
        return {**public_half(self.public), "kid": self.id, "alg": self.algorithm.value, "use": "sig"}

    def verifies(self, now: datetime) -> bool:
        """Whether what it signed is still taken."""
        return self.verifies_until is None or self.verifies_until > now


def _public(algorithm: Algorithm, jwk: dict[str, Any]) -> Key:
    if algorithm is Algorithm.es256:
        key = ECKey.import_key(jwk)
        if key.curve_name != CURVE:
            raise WeakKey(f"ES256 takes a key of the curve {CURVE}")
        return key
    rsa_key = RSAKey.import_key(jwk)
    if rsa_key.public_key.key_size < LEAST_RSA_BITS:
        raise WeakKey(f"an RSA key of {rsa_key.public_key.key_size} bits; {LEAST_RSA_BITS} are the least")
    return rsa_key


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys in force at a moment."""

    keys: Mapping[str, TokenKey]

    @classmethod
    def of(cls, rows: Iterable[Row], ring: KeyRing, known: Self | None = None) -> Self:
        """The keys of these rows; those that are known already are not opened again. Raises as TokenKey.of."""
        before = {} if known is None else known.keys
        return cls({row.id.hex: _same(before.get(row.id.hex), row) or TokenKey.of(row, ring) for row in rows})

    def signer(self, algorithm: Algorithm, now: datetime) -> TokenKey:
        """The key that signs now: the newest one whose time has come. Raises NoSigningKey."""
        ready = [one for one in self.keys.values() if one.algorithm is algorithm and one.signs_from <= now]
        if not ready:
            raise NoSigningKey(f"there is no key that signs by {algorithm}; run `postrider signing-keys rotate`")
        return max(ready, key=lambda one: (one.signs_from, one.id))

    def sign(self, algorithm: Algorithm, typ: str, claims: Mapping[str, Any], now: datetime) -> str:
        """A token of this type with these claims. Raises NoSigningKey."""
        key = self.signer(algorithm, now)
        header = {"alg": key.algorithm.value, "kid": key.id, "typ": typ}
        return jwt.encode(header, dict(claims), key.private, [key.algorithm.value])

    def names_key_of(self, text: str) -> bool:
        """Whether the key is among them that a token names, before anything of it is believed."""
        try:
            return jws.extract_compact(text.encode("ascii")).headers()["kid"] in self.keys
        except REFUSED:
            return False

    def verify(self, text: str, types: Collection[str], now: datetime) -> dict[str, Any]:
        """What a token claims that one of these keys signed, of one of these types. Raises BadToken.

        The key is the one that `kid` names, by its one algorithm; whatever else the header offers as a key is not
        looked at. Times and audiences are the caller's business.
        """
        try:
            header = jws.extract_compact(text.encode("ascii")).headers()
            key = self.keys.get(header["kid"])
            typ = header["typ"].lower()
        except (*REFUSED, AttributeError):
            raise BadToken("no token of ours") from None
        if key is None or not key.verifies(now) or header.get("alg") != key.algorithm or "crit" in header:
            raise BadToken("its key is not one that is in force")
        if typ not in types:
            raise BadToken(f"a token of the type {types} is needed")
        try:
            return jwt.decode(text, key.public, [key.algorithm.value]).claims
        except REFUSED:
            raise BadToken("its signature is not right") from None

    def published(self, now: datetime) -> dict[str, list[dict[str, Any]]]:
        """The public halves as a JWK set (RFC 7517), those too that do not sign yet or any more."""
        return {"keys": [one.published for one in self.keys.values() if one.verifies(now)]}


def _same(known: TokenKey | None, row: Row) -> TokenKey | None:
    if known is None or (known.signs_from, known.verifies_until) != (row.signs_from, row.verifies_until):
        return None
    return known
