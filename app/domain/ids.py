"""UUIDv7 (RFC 9562) inside, TypeID text outside."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_SUFFIX_LENGTH = 26
_RANDOM_BYTES = 8

# int(text, 32) counts in C but knows another alphabet; every byte that is not ours becomes "!",
# which it refuses, so that neither its underscores, blanks, signs nor capitals slip through.
_TO_BASE32 = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(byte))] if chr(byte) in _ALPHABET else ord("!")
    for byte in range(256)
)

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def uuid7(milliseconds: int, sequence: int, random: bytes) -> UUID:
    """Make a UUIDv7 from a Unix time in ms (48 bits), a counter (12 bits) and at least 8 random bytes.

    Raises ValueError when a part does not fit its bits.
    """
    if milliseconds >> 48 or sequence >> 12 or len(random) < _RANDOM_BYTES:
        message = "a UUIDv7 takes 48 bits of milliseconds, 12 of sequence and 8 random bytes"
        raise ValueError(message)
    tail = int.from_bytes(random[:_RANDOM_BYTES], "big") & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=milliseconds << 80 | _VERSION | sequence << 64 | _VARIANT | tail)


def encode(prefix: str, value: UUID) -> str:
    """Write an id as a TypeID; the prefix is trusted."""
    number = value.int
    high = number >> 60
    low = number & 0xFFF_FFFF_FFFF_FFFF
    pairs = _PAIRS
    return (
        f"{prefix}_{pairs[high >> 60]}{pairs[high >> 50 & 1023]}{pairs[high >> 40 & 1023]}"
        f"{pairs[high >> 30 & 1023]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}"
        f"{pairs[high & 1023]}{pairs[low >> 50]}{pairs[low >> 40 & 1023]}{pairs[low >> 30 & 1023]}"
        f"{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def decode(prefix: str, text: str) -> UUID | None:
    """Read a TypeID of this prefix; None for anything else."""
    start = len(prefix) + 1
    if len(text) != start + _SUFFIX_LENGTH or not text.startswith(prefix) or text[start - 1] != "_":
        return None
    # The first character carries only 3 of the 128 bits.
    if not "0" <= text[start] <= "7":
        return None
    try:
        return UUID(int=int(text[start:].encode("ascii").translate(_TO_BASE32), 32))
    except ValueError:
        return None


def timestamp(value: UUID) -> datetime:
    """Return the UTC moment, to the millisecond, that a UUIDv7 carries."""
    return _EPOCH + (value.int >> 80) * _MILLISECOND


def lowest(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 of the millisecond of `moment`, which must be aware."""
    milliseconds = (moment - _EPOCH) // _MILLISECOND
    return UUID(int=milliseconds << 80 | _VERSION | _VARIANT)
