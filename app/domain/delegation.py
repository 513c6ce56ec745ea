"""What a key may hand on to other keys: nothing that goes beyond itself."""

from dataclasses import dataclass, field
from datetime import datetime

from app.domain.networks import NetworkList, covers
from app.domain.permissions import Permission, exceeds


@dataclass(frozen=True, slots=True)
class Reach:
    """What a key may do, from where, and until when; `ends_at` None is without end."""

    permissions: frozenset[Permission]
    networks: NetworkList = field(default_factory=NetworkList)
    ends_at: datetime | None = None


def beyond(held: Reach, wanted: Reach) -> str | None:
    """In which respect more is wanted than is held, in a sentence; None when in none."""
    more = exceeds(held.permissions, wanted.permissions)
    if more:
        return f"It would hold permissions that your key lacks: {', '.join(sorted(more))}"
    if not covers(held.networks, wanted.networks):
        return "It could be used from addresses from which your key cannot; list networks within your key's own"
    if held.ends_at is not None and (wanted.ends_at is None or wanted.ends_at > held.ends_at):
        return f"It would outlive your key; let it end at {held.ends_at.isoformat()} or before"
    return None
