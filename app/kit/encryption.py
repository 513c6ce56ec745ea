"""Encryption at rest under a ring of keys, and short sealed strings for the outside."""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = 1
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


class BadKeyRing(ValueError):
    """The configured keys cannot be used; the message never holds key material."""


class Undecryptable(Exception):
    """Bytes that no key of the ring opens for this row: names the key id, never content."""

    def __init__(self, key_id: str | None, reason: str) -> None:
        super().__init__(f"cannot decrypt (key {key_id or 'unknown'}): {reason}")
        self.key_id = key_id


class Forged(Exception):
    """A sealed string that was not made here, for this purpose and owner."""


@dataclass(frozen=True, slots=True, repr=False)
class _Key:
    """One key with its two uses: rows directly, sealed strings through a derived key."""

    header: bytes
    rows: AESGCM
    material: bytes


def _split(blob: bytes) -> tuple[str, bytes, bytes]:
    """Key id, header and the rest of version | length | key id | rest."""
    if blob[:1] != bytes((_VERSION,)) or len(blob) == 1:
        raise Undecryptable(None, "unknown format")
    end = 2 + blob[1]
    try:
        key_id = blob[2:end].decode("ascii")
    except UnicodeDecodeError:
        raise Undecryptable(None, "unknown format") from None
    if not _KEY_ID.fullmatch(key_id) or len(blob) < end + _NONCE_BYTES + _TAG_BYTES:
        raise Undecryptable(None, "unknown format")
    return key_id, blob[:end], blob[end:]


def _material(key_id: str, text: str) -> bytes:
    if not _KEY_ID.fullmatch(key_id):
        raise BadKeyRing(f"key id {key_id!r}: 1 to 32 letters, digits, '_', '.', '-'")
    try:
        material = base64.b64decode(text.encode("ascii"), altchars=None, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise BadKeyRing(f"key {key_id!r} is not base64") from None
    if len(material) != _KEY_BYTES:
        raise BadKeyRing(f"key {key_id!r} has {len(material)} bytes, {_KEY_BYTES} are needed")
    return material


def _key(key_id: str, text: str) -> _Key:
    material = _material(key_id, text)
    name = key_id.encode("ascii")
    return _Key(bytes((_VERSION, len(name))) + name, AESGCM(material), material)


def _text(blob: bytes) -> str:
    return base64.urlsafe_b64encode(blob).rstrip(b"=").decode()


@lru_cache(maxsize=64)
def _sealing_key(material: bytes, purpose: str) -> AESGCMSIV:
    # Sealed strings are many and short-lived, so they get a nonce-misuse resistant mode
    # and keys of their own: one kind of string can never be passed off as another.
    info = b"seal:" + purpose.encode()
    return AESGCMSIV(HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(material))


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """Keys by id, one of them active: it encrypts, all of them decrypt.

    Rows are AES-256-GCM with a random 96-bit nonce, stored as
    version | key id | nonce | ciphertext and tag; the header is authenticated too.
    """

    active: str
    _keys: Mapping[str, _Key] = field()

    @classmethod
    def parse(cls, keys: Mapping[str, str], active: str) -> Self:
        """A ring from key ids and base64 keys of 32 bytes. Raises BadKeyRing."""
        if not keys:
            raise BadKeyRing("no encryption key is configured")
        if active not in keys:
            raise BadKeyRing(f"the active key {active!r} is not among the configured keys")
        ring = {key_id: _key(key_id, text) for key_id, text in keys.items()}
        if len({key.material for key in ring.values()}) < len(ring):
            raise BadKeyRing("two key ids hold the same key")
        return cls(active, ring)

    def encrypt(self, plain: bytes, aad: bytes) -> bytes:
        """`plain` under the active key, bound to `aad` (the row and column it belongs to)."""
        key = self._keys[self.active]
        nonce = os.urandom(_NONCE_BYTES)
        return key.header + nonce + key.rows.encrypt(nonce, plain, key.header + aad)

    def decrypt(self, blob: bytes, aad: bytes) -> bytes:
        """What `encrypt` was given. Raises Undecryptable for a lost key, change or wrong row."""
        key_id, header, rest = _split(blob)
        key = self._keys.get(key_id)
        if key is None:
            raise Undecryptable(key_id, "the key is not in the ring")
        try:
            return key.rows.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + aad)
        except InvalidTag:
            raise Undecryptable(key_id, "changed, or bound to another row") from None

    def key_id(self, blob: bytes) -> str:
        """The id of the key that encrypted `blob`. Raises Undecryptable for other bytes."""
        return _split(blob)[0]

    @property
    def header(self) -> bytes:
        """What everything begins with that the active key encrypted."""
        return self._keys[self.active].header

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(self._keys)

    def derive(self, purpose: str, key_id: str | None = None) -> tuple[str, bytes]:
        """A key id, the active one unless given, and 32 bytes for this purpose only. Raises KeyError for a lost key."""
        key_id = key_id or self.active
        info = b"derive:" + purpose.encode()
        return key_id, HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(self._keys[key_id].material)

    def seal(self, purpose: str, data: bytes, aad: bytes = b"") -> str:
        """`data` as an opaque URL-safe string, good for this purpose and owner (`aad`) only."""
        key = self._keys[self.active]
        nonce = os.urandom(_NONCE_BYTES)
        sealed = _sealing_key(key.material, purpose).encrypt(nonce, data, key.header + aad)
        return _text(key.header + nonce + sealed)

    def unseal(self, purpose: str, text: str, aad: bytes = b"") -> bytes:
        """What `seal` was given. Raises Forged for anything else."""
        try:
            blob = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
            # Other texts that stand for the same bytes, by the bits at the end, were not made here.
            if _text(blob) != text:
                raise Forged
            key_id, header, rest = _split(blob)
            sealing = _sealing_key(self._keys[key_id].material, purpose)
            return sealing.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + aad)
        except (binascii.Error, UnicodeEncodeError, Undecryptable, KeyError, InvalidTag):
            raise Forged from None
