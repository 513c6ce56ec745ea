"""Secrets that name their owner: cookies of sessions, tokens in mails, refresh tokens."""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from uuid import UUID

SECRET_BYTES = 32
_ID_BYTES = 16
_LENGTH = 2 * _ID_BYTES + SECRET_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A secret that names its owner, so that it is looked for among the owner's rows alone."""

    owner_id: UUID
    id: UUID
    secret: bytes

    def text(self) -> str:
        """The token as it is given away: 86 characters of the URL-safe base64 alphabet."""
        return base64.urlsafe_b64encode(self.owner_id.bytes + self.id.bytes + self.secret).rstrip(b"=").decode()

    @property
    def digest(self) -> bytes:
        """The 32 bytes that are stored instead: 256 random bits cannot be guessed."""
        return sha256(self.secret).digest()

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The token in a text; None for anything else."""
        try:
            raw = base64.b64decode(text.encode("ascii") + b"==", b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        if len(raw) != _LENGTH:
            return None
        found = cls(UUID(bytes=raw[:_ID_BYTES]), UUID(bytes=raw[_ID_BYTES : 2 * _ID_BYTES]), raw[2 * _ID_BYTES :])
        return found if found.text() == text else None
