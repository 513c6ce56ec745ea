"""A sign-in that is under way at a provider: what we must know when the person comes back, sealed into `state`.

It is bound to the browser that began, by its visit's cookie, and good once.
"""

import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Self
from uuid import UUID

from app.kit.clock import new_id, utc_now
from app.kit.encryption import Forged, KeyRing

LIFETIME = timedelta(minutes=10)
NONCE_BYTES, VERIFIER_BYTES = 16, 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What is given out sealed; subclasses say for what. `owner_id` keeps that it was used."""

    id: UUID = field(default_factory=new_id)
    organisation_id: UUID
    provider_id: UUID
    next: str
    expires_at: datetime = field(default_factory=lambda: utc_now() + LIFETIME)

    def seal(self, ring: KeyRing, browser: str) -> str:
        """As text, good in this browser alone."""
        given = {name: _plain(value) for name, value in asdict(self).items()}
        return ring.seal(self._purpose(), json.dumps(given).encode(), _binding(browser))

    @classmethod
    def read(cls, ring: KeyRing, text: str, browser: str) -> Self | None:
        """What `seal` gave to this browser; None for anything else, and when it is over."""
        try:
            given: dict[str, Any] = json.loads(ring.unseal(cls._purpose(), text, _binding(browser)))
        except Forged:
            return None
        ids = {name: UUID(hex=value) for name, value in given.items() if name == "id" or name.endswith("_id")}
        ends = datetime.fromtimestamp(given["expires_at"], UTC)
        return cls(**{**given, **ids, "expires_at": ends}) if ends > utc_now() else None

    @classmethod
    def _purpose(cls) -> str:
        return f"provider-{cls.__name__.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow(Sealed):
    """A sign-in at a provider."""

    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(NONCE_BYTES), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(VERIFIER_BYTES), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(Sealed):
    """An account at a provider that could be joined to a person who was known before, once the person says so."""

    user_id: UUID
    subject: str
    email: str


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return value.hex
    return value.timestamp() if isinstance(value, datetime) else value


def _binding(browser: str) -> bytes:
    return sha256(browser.encode()).digest()
