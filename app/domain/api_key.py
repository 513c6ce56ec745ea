"""The text of an API key: a prefix to find it by, 256 random bits, and a checksum against typing errors.

Keys have no dot, since SDKs take what follows the last dot of a token for a region.
"""

import hmac
import re
import string
import zlib
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal
from uuid import UUID

Environment = Literal["live", "test"]
ENVIRONMENTS: tuple[Environment, ...] = ("live", "test")

RANDOM_BYTES = 32

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_KEY = re.compile(rf"(whk_(?:live|test)_[0-9A-Za-z]{{{_SECRET_LENGTH}}})_([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})")


def generate(environment: Environment, random: bytes) -> str:
    """Make a key of 32 random bytes; ValueError for any other number."""
    if len(random) != RANDOM_BYTES:
        message = f"an API key takes {RANDOM_BYTES} random bytes"
        raise ValueError(message)
    body = f"whk_{environment}_{_base62(int.from_bytes(random, 'big'), _SECRET_LENGTH)}"
    return f"{body}_{_checksum(body)}"


def looks_valid(text: str) -> bool:
    """Tell without a database whether this could be a key."""
    match = _KEY.fullmatch(text)
    return match is not None and hmac.compare_digest(_checksum(match[1]), match[2])


def digest(text: str) -> bytes:
    """Return the 32 bytes that are stored instead of the key.

    A plain SHA-256 is enough: 256 random bits cannot be guessed.
    """
    return sha256(text.encode()).digest()


def hint(text: str) -> str:
    """Return the last 4 characters, by which a person tells keys apart."""
    return text[-4:]


def ends_at(
    created_at: datetime, expires_at: datetime | None, key_expires_at: datetime | None, key_days: int | None
) -> datetime | None:
    """When a secret ends: by itself, with its key, or as old as its organisation's policy allows; None is never."""
    by_policy = None if key_days is None else created_at + timedelta(days=key_days)
    return min((one for one in (expires_at, key_expires_at, by_policy) if one is not None), default=None)


def sealed_for(secret_id: UUID) -> bytes:
    """Return what the text of a key that signs is bound to where it is kept."""
    return b"api_key_secrets.sealed:" + secret_id.bytes


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
