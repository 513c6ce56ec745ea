"""Signatures by the Standard Webhooks specification: symmetric `v1` and asymmetric `v1a`."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SYMMETRIC_PREFIX = "whsec_"
PRIVATE_PREFIX = "whsk_"
PUBLIC_PREFIX = "whpk_"
SECRET_BYTES = range(24, 65)
TOLERANCE = 300

Style = Literal["webhook", "svix"]


_SEED_LENGTH = 32
_TIMESTAMP_DIGITS = 12


@dataclass(frozen=True, slots=True)
class SymmetricKey:
    """An HMAC-SHA256 key of 24 to 64 bytes."""

    secret: bytes = field(repr=False)
    _begun: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_begun", hmac.new(self.secret, digestmod="sha256"))

    @property
    def text(self) -> str:
        """The serialised secret, `whsec_` and base64."""
        return SYMMETRIC_PREFIX + _base64(self.secret)

    @property
    def shown(self) -> str:
        """What a receiver needs to verify, which here is the secret itself."""
        return self.text

    def sign(self, content: bytes) -> str:
        """Return one entry of the signature header."""
        # Going on from the key gives no other thread the interpreter, which hmac.digest does whatever the length.
        begun = self._begun.copy()
        begun.update(content)
        return "v1," + _base64(begun.digest())

    def verifies(self, content: bytes, version: str, signature: bytes) -> bool:
        """Tell in constant time whether this key made the signature."""
        expected = hmac.digest(self.secret, content, "sha256")
        return hmac.compare_digest(expected, signature) and version == "v1"


@dataclass(frozen=True, slots=True)
class AsymmetricKey:
    """An ed25519 key pair, made from its 32-byte seed."""

    seed: bytes = field(repr=False)
    _private: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_private", Ed25519PrivateKey.from_private_bytes(self.seed))

    @property
    def public_bytes(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._private.public_key().public_bytes_raw()

    @property
    def text(self) -> str:
        """The serialised secret, `whsk_` and base64 of seed and public key."""
        return PRIVATE_PREFIX + _base64(self.seed + self.public_bytes)

    @property
    def public(self) -> str:
        """The serialised public key, `whpk_` and base64."""
        return PUBLIC_PREFIX + _base64(self.public_bytes)

    @property
    def shown(self) -> str:
        """What a receiver needs to verify: the public half only."""
        return self.public

    def sign(self, content: bytes) -> str:
        """Return one entry of the signature header."""
        return "v1a," + _base64(self._private.sign(content))

    def verifies(self, content: bytes, version: str, signature: bytes) -> bool:
        """Tell whether this key made the signature."""
        try:
            self._private.public_key().verify(signature, content)
        except InvalidSignature:
            return False
        return version == "v1a"


Key = SymmetricKey | AsymmetricKey


def parse_secret(text: str) -> Key:
    """Read a signing secret: `whsec_…`, `whsk_…`, or the bare base64 of a symmetric key.

    Raises ValueError, whose message never repeats the secret.
    """
    if text.startswith(PRIVATE_PREFIX):
        return _asymmetric(_decode(text.removeprefix(PRIVATE_PREFIX)))
    if text.startswith(PUBLIC_PREFIX):
        message = "a public key (whpk_) cannot sign: give the private key (whsk_)"
        raise ValueError(message)
    return SymmetricKey(_secret_bytes(_decode(text.removeprefix(SYMMETRIC_PREFIX))))


def generate_symmetric(random: bytes) -> str:
    """Serialise 24 to 64 random bytes as a secret."""
    return SymmetricKey(_secret_bytes(random)).text


def generate_asymmetric(random: bytes) -> str:
    """Serialise the key pair of 32 random bytes as a secret."""
    return _asymmetric(random).text


def sign(message_id: str, timestamp: int, body: bytes, keys: Sequence[Key]) -> str:
    """Make the signature header of one attempt: an entry for each key, in the order given.

    `timestamp` is in Unix seconds. Raises ValueError for an id with a dot, which would let bytes move
    between the signed parts.
    """
    if "." in message_id:
        message = "a message id that is signed has no dot"
        raise ValueError(message)
    content = _content(message_id, timestamp, body)
    return " ".join([key.sign(content) for key in keys])


def verify(
    message_id: str,
    timestamp_header: str,
    body: bytes,
    signature_header: str,
    keys: Sequence[Key],
    now: int,
    tolerance: int = TOLERANCE,
) -> bool:
    """Tell whether one of the keys signed this; `now` and `tolerance` are in seconds."""
    timestamp = _timestamp(timestamp_header)
    if timestamp is None or abs(now - timestamp) > tolerance:
        return False
    content = _content(message_id, timestamp, body)
    entries = [_entry(text) for text in signature_header.split(" ")]
    # A list, so that the time taken does not tell which key or entry matched.
    return any([key.verifies(content, *entry) for key in keys for entry in entries])  # noqa: C419


def delivery_headers(style: Style, message_id: str, timestamp: int, signature: str) -> dict[str, str]:
    """Return the three headers of an attempt under the names of a style."""
    return {
        f"{style}-id": message_id,
        f"{style}-timestamp": str(timestamp),
        f"{style}-signature": signature,
    }


def _content(message_id: str, timestamp: int, body: bytes) -> bytes:
    return b"%b.%d.%b" % (message_id.encode(), timestamp, body)


def _entry(text: str) -> tuple[str, bytes]:
    version, _, encoded = text.partition(",")
    try:
        return version, base64.b64decode(encoded, validate=True)
    except ValueError:
        return "", b""


def _timestamp(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) <= _TIMESTAMP_DIGITS
    return int(text) if plain else None


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        message = "the secret is not base64"
        raise ValueError(message) from None


def _secret_bytes(data: bytes) -> bytes:
    if len(data) not in SECRET_BYTES:
        message = f"a symmetric secret has 24 to 64 bytes, this one has {len(data)}"
        raise ValueError(message)
    return data


def _asymmetric(data: bytes) -> AsymmetricKey:
    if len(data) not in {_SEED_LENGTH, 2 * _SEED_LENGTH}:
        message = f"an ed25519 secret has 32 bytes, or 64 with its public key; this one has {len(data)}"
        raise ValueError(message)
    key = AsymmetricKey(data[:_SEED_LENGTH])
    if data[_SEED_LENGTH:] not in {b"", key.public_bytes}:
        message = "the public half of the ed25519 secret does not belong to its private half"
        raise ValueError(message)
    return key
