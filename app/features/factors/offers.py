"""What a page offers once: the random part of an enrolment or of a challenge, which the page carries sealed."""

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import UUID

from app.kit.clock import new_id, utc_now
from app.kit.encryption import Forged, KeyRing

LIFETIME = timedelta(minutes=10)
SEALED_FOR = "factor-offer"


@dataclass(frozen=True, slots=True, repr=False)
class Offer:
    """Random bytes for one purpose and one owner, such as a session; good once, and for minutes."""

    id: UUID
    secret: bytes
    expires_at: datetime

    @classmethod
    def new(cls, size: int) -> Self:
        """An offer from now on."""
        return cls(new_id(), secrets.token_bytes(size), utc_now() + LIFETIME)

    def seal(self, ring: KeyRing, purpose: str, owner: bytes) -> str:
        """The offer as text, which nobody can read or change."""
        content = {"id": self.id.hex, "secret": self.secret.hex(), "until": int(self.expires_at.timestamp())}
        return ring.seal(SEALED_FOR, json.dumps(content).encode(), _bound(purpose, owner))

    @classmethod
    def open(cls, ring: KeyRing, purpose: str, owner: bytes, text: str) -> Self | None:
        """The offer; None for one that was not made for this, or is over."""
        try:
            content = json.loads(ring.unseal(SEALED_FOR, text, _bound(purpose, owner)))
        except Forged:
            return None
        until = datetime.fromtimestamp(content["until"], UTC)
        found = cls(UUID(hex=content["id"]), bytes.fromhex(content["secret"]), until)
        return found if until > utc_now() else None


def _bound(purpose: str, owner: bytes) -> bytes:
    return purpose.encode() + b":" + owner
